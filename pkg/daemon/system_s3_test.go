package daemon_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/netnstest"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

const (
	s3Name   = "s3.partner.example"
	s3Addr   = "198.51.100.81:443"
	s3Key    = "AKIDREALREALREALREAL"
	s3Secret = "the-secret-that-only-outwarden-holds-0123"

	// What the daemon may hold more while it passes an upload on, whatever its size.
	s3Room = 48 << 20
)

// s3Sizes are the uploads; over 1 GiB only where all the time is given.
func s3Sizes() []int64 {
	sizes := []int64{0, 1, 5 << 20}
	if !testing.Short() {
		sizes = append(sizes, 200<<20)
	}
	if os.Getenv("OUTWARDEN_S3") == "full" {
		sizes = append(sizes, 1<<30+1)
	}
	return sizes
}

// s3 is a real S3 server in the internet, which verifies every signature itself.
type s3 struct {
	*world
	root string // what it stores, bucket by bucket
}

func newS3(t *testing.T) *s3 {
	t.Helper()
	gateway, err := exec.LookPath("versitygw")
	if err != nil {
		t.Skip("no program versitygw in PATH; scripts/s3server installs it")
	}
	w := newWorld(t)
	s := &s3{w, w.path("s3")}
	must(t, os.MkdirAll(s.root, 0o755))
	w.hosts(s3Name, "198.51.100.81")
	s.certificate(w.certify(s3Name, time.Now().Add(time.Hour), false))
	w.write("aws.secret", s3Secret)
	cmd := exec.Command(gateway, "--port", s3Addr, "--region", "us-east-1",
		"--cert", w.path("s3.pem"), "--key", w.path("s3-key.pem"), "posix", s.root)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s3Key, "ROOT_SECRET_ACCESS_KEY="+s3Secret)
	log, err := os.Create(w.path("s3.log"))
	must(t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	must(t, w.internet.Start(cmd, ""))
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	w.await("the S3 server listens", func() bool { return strings.Contains(w.read("s3.log"), "listening on") })
	return s
}

func (s *s3) certificate(c tls.Certificate) {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(s.t, err)
	s.write("s3.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	s.write("s3-key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// sign adds a route that signs for the server.
func (s *s3) sign() {
	c := s.standard()
	c.prefix = "  aws-secret: {file: aws.secret}"
	c.extra = fmt.Sprintf(`
- name: s3
  to: {host: %s}
  cleartext: true
  upstream: {ca: partner/ca.pem}
  sign: {sigv4: {access_key: %s, secret_key: secret:aws-secret, placeholder: AKIDPLACEHOLDER, region: us-east-1, service: s3}}
`, s3Name, s3Key)
	s.configure(c)
}

// env is all that a workload has of credentials.
func (s *s3) env(argv ...string) []string {
	return append([]string{
		"env", "AWS_ACCESS_KEY_ID=AKIDPLACEHOLDER", "AWS_SECRET_ACCESS_KEY=placeholder", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}, argv...)
}

// s3Client puts a file into a bucket.
type s3Client struct {
	name string
	put  func(key, file string) []string
	says string // how it covers content that is not empty; "": it does not tell
}

func (s *s3) clients() []s3Client {
	aws, err := exec.LookPath("aws")
	if err != nil {
		netnstest.Skip(s.t, "awscli is not installed")
	}
	sdk := s.path("s3client")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", sdk, ".")
	cmd.Dir, cmd.Env = "testdata/s3client", append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("build the SDK's client: %v: %s", err, out)
	}
	return []s3Client{
		{"AWS CLI", func(key, file string) []string {
			return []string{aws, "--endpoint-url", "https://" + s3Name, "s3api", "put-object", "--bucket", "bucket", "--key", key, "--body", file}
		}, ""},
		{"SDK that signs chunks", func(key, file string) []string {
			return []string{sdk, "http://" + s3Name, "bucket", key, file}
		}, sigv4.StreamingPayload},
	}
}

// file has size bytes that do not repeat from chunk to chunk.
func (s *s3) file(size int64) (path string, sum [32]byte) {
	s.t.Helper()
	path = s.path("upload-" + strconv.FormatInt(size, 10))
	f, err := os.Create(path)
	must(s.t, err)
	defer f.Close()
	h := sha256.New()
	random := rand.NewChaCha8([32]byte{1})
	_, err = io.CopyN(io.MultiWriter(f, h), random, size)
	must(s.t, err)
	return path, [32]byte(h.Sum(nil))
}

// TestSystemS3: what unmodified clients with a placeholder key upload is stored by
// a server that verifies signatures, and the daemon holds no more of a large upload
// than of a small one.
func TestSystemS3(t *testing.T) {
	s := newS3(t)
	s.sign()
	clients := s.clients()
	d := s.daemon()
	create := s.run(s.env("aws", "--endpoint-url", "https://"+s3Name, "s3api", "create-bucket", "--bucket", "bucket")...)
	if create.code != 0 {
		t.Fatalf("create the bucket: %v\n%s", create, s.read("s3.log"))
	}
	for _, size := range s3Sizes() {
		file, sum := s.file(size)
		for i, c := range clients {
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(c.name, " ", "_"), size), func(t *testing.T) {
				key := fmt.Sprintf("%d/%d", i, size)
				before := forgetPeak(t, d.Process.Pid)
				r := s.run(s.env(c.put(key, file)...)...)
				if r.code != 0 {
					t.Fatalf("%v\n%s", r, s.read("s3.log"))
				}
				if size > 0 && c.says != "" && !hasLine(r.stdout, c.says) {
					t.Errorf("the client covered the content by %s, want %s", r.stdout, c.says)
				}
				if grown := peak(t, d.Process.Pid) - before; grown > s3Room {
					t.Errorf("the daemon grew by %d MiB for an upload of %d MiB", grown>>20, size>>20)
				}
				s.stored(t, key, size, sum)
			})
		}
		must(t, os.Remove(file))
	}
	s.checkPresigned(t, clients[1])
	s.checkSigned(t)
	s.checkRefused(t)
}

// stored compares what the server has with what was sent, and removes it.
func (s *s3) stored(t *testing.T, key string, size int64, sum [32]byte) {
	t.Helper()
	name := filepath.Join(s.root, "bucket", key)
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	must(t, err)
	if n != size || [32]byte(h.Sum(nil)) != sum {
		t.Errorf("%d bytes of %d are stored, and not the same", n, size)
	}
	must(t, os.Remove(name))
}

// checkPresigned: a URL that the SDK signed with the placeholder is signed anew as it
// passes, and past us it is worth nothing.
func (s *s3) checkPresigned(t *testing.T, sdk s3Client) {
	t.Helper()
	if r := s.run(s.env(sdk.put("a b/+presigned", s.write("content", "presigned content"))...)...); r.code != 0 {
		t.Fatal(r)
	}
	url := s.do(s.cgroup, s.env(s.path("s3client"), "http://"+s3Name, "bucket", "a b/+presigned")...)
	if url.code != 0 || !strings.Contains(url.stdout, "AKIDPLACEHOLDER") {
		t.Fatal(url)
	}
	get := []string{"curl", "-sS", "--fail-with-body", strings.TrimSpace(url.stdout)}
	if r := s.run(get...); r.code != 0 || r.stdout != "presigned content" {
		t.Errorf("through us: %v", r)
	}
	get[3] = strings.Replace(get[3], "http://", "https://", 1)
	if r := s.do(s.cgroup, append(get, "--cacert", s.path("partner/ca.pem"))...); r.code == 0 || strings.Contains(r.stdout, "presigned content") {
		t.Errorf("without us: %v", r)
	}
}

// checkSigned: the trail names the real key, once for every intent.
func (s *s3) checkSigned(t *testing.T) {
	t.Helper()
	n := 0
	for _, r := range s.records(audit.KindCredential) {
		if r.Signature == nil || r.Signature.Scheme != "sigv4" || r.Signature.KeyID != s3Key {
			t.Errorf("intent %s", r.Line())
		}
		n++
	}
	if n < 2*len(s3Sizes()) {
		t.Errorf("%d intents", n)
	}
}

// checkRefused: past us the placeholder is worth nothing, and no key but it is
// signed anew.
func (s *s3) checkRefused(t *testing.T) {
	t.Helper()
	list := []string{"aws", "--endpoint-url", "https://" + s3Name, "s3api", "list-objects-v2", "--bucket", "bucket"}
	if r := s.run(s.env(list...)...); r.code != 0 {
		t.Errorf("through us: %v", r)
	}
	outside := s.do(s.cgroup, append([]string{"env", "AWS_CA_BUNDLE=" + s.path("partner/ca.pem")}, s.env(list...)...)...)
	if outside.code == 0 || !strings.Contains(outside.stderr, "access key ID") {
		t.Errorf("without us: %v", outside)
	}
	for _, id := range []string{s3Key, "AKIDSTRANGER"} {
		other := s.run(append(s.env("env", "AWS_ACCESS_KEY_ID="+id, "AWS_MAX_ATTEMPTS=1"), list...)...)
		if other.code == 0 {
			t.Errorf("signed with %s: %v", id, other)
		}
	}
	s.find("a key that is no placeholder", func(r *audit.Record) bool { return r.Reason == "signature_scope" })
}

// forgetPeak makes peak count from now, and gives what the process holds.
func forgetPeak(t *testing.T, pid int) int64 {
	t.Helper()
	must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0))
	return status(t, pid, "VmRSS")
}

// peak is the most that a process held.
func peak(t *testing.T, pid int) int64 { return status(t, pid, "VmHWM") }

func status(t *testing.T, pid int, key string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			must(t, err)
			return n << 10
		}
	}
	t.Fatalf("no %s", key)
	return 0
}
