package proxy_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/hmacsig"
	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
	"github.com/outwarden/outwarden/pkg/secret"
)

// TestCompressedBodiesStayCompressed is H6 for bodies: a signer digests the bytes
// that are sent, and nobody looks into a response; 256 MiB of zeros in 256 KiB
// stay where they are, both ways.
func TestCompressedBodiesStayCompressed(t *testing.T) {
	bomb, key := gzipBomb(t), []byte("signing key of the test")
	scheme, err := hmacsig.Preset("knoxcall")
	must(t, err)
	plan, err := inject.NewPlan(nil, &inject.HMAC{Name: "hmac", Version: "1", Scheme: scheme, Key: secret.New(key)})
	must(t, err)
	for _, alpn := range versions {
		t.Run(alpn, func(t *testing.T) {
			w := newWorld(t)
			w.names[host] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			o := newHTTPOrigin(t, w.partner.leaf(t, []string{host}), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				var at int64
				_, _ = fmt.Sscan(r.Header.Get("X-Timestamp"), &at)
				in := hmacsig.Input{Method: r.Method, Target: r.RequestURI, BodySHA256: sha256.Sum256(bomb), Time: time.Unix(at, 0)}
				if err := scheme.Verify(key, in, r.Header.Get("X-Signature")); err != nil || !bytes.Equal(body, bomb) {
					t.Errorf("of %d bytes %d arrived, signature: %v", len(bomb), len(body), err)
				}
				rw.Header().Set("Content-Encoding", "gzip")
				_, _ = rw.Write(bomb)
			}))
			w.use(policy.Intercept, w.partnerRoute(func(r *rule) { r.plan.Inject = plan }))
			r := mustRequest(t, "POST", "https://"+host+"/v1/x", bytes.NewReader(bomb))
			r.Header.Set("Content-Encoding", "gzip")
			r.Header.Set("Accept-Encoding", "gzip") // or Go's client unpacks the answer
			var answer []byte
			n := allocated(func() {
				res := w.do(o, alpn, r)
				answer, _ = io.ReadAll(res.Body)
			})
			if !bytes.Equal(answer, bomb) || n > allowance {
				t.Errorf("of %d bytes %d came back, %d MiB allocated", len(bomb), len(answer), n>>20)
			}
		})
	}
}

func gzipBomb(t testing.TB) []byte {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := io.CopyN(z, zeros{}, 256<<20)
	must(t, err)
	must(t, z.Close())
	return packed.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
