package inject

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/flow"
)

// TestMultipartOfTwoReadings: what other readers take apart in another way is
// refused. They would find the credential in a field that the workload chose, which
// the API may show to anybody, or the workload's own value beside it.
func TestMultipartOfTwoReadings(t *testing.T) {
	const a = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n"
	const evil = "Content-Disposition: form-data; name=token\r\n\r\nevil\r\n"
	p := plan(t, Credential{Form: FormField, Field: "token", Value: value("s3")})
	for name, in := range map[string]string{
		"a delimiter that ends with LF":         "--b\nContent-Disposition: form-data; name=comment\n\n\r\n" + a + "--b--",
		"a delimiter behind LF":                 "x\n" + a + "--b--",
		"a delimiter behind CR":                 "x\r" + a + "--b--",
		"one in the preamble behind a space":    " --b\r\n" + evil + a + "--b--",
		"one behind the end and a space":        a + "--b--\r\n --b\r\n" + evil,
		"one within a part":                     a + "--b\r\nContent-Disposition: form-data; name=c\r\n\r\nx\n--b\r\n" + evil + "--b--",
		"one at the end":                        a + "--b--\r\n--b",
		"an end that goes on":                   a + "--b--x\r\n--b\r\n" + evil + "--b--",
		"an end that goes on behind a space":    a + "--b-- x\r\n--b\r\n" + evil + "--b--",
		"an end behind a space":                 a + "--b --\r\n--b\r\n" + evil + "--b--",
		"a part without a line end of its own":  "--b\r\nContent-Disposition: form-data; name=token\r\n\r\n" + a + "--b--", // PHP reads on
		"the last one without":                  a + "--b\r\nContent-Disposition: form-data; name=c\r\n\r\n--b--",
		"a line that begins with the boundary":  a + "--b\r\nContent-Disposition: form-data; name=c\r\n\r\n--bx\r\n--b--", // ends the part in PHP
		"the boundary and NUL":                  a + "--b\r\nContent-Disposition: form-data; name=c\r\n\r\nx\r\n--b\x00--b\r\n" + evil + "--b--",
		"a padded delimiter":                    a + "--b \r\nContent-Disposition: form-data; name=c\r\n\r\nx\r\n--b--",
		"parts behind the end":                  a + "--b--\r\n--b\r\n" + evil + "--b--",
		"parts behind the end, by LF":           a + "--b--\r\nx\n--b\n" + evil + "--b--",
		"a folded field":                        a + "--b\r\nContent-Disposition: form-data;\r\n name=token\r\n\r\nevil\r\n--b--",
		"a field that is folded into the first": a + "--b\r\n Content-Disposition: form-data; name=x\r\n\r\nevil\r\n--b--",
		"LF in a head":                          a + "--b\r\nX: y\nContent-Disposition: form-data; name=token\r\nContent-Disposition: form-data; name=x\r\n\r\nevil\r\n--b--",
		"CR in a head":                          a + "--b\r\nX: y\rContent-Disposition: form-data; name=token\r\nContent-Disposition: form-data; name=x\r\n\r\nevil\r\n--b--",
		"a head that ends by LF":                a + "--b\r\nContent-Disposition: form-data; name=x\r\nX: y\n\n" + evil + "--b--",
		"a line that is no field":               a + "--b\r\nContent-Disposition: form-data; name=x\r\nhello\r\n\r\nevil\r\n--b--",
		"a name in two ways":                    a + "--b\r\nContent-Disposition: form-data; name=token; name*=utf-8''x\r\n\r\nevil\r\n--b--",
		"a quote that may be escaped":           a + "--b\r\nContent-Disposition: form-data; x=\"\\\"; name=token; y=\"; name=x\r\n\r\nevil\r\n--b--",
	} {
		if h, err := edited(t, p, "multipart/form-data; boundary=b", in); !errors.Is(err, flow.ReasonBodyUnsuitable) || h.content != nil {
			t.Errorf("%s: %q, %v", name, h.content, err)
		}
	}
	for _, contentType := range []string{
		`multipart/form-data; boundary=c; boundary*=utf-8''b`, `multipart/form-data; boundary*0=b`, `multipart/form-data; x="boundary=c"; boundary=b`,
		`multipart/form-data; boundary="b\""`, `multipart/form-data; boundary="b "`, `multipart/form-data; boundary="b;c"`, `multipart/form-data`,
	} {
		if h, err := edited(t, p, contentType, a+"--b--"); !errors.Is(err, flow.ReasonBodyUnsuitable) || h.content != nil {
			t.Errorf("%s: %q, %v", contentType, h.content, err)
		}
	}
}

// TestMultipartAsSent: what senders do send is not refused.
func TestMultipartAsSent(t *testing.T) {
	p := plan(t, Credential{Form: FormField, Field: "token", Value: value("s3")})
	for _, boundary := range []string{"----WebKitFormBoundary7MA4YWxkTrZu0gW", "=_a'()+_,-./:=?b", "a b", "b--", "-"} {
		text := func(name, v string) string {
			return "--" + boundary + "\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + v + "\r\n"
		}
		in := "preamble\r\n" + text("a", "1\n2\r3\r\n --"+boundary+"x\n--x") + text("token", "evil") + text("b", "") + "--" + boundary + "--\r\nepilogue\r\n"
		h, err := edited(t, p, `multipart/form-data; boundary="`+boundary+`"; charset=utf-8`, in)
		if err != nil {
			t.Errorf("%s: %v", boundary, err)
			continue
		}
		want := []string{"a||1\n2\r3\r\n --" + boundary + "x\n--x", "token||s3", "b||"}
		if got := parts(t, h.content, boundary); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", boundary, got, want)
		}
	}
}

// TestMultipartAsAnotherReads: whatever is accepted, Go's own reader finds the credential
// in its field, once, and nothing of it in another.
func TestMultipartAsAnotherReads(t *testing.T) {
	pieces := []string{
		"--b", "--b\r\n", "--b\n", "--b--", "--b--\r\n", "\r\n--b\r\n", "\r\n", "\n", "\r", " ", "\t", "-", "--", "b", "x", ":", ";", `"`, `\`,
		"Content-Disposition: form-data; name=token", "Content-Disposition: form-data; name=a", "Content-Disposition: form-data; name=\"a\"; filename=f",
		"\r\n\r\n", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n", "--b\r\nContent-Disposition: form-data; name=token\r\n\r\n1\r\n",
	}
	p := plan(t, Credential{Form: FormField, Field: "token", Value: value("s3cret")})
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		in := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(rt, "pieces"), "") + rapid.SampledFrom([]string{"", "\r\n--b--", "--b--\r\n"}).Draw(rt, "end")
		h, err := edited(t, p, "multipart/form-data; boundary=b", in)
		if err != nil {
			return
		}
		accepted++
		r := multipart.NewReader(bytes.NewReader(h.content), "b")
		found := 0
		for part, err := r.NextPart(); err == nil; part, err = r.NextPart() {
			content, _ := io.ReadAll(part)
			switch {
			case part.FormName() == "token" && string(content) == "s3cret":
				found++
			case part.FormName() == "token", bytes.Contains(content, []byte("s3cret")), strings.Contains(fmt.Sprint(part.Header), "s3cret"):
				rt.Fatalf("%q\nis read as %v %q", h.content, part.Header, content)
			}
		}
		if found != 1 {
			rt.Fatalf("%q has it %d times", h.content, found)
		}
	})
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
}
