package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/secret"
)

// The cases that the suite has at the least; a fuller copy of it may have more.
const leastCases = 23

// conformance is the folder of the AWS vectors.
func conformance(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("OUTWARDEN_CONFORMANCE")
	if dir == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("OUTWARDEN_CONFORMANCE is not set")
		}
		t.Skip("OUTWARDEN_CONFORMANCE is not set: no conformance data")
	}
	return filepath.Join(dir, "sigv4")
}

// suiteContext is context.json of one case.
type suiteContext struct {
	Credentials struct {
		ID    string `json:"access_key_id"`
		Key   string `json:"secret_access_key"`
		Token string `json:"token"`
	} `json:"credentials"`
	Expires   int64     `json:"expiration_in_seconds"`
	Normalize bool      `json:"normalize"`
	Region    string    `json:"region"`
	Service   string    `json:"service"`
	SignBody  bool      `json:"sign_body"`
	OmitToken bool      `json:"omit_session_token"`
	Time      time.Time `json:"timestamp"`
}

func (c *suiteContext) rule() PathRule {
	if c.Normalize {
		return NormalizedPath
	}
	return RawPath
}

func (c *suiteContext) credentials() Credentials {
	return Credentials{c.Credentials.ID, secret.New([]byte(c.Credentials.Key)), secret.New([]byte(c.Credentials.Token))}
}

func (c *suiteContext) signer() *Signer {
	return &Signer{
		Credentials: c.credentials(), Region: c.Region, Service: c.Service, Path: c.rule(),
		Covers: Everything, ContentSHA256: c.SignBody, TokenUnsigned: c.OmitToken,
	}
}

func TestSuite(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(conformance(t), "v4", "*"))
	if err != nil || len(dirs) < leastCases {
		t.Fatalf("%d cases, want %d at the least: %v", len(dirs), leastCases, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var c suiteContext
			if err := json.Unmarshal([]byte(text(t, dir, "context.json")), &c); err != nil {
				t.Fatal(err)
			}
			r, body := parseSuite(t, text(t, dir, "request.txt"))
			t.Run("header", func(t *testing.T) {
				payload := sumHex(body)
				got, err := c.signer().Sign(&r, payload, c.Time)
				compare(t, dir, "header", got, err)
				signed := Request{r.Method, got.Target, replace(r.Fields, got.Set)}
				verifyAndTamper(t, &c, signed, body)
				theirs, theirBody := parseSuite(t, text(t, dir, "header-signed-request.txt"))
				verifyAndTamper(t, &c, theirs, theirBody)
			})
			t.Run("query", func(t *testing.T) {
				got, err := c.signer().Presign(&r, sumHex(body), c.Time, time.Duration(c.Expires)*time.Second)
				compare(t, dir, "query", got, err)
				if c.OmitToken {
					return // the token in the query is not covered
				}
				verifyAndTamper(t, &c, Request{r.Method, got.Target, r.Fields}, body)
				theirs, theirBody := parseSuite(t, text(t, dir, "query-signed-request.txt"))
				verifyAndTamper(t, &c, theirs, theirBody)
			})
		})
	}
}

func compare(t *testing.T, dir, kind string, got Signature, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for name, have := range map[string]string{
		"canonical-request": got.CanonicalRequest, "string-to-sign": got.StringToSign, "signature": got.Value,
	} {
		if want := strings.TrimRight(text(t, dir, kind+"-"+name+".txt"), "\n"); have != want {
			t.Errorf("%s\n got %q\nwant %q", name, have, want)
		}
	}
}

// verifyAndTamper accepts r as it is, and refuses it with a byte of each part changed.
func verifyAndTamper(t *testing.T, c *suiteContext, r Request, body []byte) {
	t.Helper()
	verify := func(r *Request, body []byte) error {
		a, err := Parse(r)
		if err != nil {
			return err
		}
		return a.Verify(c.credentials(), r, sumHex(body), c.rule())
	}
	if err := verify(&r, body); err != nil {
		t.Fatalf("as signed: %v", err)
	}
	path, query, _ := strings.Cut(r.Target, "?")
	for name, bad := range map[string]Request{
		"method": {r.Method + "X", r.Target, r.Fields},
		"path":   {r.Method, path + "x?" + query, r.Fields},
		"query":  {r.Method, r.Target + "x", r.Fields},
	} {
		if verify(&bad, body) == nil {
			t.Errorf("%s changed: accepted", name)
		}
	}
	for i, f := range r.Fields {
		bad := Request{r.Method, r.Target, replace(r.Fields, nil)}
		bad.Fields[i] = Field{f.Name, f.Value + "0"}
		if verify(&bad, body) == nil {
			t.Errorf("field %s changed: accepted", f.Name)
		}
	}
	if err := verify(&r, append(body, 'x')); err == nil {
		t.Error("body changed: accepted")
	}
}

// parseSuite reads a request as the suite writes it: LF, folded fields, a target
// that may have raw spaces.
func parseSuite(t *testing.T, s string) (Request, []byte) {
	t.Helper()
	head, body, _ := strings.Cut(s, "\n\n")
	lines := strings.Split(strings.TrimRight(head, "\n"), "\n")
	first, last := strings.Index(lines[0], " "), strings.LastIndex(lines[0], " ")
	r := Request{Method: lines[0][:first], Target: lines[0][first+1 : last]}
	for _, line := range lines[1:] {
		if line[0] == ' ' || line[0] == '\t' {
			r.Fields[len(r.Fields)-1].Value += "\n" + line
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("line %q", line)
		}
		r.Fields = append(r.Fields, Field{name, value})
	}
	return r, []byte(strings.TrimRight(body, "\n"))
}

func text(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// chunkedVector is chunked.json.
type chunkedVector struct {
	ID      string `json:"access_key_id"`
	Key     string `json:"secret_access_key"`
	Region  string `json:"region"`
	Service string `json:"service"`
	Time    string `json:"timestamp"`
	Request struct {
		Method        string      `json:"method"`
		Target        string      `json:"target"`
		Headers       [][2]string `json:"headers"`
		Adds          [][2]string `json:"adds_headers"`
		Canonical     string      `json:"canonical_request"`
		Text          string      `json:"string_to_sign"`
		Signature     string      `json:"signature"`
		Authorization string      `json:"authorization"`
	} `json:"request"`
	Chunks []struct {
		Fill      string `json:"fill"`
		Size      int    `json:"size"`
		Text      string `json:"string_to_sign"`
		Signature string `json:"signature"`
		Prefix    string `json:"wire_prefix"`
	} `json:"chunks"`
	BodyLength int `json:"body_length"`
	Trailer    struct {
		Headers   [][2]string `json:"headers"`
		Canonical string      `json:"canonical"`
		Text      string      `json:"string_to_sign"`
		Signature string      `json:"signature"`
	} `json:"trailer"`
}

// sign makes the vector's request and its signature.
func (v *chunkedVector) sign(t *testing.T) (*Signer, Request, Signature) {
	t.Helper()
	at, err := time.Parse(timeFormat, v.Time)
	if err != nil {
		t.Fatal(err)
	}
	s := &Signer{
		Credentials: Credentials{AccessKeyID: v.ID, SecretKey: secret.New([]byte(v.Key))},
		Region:      v.Region, Service: v.Service, Covers: Everything,
	}
	r := Request{v.Request.Method, v.Request.Target, fieldsOf(v.Request.Headers)}
	got, err := s.Sign(&r, StreamingPayload, at)
	if err != nil {
		t.Fatal(err)
	}
	return s, r, got
}

func fieldsOf(pairs [][2]string) (fields []Field) {
	for _, p := range pairs {
		fields = append(fields, Field{p[0], p[1]})
	}
	return fields
}

func readChunked(t *testing.T) *chunkedVector {
	t.Helper()
	var v chunkedVector
	if err := json.Unmarshal([]byte(text(t, conformance(t), "chunked.json")), &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Chunks) < 3 || len(v.Trailer.Headers) < 3 {
		t.Fatalf("%d chunks, %d trailer fields", len(v.Chunks), len(v.Trailer.Headers))
	}
	return &v
}

// TestChunkedVector: the request, its 3 chunks and its trailer.
func TestChunkedVector(t *testing.T) {
	v := readChunked(t)
	_, r, got := v.sign(t)
	same := func(what, have, want string) {
		t.Helper()
		if have != want {
			t.Errorf("%s\n got %q\nwant %q", what, have, want)
		}
	}
	same("canonical request", got.CanonicalRequest, v.Request.Canonical)
	same("string to sign", got.StringToSign, v.Request.Text)
	same("signature", got.Value, v.Request.Signature)
	same("authorization", got.Set[len(got.Set)-1].Value, v.Request.Authorization)
	chain := got.Chain()
	var wire strings.Builder
	for _, c := range v.Chunks {
		data := strings.Repeat(c.Fill, c.Size)
		sum := sha256.Sum256([]byte(data))
		same("chunk's string to sign", chunkText(chain.middle, chain.previous, sum), c.Text)
		same("chunk's signature", chain.Chunk(sum), c.Signature)
		wire.WriteString(c.Prefix + data + "\r\n")
	}
	canonical := CanonicalTrailer(fieldsOf(v.Trailer.Headers))
	same("trailer", string(canonical), v.Trailer.Canonical)
	same("trailer's string to sign", trailerText(chain.middle, chain.previous, canonical), v.Trailer.Text)
	same("trailer's signature", chain.Trailer(canonical), v.Trailer.Signature)
	if wire.Len() != v.BodyLength {
		t.Errorf("%d bytes on the wire, want %d", wire.Len(), v.BodyLength)
	}
	signed := Request{r.Method, r.Target, replace(r.Fields, got.Set)}
	resignVector(t, v, &signed, wire.String())
}

// resignVector sends the vector's wire bytes through a Resigner with the same
// key, which must give the same bytes, and through one whose in-chain does not fit.
func resignVector(t *testing.T, v *chunkedVector, signed *Request, wire string) {
	a, err := Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	c := Credentials{AccessKeyID: v.ID, SecretKey: secret.New([]byte(v.Key))}
	if err := a.Verify(c, signed, "", ByService); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	rs, err := NewResigner(&out, a.Chain(c), ResignOptions{Payload: a.Payload, In: a.Chain(c), Length: 66560})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rs.Write([]byte(wire)); err != nil {
		t.Fatal(err)
	}
	if err := rs.Close(); err != nil || out.String() != wire {
		t.Errorf("re-signed with the same key: %v, same %v", err, out.String() == wire)
	}
	c.SecretKey = secret.New([]byte("other"))
	rs, err = NewResigner(&out, a.Chain(c), ResignOptions{Payload: a.Payload, In: a.Chain(c), Length: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rs.Write([]byte(wire)); !errors.Is(err, ErrChunkSignature) {
		t.Errorf("other key: %v", err)
	}
}

func TestEmptyPayload(t *testing.T) {
	if sum := sha256.Sum256(nil); hex.EncodeToString(sum[:]) != EmptyPayload {
		t.Error(hex.EncodeToString(sum[:]))
	}
}
