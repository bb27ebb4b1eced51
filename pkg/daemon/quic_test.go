package daemon_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/quic-go/quic-go"
)

// quicVariable makes the test binary a client of HTTP/3: it dials this address,
// and where that is refused it becomes the program of its arguments, over TCP.
const quicVariable = "OUTWARDEN_TEST_QUIC"

// dialQUIC is that client. A refusal that it would have to wait for is an error.
func dialQUIC(addr string, fallback []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config := &quic.Config{HandshakeIdleTimeout: 2 * patience} // it never gives up by itself
	conn, err := quic.DialAddr(ctx, addr, &tls.Config{NextProtos: []string{"h3"}}, config)
	if err == nil {
		return errors.Join(errors.New("QUIC has an answer"), conn.CloseWithError(0, ""))
	}
	if !strings.Contains(err.Error(), syscall.EPERM.Error()) { // the library keeps the text alone
		return fmt.Errorf("QUIC: %w", err)
	}
	fmt.Fprintln(os.Stderr, "QUIC:", err)
	return syscall.Exec(fallback[0], fallback, os.Environ())
}

// A client of HTTP/3 is refused at once and goes on over TCP, where it is captured.
func TestSystemQUICFallsBack(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	self, err := os.Executable()
	must(t, err)
	p := w.begin(w.work, "env", w.trusting(), quicVariable+"="+partnerAddr, self, program("client"), "get", partnerURL)
	if code := p.end(); code != 0 || !strings.Contains(p.stderr.String(), "QUIC: ") {
		t.Fatalf("exit %d: %s%s", code, &p.stdout, &p.stderr)
	}
	accountIn(t, p.stdout.String()).verified(t)
	w.recorded("QUIC", "quic_refused", "deny", p.Process.Pid)
	if w.status().Kernel["quic_refused"] == 0 {
		t.Error("no counter")
	}
}
