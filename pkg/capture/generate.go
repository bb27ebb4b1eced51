package capture

// The include directories are those of libbpf-dev and of the C library on
// Debian, which has asm/types.h apart for each architecture; the one that is
// not there is ignored.
//
//go:generate go tool bpf2go -target bpfel -tags linux outwarden ../../bpf/outwarden.c -- -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
