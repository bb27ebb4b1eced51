package sigv4

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/secret"
)

// TestRoundTrip: what is signed verifies; another byte anywhere does not.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		service := rapid.SampledFrom([]string{"s3", "execute-api", "s3express"}).Draw(t, "service")
		r := Request{
			Method: rapid.SampledFrom([]string{"GET", "PUT"}).Draw(t, "method"),
			Target: "/" + rapid.StringMatching(`([a-zA-Z0-9/._~+@ -]|%[0-9A-Fa-f]{2}){0,12}`).Draw(t, "path") +
				rapid.StringMatching(`(\?[a-c]{1,3}=[a-z%+/]{0,5}(&[A-C]{1,2}(=[0-9]{0,3})?){0,3})?`).Draw(t, "query"),
			Fields: []Field{{"Host", "h.example"}, {"X-Amz-Meta-A", rapid.StringMatching(`[ -~]{0,8}`).Draw(t, "meta")}},
		}
		body := sumHex([]byte(rapid.String().Draw(t, "body")))
		s := signer(service)
		signed := r
		if rapid.Bool().Draw(t, "presign") {
			got, err := s.Presign(&r, body, at, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			signed.Target = got.Target
			if service != "execute-api" {
				// A presigned S3 URL leaves the body unsigned.
				got, err = s.Presign(&r, UnsignedPayload, at, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				signed.Target = got.Target
			}
		} else {
			got, err := s.Sign(&r, body, at)
			if err != nil {
				t.Fatal(err)
			}
			signed.Target, signed.Fields = got.Target, replace(r.Fields, got.Set)
		}
		check := func(r *Request) error {
			a, err := Parse(r)
			if err != nil {
				return err
			}
			return a.Verify(creds, r, body, ByService)
		}
		if err := check(&signed); err != nil {
			t.Fatalf("own signature: %v\n%+v", err, signed)
		}
		bad := Request{signed.Method, signed.Target, replace(signed.Fields, nil)}
		change(t, &bad)
		if err := check(&bad); err == nil {
			t.Fatalf("accepted %+v\ninstead of %+v", bad, signed)
		}
	})
}

// change adds or alters something that is not another spelling of the same.
func change(t *rapid.T, r *Request) {
	path, query, _ := strings.Cut(r.Target, "?")
	switch rapid.IntRange(0, 4).Draw(t, "change") {
	case 0:
		r.Target = path + "x?" + query
	case 1:
		r.Target += "&new=1"
		if query == "" {
			r.Target = path + "?new=1"
		}
	case 2:
		i := rapid.IntRange(0, len(r.Fields)-1).Draw(t, "field")
		r.Fields[i].Value += "x"
	case 3:
		r.Fields = append(r.Fields, Field{"X-Amz-New", "1"})
	case 4:
		r.Method += "X"
	}
}

func TestVerifyRefuses(t *testing.T) {
	r := request()
	got, err := signer("s3").Sign(&r, EmptyPayload, at)
	if err != nil {
		t.Fatal(err)
	}
	signed := Request{r.Method, got.Target, replace(r.Fields, got.Set)}
	a, err := Parse(&signed)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Verify(creds, &signed, EmptyPayload, ByService); err != nil {
		t.Fatal(err)
	}
	if err := a.Verify(creds, &signed, sumHex([]byte("x")), ByService); !errors.Is(err, ErrPayload) {
		t.Errorf("other body: %v", err)
	}
	if err := a.Verify(creds, &signed, EmptyPayload, RawPath); !errors.Is(err, ErrMismatch) {
		t.Errorf("other path rule: %v", err)
	}
	other := creds
	other.SecretKey = secret.New([]byte("kez"))
	if err := a.Verify(other, &signed, EmptyPayload, ByService); !errors.Is(err, ErrMismatch) {
		t.Errorf("other key: %v", err)
	}
	more := Request{signed.Method, signed.Target, append(replace(signed.Fields, nil), Field{"x-amz-grant-read", "all"})}
	if err := a.Verify(creds, &more, EmptyPayload, ByService); !errors.Is(err, ErrUncovered) {
		t.Errorf("unsigned field: %v", err)
	}
}

// TestUncoveredToken: a token beside the signature must be the known one.
func TestUncoveredToken(t *testing.T) {
	s := signer("iot")
	s.TokenUnsigned = true
	r := Request{"GET", "/", []Field{{"Host", "h"}}}
	got, err := s.Sign(&r, EmptyPayload, at)
	if err != nil {
		t.Fatal(err)
	}
	signed := Request{"GET", "/", replace(r.Fields, got.Set)}
	for token, want := range map[string]error{"tok/en==": nil, "another": ErrMismatch} {
		signed.Fields = replace(signed.Fields, []Field{{"X-Amz-Security-Token", token}})
		a, err := Parse(&signed)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Verify(creds, &signed, EmptyPayload, ByService); !errors.Is(err, want) {
			t.Errorf("token %s: %v", token, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	sig := strings.Repeat("0", 64)
	header := func(s string) Request {
		return Request{"GET", "/", []Field{{"Host", "h"}, {"X-Amz-Date", "20260504T030201Z"}, {"Authorization", s}}}
	}
	good := "AWS4-HMAC-SHA256 Credential=A/20260504/r/s3/aws4_request,SignedHeaders=host;x-amz-date,Signature=" + sig
	if r := header(good); parseError(&r) != nil {
		t.Fatalf("without spaces: %v", parseError(&r))
	}
	query := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260504%2Fr%2Fs3%2Faws4_request&X-Amz-Date=20260504T030201Z" +
		"&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=" + sig
	presigned := func(q string) Request { return Request{"GET", "/?" + q, []Field{{"Host", "h"}}} }
	if r := presigned(query); parseError(&r) != nil {
		t.Fatalf("presigned: %v", parseError(&r))
	}
	twice := header(good)
	twice.Target = "/?" + query
	again := header(good)
	again.Fields = append(again.Fields, Field{"authorization", good})
	dates := header(good)
	dates.Fields = append(dates.Fields, Field{"x-amz-date", "20260504T030201Z"})
	for name, tt := range map[string]struct {
		r    Request
		want error
	}{
		"none":            {Request{"GET", "/", nil}, ErrUnsigned},
		"sigv4a":          {header("AWS4-ECDSA-P256-SHA256 Credential=A/20260504/s3/aws4_request, SignedHeaders=host, Signature=30"), ErrSigV4A},
		"sigv4a query":    {presigned("X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Signature=1"), ErrSigV4A},
		"sigv2":           {header("AWS A:b="), ErrAlgorithm},
		"bearer":          {header("Bearer x"), ErrAlgorithm},
		"both":            {twice, ErrMalformed},
		"two headers":     {again, ErrMalformed},
		"two dates":       {dates, ErrMalformed},
		"upper-case hex":  {header(strings.Replace(good, sig, strings.Repeat("A", 64), 1)), ErrMalformed},
		"short":           {header(good[:len(good)-1]), ErrMalformed},
		"twice a part":    {header(good + ",Signature=" + sig), ErrMalformed},
		"unknown part":    {header(good + ",X=1"), ErrMalformed},
		"names unsorted":  {header(strings.Replace(good, "host;x-amz-date", "x-amz-date;host", 1)), ErrMalformed},
		"name twice":      {header(strings.Replace(good, "host;", "host;host;", 1)), ErrMalformed},
		"name upper":      {header(strings.Replace(good, "host;", "Host;", 1)), ErrMalformed},
		"no host":         {header(strings.Replace(good, "host;", "", 1)), ErrMalformed},
		"other day":       {header(strings.Replace(good, "20260504", "20260505", 1)), ErrMalformed},
		"no terminator":   {header(strings.Replace(good, "aws4_request", "aws5_request", 1)), ErrMalformed},
		"no id":           {header(strings.Replace(good, "=A/", "=/", 1)), ErrMalformed},
		"query twice":     {presigned(query + "&X-Amz-Signature=" + sig), ErrMalformed},
		"query case":      {presigned(query + "&x-amz-expires=9"), ErrMalformed},
		"expires":         {presigned(strings.Replace(query, "=60", "=604801", 1)), ErrMalformed},
		"expires nothing": {presigned(strings.Replace(query, "=60", "=0", 1)), ErrMalformed},
	} {
		if err := parseError(&tt.r); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func parseError(r *Request) error {
	_, err := Parse(r)
	return err
}

func TestCheckTime(t *testing.T) {
	skew := 15 * time.Minute
	for _, tt := range []struct {
		presigned bool
		now       time.Duration
		want      error
	}{
		{false, 0, nil}, {false, skew, nil}, {false, -skew, nil},
		{false, skew + 1, ErrExpired}, {false, -skew - 1, ErrEarly},
		{true, time.Hour, nil}, {true, time.Hour + 1, ErrExpired}, {true, -skew - 1, ErrEarly},
	} {
		a := Authorization{Time: at, Presigned: tt.presigned, Expires: time.Hour}
		if err := a.CheckTime(at.Add(tt.now), skew); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// TestDateField: a request without X-Amz-Date is dated by Date.
func TestDateField(t *testing.T) {
	r := Request{"GET", "/", []Field{{"Host", "h"}, {"Date", "Mon, 04 May 2026 03:02:01 GMT"}, {"Authorization",
		"AWS4-HMAC-SHA256 Credential=A/20260504/r/s/aws4_request, SignedHeaders=date;host, Signature=" + strings.Repeat("0", 64)}}}
	if a, err := Parse(&r); err != nil || !a.Time.Equal(at) {
		t.Errorf("%v, %v", a.Time, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0", "", "")
	f.Add("/", "AWS4-HMAC-SHA256 Credential=A/20260504/r/s3/aws4_request,SignedHeaders=host,Signature="+strings.Repeat("0", 64), "20260504T030201Z")
	f.Fuzz(func(t *testing.T, target, authorization, date string) {
		r := Request{"GET", target, []Field{{"Host", "h"}, {"X-Amz-Date", date}, {"Authorization", authorization}}}
		for range 2 {
			if a, err := Parse(&r); err == nil && a.Verify(Credentials{a.AccessKeyID, creds.SecretKey, creds.SessionToken}, &r, EmptyPayload, ByService) == nil {
				t.Fatalf("%q %q verifies", target, authorization)
			}
			r.Fields = r.Fields[:1]
		}
	})
}

// TestTooManyNames: what is looked up for a stranger is bounded.
func TestTooManyNames(t *testing.T) {
	for n, want := range map[int]error{mostNames: nil, mostNames + 1: ErrMalformed} {
		r := Request{"GET", "/", []Field{{"Host", "h"}}}
		for i := range n - 2 { // beside Host and X-Amz-Date
			r.Fields = append(r.Fields, Field{fmt.Sprint("X-", i), ""})
		}
		s := &Signer{Credentials: Credentials{AccessKeyID: "a", SecretKey: creds.SecretKey}, Region: "r", Service: "t", Covers: Everything}
		signed, err := s.Sign(&r, EmptyPayload, at)
		if err != nil {
			t.Fatal(err)
		}
		r.Fields = append(r.Fields, signed.Set...)
		if _, err := Parse(&r); !errors.Is(err, want) {
			t.Errorf("%d: %v", n, err)
		}
	}
}
