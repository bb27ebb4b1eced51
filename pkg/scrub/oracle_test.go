package scrub

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/outwarden/outwarden/pkg/secret"
)

// oracle replaces secrets in a whole text, by a regular expression. It is written
// from the list of encodings and shares nothing with forms.
type oracle struct {
	pattern *regexp.Regexp
	groups  []string // by subexpression: the mark
}

// newOracle knows secrets of ASCII characters.
func newOracle(secrets map[string]string) *oracle {
	o := &oracle{}
	var all []string
	for name, s := range secrets {
		for _, p := range append(wrapped(s), "(?i:"+hex.EncodeToString([]byte(s))+")", anyMix(s)) {
			all = append(all, "("+p+")")
			o.groups = append(o.groups, "[redacted:"+name+"]")
		}
	}
	o.pattern = regexp.MustCompile(strings.Join(all, "|"))
	o.pattern.Longest()
	return o
}

func (o *oracle) replace(text string) string {
	var b strings.Builder
	at := 0
	for _, m := range o.pattern.FindAllStringSubmatchIndex(text, -1) {
		b.WriteString(text[at:m[0]])
		for g := range o.groups {
			if m[2+2*g] >= 0 {
				b.WriteString(o.groups[g])
				break
			}
		}
		at = m[1]
	}
	return b.String() + text[at:]
}

// anyMix is a secret with every character written in any way.
func anyMix(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteString(oneOf(spellings(c)))
	}
	return b.String()
}

func oneOf(list []string) string { return "(?:" + strings.Join(list, "|") + ")" }

func spellings(c byte) []string {
	quoted := regexp.QuoteMeta(string(rune(c)))
	list := []string{quoted}
	for _, number := range []string{`%%%02x`, `\\u%04x`, `&#%d;`, `&#%03d;`, `&#x%x;`, `&#x%02x;`} {
		list = append(list, "(?i:"+fmt.Sprintf(number, c)+")")
	}
	if entity := html.EscapeString(string(rune(c))); len(entity) > 1 && entity[1] != '#' {
		list = append(list, entity)
	}
	switch c {
	case ' ':
		list = append(list, `\+`)
	case '\t':
		list = append(list, `\\t`)
	case '"':
		list = append(list, `\\"`, "&quot;")
	case '\'':
		list = append(list, `\\'`, "&apos;")
	case '\\', '/':
		list = append(list, `\\`+quoted)
	}
	return list
}

// wrapped is the secret within any other text, in base64.
func wrapped(s string) (patterns []string) {
	for before := range 3 {
		var chars []map[byte]bool
		note := func(head, tail []byte) {
			text := base64.StdEncoding.EncodeToString(slices.Concat(head, []byte(s), tail))
			for i := range strings.TrimRight(text, "=") {
				if i == len(chars) {
					chars = append(chars, map[byte]bool{})
				}
				chars[i][text[i]] = true
			}
		}
		for x := range 256 {
			b := byte(x)
			note([]byte{b, b}[:before], []byte{b})
			note([]byte{b, b}[:before], nil)
		}
		end, last := (8*(before+len(s))+5)/6, ""
		for left := (before + len(s)) % 3; left > 0 && left < 3; left++ {
			last = oneOf(spellings('=')) + "{0," + fmt.Sprint(3-(before+len(s))%3) + "}"
		}
		var p strings.Builder
		begin := 0
		for len(chars[begin]) > 1 {
			begin++ // it is another's, at least in part
		}
		for _, class := range chars[begin:end] {
			p.WriteString(oneOf(classOf(class)))
		}
		patterns = append(patterns, p.String()+last)
	}
	return patterns
}

func classOf(class map[byte]bool) (list []string) {
	for c := range class {
		switch c {
		case '+':
			list = append(append(list, spellings('+')...), spellings('-')...)
		case '/':
			list = append(append(list, spellings('/')...), spellings('_')...)
		default:
			list = append(list, string(rune(c)))
		}
	}
	return list
}

// encodings are those of the standard library and of common servers, and what each
// makes of a secret.
var encodings = map[string]func(string) string{
	"raw":          func(s string) string { return s },
	"query":        url.QueryEscape,
	"path":         url.PathEscape,
	"percent":      func(s string) string { return each(s, "%%%02X") },
	"percent-low":  func(s string) string { return each(s, "%%%02x") },
	"json":         func(s string) string { return each(s, `\u%04x`) },
	"json-up":      func(s string) string { return each(s, `\u%04X`) },
	"json-slash":   func(s string) string { return strings.NewReplacer(`\`, `\\`, `/`, `\/`, `"`, `\"`).Replace(s) },
	"html":         html.EscapeString,
	"html-decimal": func(s string) string { return each(s, "&#%d;") },
	"html-hex":     func(s string) string { return each(s, "&#x%X;") },
	"html-php":     func(s string) string { return each(s, "&#%03d;") },
	"hex":          func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":          func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"base64":       func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64-raw":   func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
	"base64url":    func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
	"base64-1":     func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("x" + s)) },
	"base64-2":     func(s string) string { return base64.StdEncoding.EncodeToString([]byte("u:" + s + "\n")) },
	"base64-in-url": func(s string) string {
		return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("user:" + s)))
	},
}

func each(s, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// secretGen draws secrets; some repeat themselves, and some are made of what
// begins escapes.
func secretGen() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[A-Za-z0-9_/+.~-]{8,24}`),
		rapid.StringMatching(`[ab]{8,10}`),
		rapid.StringMatching(`[%\\&#;u0-25]{8,10}`),
		rapid.StringMatching(`[ -~]{8,12}`),
	)
}

// textGen draws text in which secrets stand, whole and in pieces, one within the
// other.
func textGen(secrets []string) *rapid.Generator[string] {
	piece := rapid.Custom(func(t *rapid.T) string {
		s := rapid.SampledFrom(secrets).Draw(t, "secret")
		coded := encodings[rapid.SampledFrom(names).Draw(t, "encoding")](s)
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			return coded[:rapid.IntRange(0, len(coded)).Draw(t, "cut")]
		case 1:
			return mixed(t, s)
		}
		return coded
	})
	noise := rapid.StringMatching(`[ -~\n]{0,9}`)
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.OneOf(piece, piece, noise), 0, 12).Draw(t, "pieces"), "")
	})
}

var names = func() (list []string) {
	for name := range encodings {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}()

// mixed writes each character of a secret in another way.
func mixed(t *rapid.T, s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteString(rapid.SampledFrom([]string{
			string(rune(c)), fmt.Sprintf("%%%02x", c), fmt.Sprintf("%%%02X", c), fmt.Sprintf(`\u%04x`, c), fmt.Sprintf("&#%d;", c),
		}).Draw(t, "spelling"))
	}
	return b.String()
}

func filterOf(secrets map[string]string) *Filter {
	var list []Secret
	for name, s := range secrets {
		list = append(list, Secret{Name: name, Value: secret.New([]byte(s))})
	}
	f, _ := New(list)
	return f
}
