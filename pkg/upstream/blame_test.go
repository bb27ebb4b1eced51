package upstream

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
)

// TestRenegotiation: an upstream that asks for a client certificate only after the
// request, as those of Microsoft do by default, is not obeyed, and why is said.
func TestRenegotiation(t *testing.T) {
	root := newCA(t, recipe{cn: "root"}, nil)
	addr, command := openssl(t, root.leaf(t, recipe{}))
	client := root.leaf(t, recipe{usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	to := target(&origin{addr: addr}, root.pool(), func(t *Target) { t.Profile.Certificate = &client })
	c := mustGet(t, newPool(t, Options{}), to)
	defer c.Close()
	if _, err := io.WriteString(command, "R\n"); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	if got := c.Blame(err); ReasonOf(err) != flow.ReasonUpstreamTLS || !strings.Contains(got, "another TLS handshake") {
		t.Errorf("%v (%v): %q", err, ReasonOf(err), got)
	}
	if got := c.Blame(io.EOF); got != "" {
		t.Errorf("the end of the stream: %q", got)
	}
}

// openssl is a server of TLS 1.2 by openssl s_server, and what takes its commands.
func openssl(t *testing.T, leaf tls.Certificate) (netip.AddrPort, io.Writer) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(t.TempDir(), "both.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	if err := os.WriteFile(both, text, 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command("openssl", "s_server", "-4", "-accept", "127.0.0.1:0", "-tls1_2", "-cert", both, "-key", both)
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = server.Process.Kill(), server.Wait() })
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if addr, ok := strings.CutPrefix(line, "ACCEPT "); ok {
			go func() { _, _ = io.Copy(io.Discard, lines) }()
			return netip.MustParseAddrPort(strings.TrimSpace(addr)), in
		}
	}
}
