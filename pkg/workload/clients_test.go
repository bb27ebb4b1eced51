package workload

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/netnstest"
	"github.com/outwarden/outwarden/pkg/trust"
)

// role names what a re-executed test binary does instead of testing.
const role = "OUTWARDEN_WORKLOAD_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "child": // between fork and the command, as the hidden command of the CLI
		err := Main()
		fmt.Fprintln(os.Stderr, err)
		os.Exit(err.Code)
	case "get": // a Go program that knows nothing of us
		get(os.Args[1])
	case "report":
		report()
	}
}

func get(url string) {
	resp, err := http.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		os.Exit(1)
	}
	defer resp.Body.Close()
	io.Copy(os.Stdout, resp.Body)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run is one command with all that Command needs; it returns output and code.
func run(t testing.TB, s *Spec) (string, int) {
	t.Helper()
	cmd, done, err := s.Command("/proc/self/exe")
	must(t, err)
	defer done()
	cmd.Env = append(os.Environ(), role+"=child")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// answer is what the server says; a client that prints it has trusted us.
const answer = "PONG"

// server listens on loopback with a certificate of a new root, and returns its
// URL and the root.
func server(t testing.TB) (url string, rootPEM []byte) {
	t.Helper()
	ca, caKey, rootPEM := certificate(t, nil, nil)
	leaf, leafKey, _ := certificate(t, ca, caKey)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey}},
		NextProtos:   []string{"h2", "http/1.1"},
	})
	must(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/info/refs") { // what git asks for first; the branch is the answer
			fmt.Fprintf(w, "%040d\trefs/heads/%s\n", 1, answer)
			return
		}
		fmt.Fprintln(w, answer)
	})}
	s.ErrorLog = nil
	go s.Serve(quiet{listener})
	t.Cleanup(func() { s.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	must(t, err)
	return "https://localhost:" + port + "/", rootPEM
}

// quiet finishes the handshake before the server sees the connection, so that
// the refusals which the test wants are not logged.
type quiet struct{ net.Listener }

func (q quiet) Accept() (net.Conn, error) {
	for {
		c, err := q.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c.(*tls.Conn).Handshake() == nil {
			return c, nil
		}
		c.Close()
	}
}

func certificate(t testing.TB, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
	}
	if ca == nil {
		template.Subject = pkix.Name{CommonName: "throw-away root"}
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		ca, caKey = template, key
	} else {
		template.DNSNames, template.KeyUsage = []string{"localhost"}, x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// client is an unmodified program that prints what URL answers.
type client struct {
	name string
	args []string // URL is replaced
	bind bool     // reached by the mounts alone, whatever the build
	env  bool     // reached by the variables alone, whatever the build
}

const javaSource = `import java.net.*; import java.net.http.*;
public class Get { public static void main(String[] a) throws Exception {
  System.out.println(HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(a[0])).build(),
    HttpResponse.BodyHandlers.ofString()).body()); } }`

func clients(t testing.TB) []client {
	java := filepath.Join(t.TempDir(), "Get.java")
	must(t, os.WriteFile(java, []byte(javaSource), 0o644))
	exe, err := os.Executable()
	must(t, err)
	const (
		urllib   = "import sys,urllib.request as u; print(u.urlopen(sys.argv[1]).read())"
		requests = "import sys,requests; print(requests.get(sys.argv[1]).text)"
		fetch    = "fetch(process.argv[1]).then(r=>r.text()).then(console.log,e=>{console.log(e.cause);process.exit(1)})"
		lwp      = "print LWP::UserAgent->new->get($ARGV[0])->decoded_content"
		ruby     = "puts Net::HTTP.get(URI(ARGV[0]))"
		streams  = "echo file_get_contents($argv[1]);"
		phpCurl  = "$c=curl_init($argv[1]); curl_setopt($c,CURLOPT_RETURNTRANSFER,1); $b=curl_exec($c); echo $b, curl_error($c);"
		sClient  = `printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -quiet -verify_return_error -verify_hostname localhost -connect "$(echo "$0" | cut -d/ -f3)"`
	)
	all := []client{
		{"curl", []string{"curl", "-sS", "URL"}, true, true},
		{"wget", []string{"wget", "-qO-", "URL"}, true, false},
		{"python urllib", []string{"python3", "-c", urllib, "URL"}, true, true},
		{"python requests", []string{"python3", "-c", requests, "URL"}, true, true},
		{"node fetch", []string{"node", "-e", fetch, "URL"}, false, true},
		{"java HttpClient", []string{"java", "-XX:TieredStopAtLevel=1", java, "URL"}, true, false},
		{"go", []string{exe, "URL"}, true, true},
	}
	const system = "/usr/bin/python3" // beside the one on PATH
	return append(all, client{"system python urllib", []string{system, "-c", urllib, "URL"}, true, true},
		client{"system python requests", []string{system, "-c", requests, "URL"}, true, true},
		client{"perl LWP", []string{"perl", "-MLWP::UserAgent", "-e", lwp, "URL"}, true, true},
		client{"git", []string{"git", "ls-remote", "URL"}, true, true},
		client{"openssl s_client", []string{"sh", "-c", sClient, "URL"}, true, true},
		client{"ruby net/http", []string{"ruby", "-rnet/http", "-e", ruby, "URL"}, true, true},
		client{"php streams", []string{"php", "-r", streams, "URL"}, true, true},
		client{"php curl", []string{"php", "-r", phpCurl, "URL"}, true, false})
}

// present reports whether a client can run at all: the program is there and so
// are its libraries.
func (c client) present(environ []string) bool {
	if _, err := exec.LookPath(c.args[0]); err != nil {
		return false
	}
	for lib, check := range map[string][]string{
		"requests": {"-c", "import requests"},
		"LWP":      {"-MLWP::UserAgent", "-MLWP::Protocol::https", "-e", "1"},
		"php curl": {"-r", "exit((int)!function_exists('curl_init'));"},
	} {
		if strings.Contains(c.name, lib) {
			cmd := exec.Command(c.args[0], check...)
			cmd.Env = environ
			return cmd.Run() == nil
		}
	}
	return true
}

func (c client) command(url string) []string {
	args := append([]string{}, c.args...)
	args[len(args)-1] = url
	return args
}

// plain is an environment without any variable that names roots.
func plain() []string {
	environ := []string{role + "=get", "LANG=C.UTF-8"}
	for _, name := range []string{"PATH", "HOME", "JAVA_HOME", "PYENV_ROOT"} {
		if v, ok := os.LookupEnv(name); ok {
			environ = append(environ, name+"="+v)
		}
	}
	return environ
}

func TestUnmodifiedClientsTrustTheRoot(t *testing.T) {
	netnstest.RequireRoot(t)
	url, rootPEM := server(t)
	before := host(t)
	store, err := trust.Prepare(filepath.Join(t.TempDir(), "trust"), rootPEM)
	must(t, err)
	environ, err := store.Env(plain())
	must(t, err)
	for _, c := range clients(t) {
		if !c.present(plain()) {
			t.Logf("%s is not installed here", c.name)
			continue
		}
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			for mode, m := range map[string]struct {
				spec Spec
				want bool
			}{
				"without":          {Spec{Env: plain()}, false},
				"mounts":           {Spec{Env: plain(), Trust: store.Path()}, c.bind},
				"variables":        {Spec{Env: environ}, c.env},
				"mounts+variables": {Spec{Env: environ, Trust: store.Path()}, true},
			} {
				m.spec.Args = c.command(url)
				out, code := run(t, &m.spec)
				got := strings.Contains(out, answer)
				if got == m.want {
					continue
				}
				// A build may read more than its kind must: Debian's Node takes the
				// system's bundle, so mounts alone reach it.
				if got && mode != "without" {
					t.Logf("%s: reached too", mode)
					continue
				}
				t.Errorf("%s: trusts %v, want %v; exit code %d: %s", mode, got, m.want, code, out)
			}
		})
	}
	if after := host(t); after != before {
		t.Errorf("the host is changed:\nbefore %s\nafter  %s", before, after)
	}
}

// host is the state of mounts and stores that must stay as it is.
func host(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `grep -E 'cacert|ca-bundle|ca-certificates|cert.pem|/trust' /proc/self/mountinfo
		find /etc/ssl /etc/pki -xdev -type f -exec sha256sum {} + 2>/dev/null | sort | sha256sum
		find /usr/lib "$HOME" -xdev -name 'cacert*' -type f -exec sha256sum {} + 2>/dev/null | sort | sha256sum
		find /etc/ssl /etc/pki -xdev 2>/dev/null | sort | sha256sum`).Output()
	must(t, err)
	return string(out)
}
