package config

import (
	"reflect"
	"strings"
)

// decodable is a value that reads itself from a node; all others are structs
// whose json tags name their keys.
type decodable interface {
	decode(d *decoder, n *node)
}

type decoder struct{ *report }

// into fills target, a pointer, and reports what does not fit.
func (d *decoder) into(target any, n *node) {
	if own, ok := target.(decodable); ok {
		own.decode(d, n)
		return
	}
	d.structure(reflect.ValueOf(target).Elem(), n)
}

func (d *decoder) structure(v reflect.Value, n *node) {
	v.FieldByName("At").Set(reflect.ValueOf(n.at))
	keys, fields := keysOf(v.Type())
	if n.kind != nodeMapping {
		d.fail(n.at, "keys are "+strings.Join(keys, ", "), "must be a mapping, key: value")
		return
	}
	for _, e := range n.entries {
		i, ok := fields[e.key.value]
		if !ok {
			d.fail(e.key.at, hintFor(e.key.value, keys), "unknown key %q", e.key.value)
			continue
		}
		d.field(v.Field(i), e)
	}
}

// field refuses a key without a value: "paths:" with nothing behind it would
// match every path.
func (d *decoder) field(f reflect.Value, e entry) {
	if e.value.kind == nodeNull {
		d.fail(e.key.at, "remove the key or give it a value", "key %q has no value", e.key.value)
		return
	}
	if f.Kind() == reflect.Pointer {
		f.Set(reflect.New(f.Type().Elem()))
		f = f.Elem()
	}
	if l, ok := f.Addr().Interface().(*later); ok {
		l.decode(d, e.key)
		return
	}
	d.into(f.Addr().Interface(), e.value)
}

// keysOf returns the keys of a struct, in order, and the field of each.
func keysOf(t reflect.Type) (keys []string, fields map[string]int) {
	fields = map[string]int{}
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("json"); key != "-" {
			keys = append(keys, key)
			fields[key] = i
		}
	}
	return keys, fields
}

func hintFor(key string, keys []string) string {
	if hint := DidYouMean(key, keys); hint != "" {
		return hint
	}
	return "keys here are " + strings.Join(keys, ", ")
}
