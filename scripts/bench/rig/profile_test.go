package main

import (
	"strings"
	"testing"
)

func TestShares(t *testing.T) {
	const report = `# Overhead|Shared Object|Symbol
 40.50% |[kernel.kallsyms]|[k] tcp_ack
 20.00% |outwarden        |[.] crypto/internal/fips140/aes/gcm.gcmAesEnc.abi0
  5.00% |outwarden        |[.] vendor/golang.org/x/crypto/chacha20poly1305.open
 10.00% |outwarden        |[.] github.com/outwarden/outwarden/pkg/http1.(*Head).Parse
  4.50% |outwarden        |[.] github.com/klauspost/compress/zstd.(*fastEncoder).Encode
 12.00% |outwarden        |[.] runtime.memmove
  3.00% |outwarden        |[.] internal/poll.(*FD).Read
  5.00% |[vdso]           |[.] __vdso_clock_gettime

`
	want := [areas]float64{kernel: 45.5, crypto: 25, own: 10, libraries: 4.5, goRuntime: 15}
	if got := sharesOf(strings.NewReader(report)); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
