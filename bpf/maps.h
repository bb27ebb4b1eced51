/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps. All are pinned by name in one directory of bpffs. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "flow.h"

/*
 * flows: tuple of a redirected connection -> its record.
 * Written before the SYN (track_tuple). Read once by user space after accept,
 * which deletes it. Dies also when its socket is closed before the connection
 * was established, when conntrack gives its tuple to another before that, or by
 * the sweeper of user space when nobody accepted it.
 * It lives from the SYN to the accept, so there are few; they are allocated
 * beforehand, as to do so within a connect() takes longer than all else here.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct tuple);
	__type(value, struct flow);
} flows SEC(".maps");

/*
 * sockets: redirected socket -> what is known of it.
 * Written by connect4/6, read by sockops, getpeername, getsockname and
 * sock_release. Dies with the socket, or when it connects anew.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, int);
	__type(value, struct socket);
} sockets SEC(".maps");

/*
 * peers: tuple of a redirected MPTCP connection -> its truth.
 * MPTCP connects with a subflow, and asks for names with a socket of its own
 * that has another cookie and no storage; the tuple is what both share. Written
 * before the SYN, read by getpeername and getsockname. The oldest dies when the
 * map is full: sock_release may not read a socket's addresses.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct tuple);
	__type(value, struct truth);
} peers SEC(".maps");

/*
 * tags: listener socket -> 1. Written by user space through the descriptor, so
 * only root can make a listener ours; read by connect4/6. Dies with the socket.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, int);
	__type(value, __u32);
} tags SEC(".maps");

/*
 * noted: socket -> a bit for each reason that its packets have been reported
 * for, so that there is one event for a socket and not one for a packet; and one
 * bit more, see is_outsider.
 * Written and read by on_egress. Dies with the socket.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, int);
	__type(value, __u32);
} noted SEC(".maps");

/*
 * scopes: cgroup id -> enum scope. Written by user space, and by on_mkdir for a
 * cgroup whose name was said before it was there; read by every hook.
 * An entry outlives its cgroup until the scope is set anew; ids are not reused.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u64);
	__type(value, __u32);
} scopes SEC(".maps");

/*
 * sieve: the low bits of a cgroup id -> 1, if the scopes have one that ends so, or
 * have had. Every connect() asks about each cgroup from its own to the root, of
 * which most have no scope: a load tells so, where a lookup in a hash takes
 * a hundred nanoseconds. Who writes the scopes writes here first; nobody clears, as
 * what is set in vain costs that lookup and no more.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SIEVE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u8);
} sieve SEC(".maps");

/*
 * awaited: name of a cgroup -> enum scope, which one of that name gets as it is
 * made. A path is one cgroup's; a unit's name is that of any among slices.
 * Written by user space, read by on_mkdir, which writes the scopes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct name);
	__type(value, __u32);
} awaited SEC(".maps");

/* ports: TCP destination port -> 1, if redirected. Written by user space, read by connect4/6. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u16);
	__type(value, __u8);
} ports SEC(".maps");

/*
 * routes: netns and destination prefix -> source address the kernel would choose.
 * Written by user space from rtnetlink, read by connect4/6 for getsockname.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct route);
	__type(value, struct addr);
} routes SEC(".maps");

/* events: struct event to whoever reads; what does not fit is counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");

/* counters: reason or enum counter -> how often, per processor. Never reset. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* state: 0 -> struct state. The layout is user space's, the rest the programs'. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct state);
} state SEC(".maps");
