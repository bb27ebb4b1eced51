package clienthello_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/outwarden/outwarden/pkg/clienthello"
)

// record is what crypto/tls sends first.
func record(b *testing.B) []byte {
	b.Helper()
	client, server := net.Pipe()
	go func() { // it ends with the pipe
		_ = tls.Client(client, &tls.Config{ServerName: "api.partner.example", NextProtos: []string{"h2", "http/1.1"}}).Handshake()
	}()
	defer server.Close()
	buf := make([]byte, 16<<10)
	n, err := server.Read(buf)
	if err != nil {
		b.Fatal(err)
	}
	return buf[:n]
}

func BenchmarkParse(b *testing.B) {
	peeked := record(b)
	b.SetBytes(int64(len(peeked)))
	b.ReportAllocs()
	for b.Loop() {
		if h, err := clienthello.Parse(peeked); err != nil || h.ServerName == "" {
			b.Fatal(h, err)
		}
	}
}
