package inject

import (
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

const (
	realID  = "AKIDREAL"
	dummyID = "AKIDPLACEHOLDER"
)

func awsKey(id, placeholder string) AWSKey {
	return AWSKey{
		Name: "aws", Version: "1", Placeholder: placeholder, Regions: []string{"eu-west-1", "us-east-1"}, Services: []string{"s3", "execute-api"},
		Credentials: sigv4.Credentials{AccessKeyID: id, SecretKey: value("the real secret of " + id), SessionToken: value("real/token==")},
	}
}

func awsPlan(t testing.TB, keys ...AWSKey) *Plan {
	t.Helper()
	p, err := NewPlan(nil, &SigV4{Keys: keys, Clock: replay.NewClock(time.Second, time.Minute, nil)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// dummy signs h as an SDK with a placeholder key does.
func dummy(t testing.TB, h *head, service, payload string, presigned bool) sigv4.Signature {
	t.Helper()
	s := sigv4.Signer{
		Credentials: sigv4.Credentials{AccessKeyID: dummyID, SecretKey: value("made up"), SessionToken: value("made up too")},
		Region:      "us-east-1", Service: service,
	}
	r := awsRequest(h)
	var got sigv4.Signature
	var err error
	if presigned {
		got, err = s.Presign(&r, payload, now.Add(-time.Minute), 10*time.Minute)
	} else {
		got, err = s.Sign(&r, payload, now.Add(-time.Minute))
	}
	if err != nil {
		t.Fatal(err)
	}
	h.target = got.Target
	for _, f := range got.Set {
		h.fields = append(h.fields, [2]string{f.Name, f.Value})
	}
	return got
}

// accepted verifies what leaves as AWS would.
func accepted(t testing.TB, h *head, key AWSKey, content string) sigv4.Authorization {
	t.Helper()
	r := awsRequest(h)
	a, err := sigv4.Parse(&r)
	if err != nil {
		t.Fatalf("%v\n%s", err, h)
	}
	if err := a.Verify(key.Credentials, &r, content, sigv4.ByService); err != nil {
		t.Fatalf("%v\n%s", err, h)
	}
	if err := a.CheckTime(now, time.Minute); err != nil || a.AccessKeyID != key.Credentials.AccessKeyID {
		t.Errorf("%v, key %s", err, a.AccessKeyID)
	}
	for _, left := range []string{dummyID, "made up"} {
		if strings.Contains(h.String(), left) {
			t.Errorf("%s leaves:\n%s", left, h)
		}
	}
	return a
}

// through sends content through the rewriting of h in pieces of n bytes.
func through(t testing.TB, h *head, content string, n int) (string, error) {
	t.Helper()
	if h.rewriting == nil {
		return content, nil
	}
	var out strings.Builder
	w := h.rewriting.Begin(&out)
	for len(content) > 0 {
		n := min(n, len(content))
		if _, err := io.WriteString(w, content[:n]); err != nil {
			return out.String(), err
		}
		content = content[n:]
	}
	return out.String(), w.Close()
}

// TestSigV4SignsAnew: for every kind of payload, in header and query, the service
// would verify what leaves, and nothing of the placeholder is left.
func TestSigV4SignsAnew(t *testing.T) {
	const content = "some content"
	for _, service := range []string{"s3", "execute-api"} {
		for _, target := range []string{"/bucket//a%20b/../c?x=2&x=1&empty=", "/%E2%82%AC/plain+plus", "/"} {
			for name, payload := range map[string]string{
				"hash": sigv4.Sum([]byte(content)), "unsigned": sigv4.UnsignedPayload, "unsigned trailer": sigv4.StreamingUnsignedTrailer,
			} {
				for _, presigned := range []bool{false, true} {
					h := request(target, "Content-Length: 12", "Content-Type: text/plain", "X-Amz-Meta-A:  b   c", "User-Agent: aws-cli", "Expect: 100-continue")
					sent := dummy(t, h, service, payload, presigned)
					if presigned && payload != sigv4.UnsignedPayload {
						h.fields = append(h.fields, [2]string{"X-Amz-Content-Sha256", payload})
					}
					key := awsKey(realID, "")
					p := awsPlan(t, key)
					content := content
					if !presigned && service == "execute-api" && name == "hash" {
						h.fields = without(h.fields, "X-Amz-Content-Sha256") // SDKs send it to S3 alone
					}
					gathered := wants(t, p, h)
					if gathered {
						content = "body" // that apply hands over
					}
					done := apply(t, p, h)
					sum := ""
					if gathered || len(payload) == 64 {
						sum = sigv4.Sum([]byte(content))
					}
					a := accepted(t, h, key, sum)
					if a.Signature == sent.Value || a.Presigned != presigned || a.Scope.Region != "us-east-1" || a.Scope.Service != service {
						t.Errorf("%s %s %s presigned %v: %+v", service, target, name, presigned, a)
					}
					if presigned && a.Expires != 10*time.Minute {
						t.Errorf("expires in %s", a.Expires)
					}
					for _, signed := range a.Names {
						if signed == "user-agent" || signed == "expect" || signed == "content-length" {
							t.Errorf("%s is signed", signed)
						}
					}
					if done.Signature.Scheme != "sigv4" || done.Signature.KeyID != realID {
						t.Errorf("record %+v", done.Signature)
					}
				}
			}
		}
	}
}

func without(fields [][2]string, name string) (out [][2]string) {
	for _, f := range fields {
		if f[0] != name {
			out = append(out, f)
		}
	}
	return out
}

func wants(t testing.TB, p *Plan, m Message) bool {
	t.Helper()
	why, err := p.Gathers(m)
	if err != nil {
		t.Fatal(err)
	}
	return why != GatherNothing
}

// TestSigV4Chunks: each chunk has the signature that the real key makes, whatever
// the pieces in which it comes, and nothing else is another.
func TestSigV4Chunks(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 5000)
	for _, payload := range []string{sigv4.StreamingPayload, sigv4.StreamingPayloadTrailer} {
		var trailers func() []sigv4.Field
		if payload == sigv4.StreamingPayloadTrailer {
			trailers = func() []sigv4.Field { return []sigv4.Field{{Name: "x-amz-checksum-crc32c", Value: "sOO8/Q=="}} }
		}
		for _, piece := range []int{1, 1000, 1 << 20} {
			h := request("/bucket/key", "Content-Encoding: aws-chunked", "X-Amz-Decoded-Content-Length: 80000")
			sent := dummy(t, h, "s3", payload, false)
			encoded := encode(t, content, sent.Chain(), trailers)
			h.fields = append(h.fields, [2]string{"Content-Length", number10(len(encoded))})
			key := awsKey(realID, dummyID)
			p := awsPlan(t, key)
			if wants(t, p, h) {
				t.Fatal("a streamed body is gathered")
			}
			apply(t, p, h)
			a := accepted(t, h, key, "")
			if h.rewriting == nil || h.rewriting.Length != int64(len(encoded)) {
				t.Fatalf("rewriting %+v, want a length of %d", h.rewriting, len(encoded))
			}
			out, err := through(t, h, encoded, piece)
			if err != nil || len(out) != len(encoded) || out == encoded {
				t.Fatalf("%d bytes of %d: %v", len(out), len(encoded), err)
			}
			var decoded strings.Builder
			d, err := sigv4.NewDecoder(&decoded, a.Chain(key.Credentials), payload, 80000)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(d, out); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil || decoded.String() != content {
				t.Errorf("%s in pieces of %d: %v", payload, piece, err)
			}
			if out, err := through(t, h, encoded[:len(encoded)-9], piece); !errors.Is(err, flow.ReasonBadRequest) {
				t.Errorf("cut short: %v after %d bytes", err, len(out))
			}
			if _, err := through(t, h, "zz"+encoded, piece); !errors.Is(err, flow.ReasonBadRequest) {
				t.Errorf("not chunked as it says: %v", err)
			}
		}
	}
}

func number10(n int) string { return string(appendInt(nil, n)) }

func appendInt(b []byte, n int) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

func encode(t testing.TB, content string, chain *sigv4.Chain, trailers func() []sigv4.Field) string {
	t.Helper()
	var out strings.Builder
	e, err := sigv4.NewEncoder(&out, chain, 8192, trailers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(e, content); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestSigV4DeclaredHash: content that is not the one of the declared hash never
// comes to its end.
func TestSigV4DeclaredHash(t *testing.T) {
	h := request("/bucket/key", "Content-Length: 12")
	dummy(t, h, "s3", sigv4.Sum([]byte("some content")), false)
	apply(t, awsPlan(t, awsKey(realID, "")), h)
	if out, err := through(t, h, "some content", 5); err != nil || out != "some content" {
		t.Errorf("as declared: %q %v", out, err)
	}
	if _, err := through(t, h, "some c0ntent", 5); !errors.Is(err, flow.ReasonBadRequest) {
		t.Errorf("with a byte changed: %v", err)
	}
}

func TestSigV4Chooses(t *testing.T) {
	one, two := awsKey("AKIDONE", dummyID), awsKey("AKIDTWO", "AKIDOTHER")
	h := request("/b/k")
	dummy(t, h, "s3", sigv4.UnsignedPayload, false)
	apply(t, awsPlan(t, two, one), h)
	accepted(t, h, one, "")

	unsigned := request("/b/k", "Authorization: Bearer x")
	apply(t, awsPlan(t, awsKey(realID, dummyID)), unsigned)
	if a := accepted(t, unsigned, awsKey(realID, dummyID), ""); a.Scope.Region != "eu-west-1" || a.Scope.Service != "s3" || a.Payload != sigv4.UnsignedPayload {
		t.Errorf("a request that nobody signed: %+v", a)
	}
}

func TestSigV4Refuses(t *testing.T) {
	with := func(change func(*AWSKey)) AWSKey {
		k := awsKey(realID, "")
		change(&k)
		return k
	}
	signed := func(service, payload string) *head {
		h := request("/b/k")
		dummy(t, h, service, payload, false)
		return h
	}
	twice := signed("s3", sigv4.UnsignedPayload)
	twice.target = "/b/k?X-Amz-Signature=1"
	v4a := request("/b/k", "Authorization: AWS4-ECDSA-P256-SHA256 Credential=a/20260101/s3/aws4_request, SignedHeaders=host, Signature=00")
	hashes := request("/b/k", "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD", "x-amz-content-sha256: UNSIGNED-PAYLOAD")
	for name, tt := range map[string]struct {
		h    *head
		keys []AWSKey
		want flow.Reason
	}{
		"other region":       {signed("s3", sigv4.UnsignedPayload), []AWSKey{with(func(k *AWSKey) { k.Regions = []string{"eu-west-1"} })}, flow.ReasonSignatureScope},
		"other service":      {signed("sts", sigv4.UnsignedPayload), []AWSKey{awsKey(realID, "")}, flow.ReasonSignatureScope},
		"other placeholder":  {signed("s3", sigv4.UnsignedPayload), []AWSKey{awsKey(realID, "AKIDOTHER")}, flow.ReasonSignatureScope},
		"the real key":       {signed("s3", sigv4.UnsignedPayload), []AWSKey{awsKey(dummyID, "")}, flow.ReasonSignatureScope},
		"unsigned, two keys": {request("/b/k"), []AWSKey{awsKey("A", "PA"), awsKey("B", "PB")}, flow.ReasonSignatureScope},
		"SigV4A":             {v4a, []AWSKey{awsKey(realID, "")}, flow.ReasonSignatureKind},
		"SigV4A payload":     {request("/b/k", "X-Amz-Content-Sha256: STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), []AWSKey{awsKey(realID, "")}, flow.ReasonSignatureKind},
		"unknown payload":    {request("/b/k", "X-Amz-Content-Sha256: hello"), []AWSKey{awsKey(realID, "")}, flow.ReasonBadRequest},
		"two hashes":         {hashes, []AWSKey{awsKey(realID, "")}, flow.ReasonBadRequest},
		"signed twice":       {twice, []AWSKey{awsKey(realID, "")}, flow.ReasonBadRequest},
	} {
		p := awsPlan(t, tt.keys...)
		if _, err := p.Gathers(tt.h); !errors.Is(err, tt.want) {
			t.Errorf("%s: gathers: %v, want %v", name, err, tt.want)
		}
		if _, _, err := p.Apply(permit(p, tt.h), tt.h, Content{}, now); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	for name, bad := range map[string]*SigV4{
		"no key":                {},
		"no secret":             {Keys: []AWSKey{with(func(k *AWSKey) { k.Credentials.SecretKey = value("") })}},
		"no region":             {Keys: []AWSKey{with(func(k *AWSKey) { k.Regions = nil })}},
		"real as placeholder":   {Keys: []AWSKey{awsKey(realID, realID)}},
		"two, one placeholder":  {Keys: []AWSKey{awsKey("A", "P"), awsKey("B", "")}},
		"token with a line end": {Keys: []AWSKey{with(func(k *AWSKey) { k.Credentials.SessionToken = value("a\r\nb") })}},
	} {
		if _, err := NewPlan(nil, bad); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestEverySignatureIsAnother: the same request at the same moment, as a retry is.
func TestEverySignatureIsAnother(t *testing.T) {
	clock := replay.NewClock(time.Second, 30*time.Second, nil)
	hmac := signer(t, false)
	hmac.Clock = clock
	nonced := signer(t, true)
	for name, s := range map[string]Signer{
		"sigv4": &SigV4{Keys: []AWSKey{awsKey(realID, "")}, Clock: clock}, "hmac": hmac, "hmac with a nonce": nonced,
		"template": templateSigner(t, "slack", clock), "httpsig": messageSigner(t, clock),
	} {
		p, err := NewPlan(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[[32]byte]bool{}
		last := int64(0)
		for range 5 {
			h := request("/x")
			done := apply(t, p, h)
			if sum := sha256.Sum256([]byte(h.String())); seen[sum] {
				t.Errorf("%s: sent again as it was:\n%s", name, h)
			} else {
				seen[sum] = true
			}
			if done.Signature.Timestamp <= last && name != "hmac with a nonce" {
				t.Errorf("%s: time %d after %d", name, done.Signature.Timestamp, last)
			}
			last = done.Signature.Timestamp
		}
	}
}
