package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"
	"unsafe"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
)

// canary is what must not come out. The test looks for it in every spelling that
// a printer could give it.
const canary = "s3cr3t-CANARY-0123456789"

// spellings are the canary as text, quoted, as hex, as decimal bytes and so on.
func spellings() []string {
	b := []byte(canary)
	part := b[:6]
	return []string{
		canary, string(part), fmt.Sprintf("%x", part), fmt.Sprintf("%X", part), fmt.Sprintf("% x", part), fmt.Sprintf("% X", part),
		strings.Trim(fmt.Sprint(part), "[]"), strings.Trim(fmt.Sprintf("%o", part), "[]"), strings.Trim(fmt.Sprintf("%b", part), "[]"),
		strings.Trim(fmt.Sprintf("%#v", part), "[]byte{}"), "czNjcjN0",
	}
}

func clean(t *testing.T, where, out string) {
	t.Helper()
	for _, s := range spellings() {
		if strings.Contains(out, s) {
			t.Errorf("%s shows the secret: %s", where, out)
		}
	}
}

// Holders: the places a Value may lie in. In an unexported field no method of
// Value is called.
type (
	open   struct{ Key Value }
	closed struct{ key Value }
	deep   struct {
		List  []closed
		Map   map[string]open
		Point *closed
		any   any
		array [1]Value
	}
)

func holders() map[string]any {
	v := New([]byte(canary))
	return map[string]any{
		"value": v, "pointer": &v, "open": open{v}, "closed": closed{v}, "pointer to closed": &closed{v},
		"slice": []Value{v}, "map": map[string]Value{"k": v}, "array": [2]Value{v, v},
		"deep": deep{[]closed{{v}}, map[string]open{"k": {v}}, &closed{v}, closed{v}, [1]Value{v}},
		"any":  []any{v, &v, closed{v}},
	}
}

func TestEveryVerbRedacts(t *testing.T) {
	const verbs = "vTtbcdoOqxXUeEfFgGspwZ!"
	for name, h := range holders() {
		for _, verb := range verbs {
			for _, flags := range []string{"", "#", "+", "-", " ", "0", "+#", "# ", "10", ".3", "#20.5"} {
				format := "%" + flags + string(verb)
				clean(t, name+" "+format, fmt.Sprintf(format, h))
			}
		}
		clean(t, name+" Print", fmt.Sprint(h))
		clean(t, name+" Errorf", fmt.Errorf("load: %v %+v %#v", h, h, h).Error())
	}
	v := New([]byte(canary))
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(format, v); got != redacted {
			t.Errorf("%s prints %q", format, got)
		}
	}
	if v.String() != redacted || v.GoString() != redacted {
		t.Error("String or GoString")
	}
}

func TestMarshallersRedact(t *testing.T) {
	for name, h := range holders() {
		j, err := json.Marshal(h)
		if err != nil {
			t.Errorf("%s: JSON: %v", name, err)
		}
		clean(t, name+" JSON", string(j))
		y, err := yaml.Marshal(h)
		if err != nil {
			t.Errorf("%s: YAML: %v", name, err)
		}
		clean(t, name+" YAML", string(y))
		x, _ := xml.Marshal(h) // maps have no XML; what there is must be clean
		clean(t, name+" XML", string(x))
		var g bytes.Buffer
		_ = gob.NewEncoder(&g).Encode(h) // refuses types without exported fields
		clean(t, name+" gob", g.String())
	}
	v := New([]byte(canary))
	j, _ := json.Marshal(open{v})
	y, _ := yaml.Marshal(open{v})
	text, _ := v.MarshalText()
	if string(j) != `{"Key":"[redacted]"}` || !strings.Contains(string(y), redacted) || string(text) != redacted {
		t.Errorf("JSON %s, YAML %s, text %s", j, y, text)
	}
}

func TestMapKeysAndTemplatesRedact(t *testing.T) {
	var b strings.Builder
	v := New([]byte(canary))
	if err := template.Must(template.New("").Parse(`{{.}} {{.Key}} {{printf "%x %#v" .Key .}}`)).Execute(&b, open{v}); err != nil {
		t.Fatal(err)
	}
	clean(t, "template", b.String())
	if !strings.Contains(b.String(), redacted) {
		t.Errorf("template prints %q", b.String())
	}
}

func TestSlogRedacts(t *testing.T) {
	var b bytes.Buffer
	for name, handler := range map[string]slog.Handler{
		"text": slog.NewTextHandler(&b, nil), "json": slog.NewJSONHandler(&b, nil),
	} {
		log := slog.New(handler)
		for holder, h := range holders() {
			b.Reset()
			log.Info("x", "secret", h, slog.Group("g", "secret", h))
			log.With("secret", h).Info("y")
			clean(t, name+" "+holder, b.String())
		}
		b.Reset()
		log.Info("x", "secret", New([]byte(canary)))
		if !strings.Contains(b.String(), redacted) {
			t.Errorf("%s logs %s", name, b.String())
		}
	}
}

// TestReflectionFindsNothing walks like the printers that read unexported fields
// through unsafe pointers: no path of fields, elements and pointers leads to the
// bytes.
func TestReflectionFindsNothing(t *testing.T) {
	for name, h := range holders() {
		p := reflect.New(reflect.TypeOf(h))
		p.Elem().Set(reflect.ValueOf(h))
		var b strings.Builder
		dump(&b, p.Elem(), 0)
		clean(t, name, b.String())
		if b.Len() == 0 {
			t.Errorf("%s: the walk saw nothing", name)
		}
	}
	// The walk does find what a plain field holds.
	var b strings.Builder
	plain := struct{ b *[]byte }{ptr([]byte(canary))}
	dump(&b, reflect.ValueOf(&plain).Elem(), 0)
	if !strings.Contains(b.String(), canary) {
		t.Errorf("the walk is blind: %q", b.String())
	}
}

func ptr[T any](v T) *T { return &v }

// dump writes every byte slice and string that reflection reaches.
func dump(b *strings.Builder, v reflect.Value, depth int) {
	const deepest = 12
	if depth > deepest || !v.IsValid() {
		return
	}
	fmt.Fprintf(b, "%s ", v.Type())
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		dump(b, v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if f.CanAddr() {
				f = reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
			}
			dump(b, f, depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			dump(b, it.Key(), depth+1)
			dump(b, it.Value(), depth+1)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
			b.Write(v.Bytes())
			return
		}
		for i := range v.Len() {
			dump(b, v.Index(i), depth+1)
		}
	case reflect.String:
		b.WriteString(v.String())
	}
}

func TestPanicRedacts(t *testing.T) {
	defer func() { clean(t, "panic", fmt.Sprint(recover())) }()
	panic(fmt.Errorf("%w: %v", errors.New("boom"), closed{New([]byte(canary))}))
}

func TestValueIsItsBytes(t *testing.T) {
	b := []byte(canary)
	v := New(b)
	b[0] = 'X'
	if string(v.Reveal()) != canary || v.Len() != len(canary) || v.IsZero() {
		t.Error("the value changed with the slice it was made from")
	}
	if !v.Equal(New([]byte(canary))) || v.Equal(New([]byte("other"))) || v.Equal(Value{}) {
		t.Error("Equal")
	}
	for _, zero := range []Value{{}, New(nil), New([]byte{})} {
		if !zero.IsZero() || zero.Len() != 0 || zero.Reveal() != nil || !zero.Equal(Value{}) || zero.FieldSafe() != nil {
			t.Error("zero value")
		}
		if zero.String() != redacted {
			t.Error("a zero value must not tell that it is one")
		}
	}
}

func TestFieldSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "secret")
		bad := false
		for _, c := range b {
			bad = bad || strings.IndexByte("\x00\x01\x02\x03\x04\x05\x06\a\b\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f", c) >= 0
		}
		if err := New(b).FieldSafe(); errors.Is(err, ErrControlByte) != bad {
			t.Fatalf("%q: %v", b, err)
		}
	})
}

func TestParseRef(t *testing.T) {
	for in, want := range map[string]string{"secret:a": "a", "secret:a:b": "a:b", "secret:": "", "Secret:a": "", "a": "", "": ""} {
		if name, ok := ParseRef(in); ok != (want != "") || ok && name != want {
			t.Errorf("%q: %q %v", in, name, ok)
		}
	}
}
