package scrub

import (
	"slices"

	"github.com/outwarden/outwarden/pkg/secret"
)

// MinLength is how many bytes a secret must have to be looked for.
const MinLength = 8

// Secret is a value that must not come back.
type Secret struct {
	Name  string // of the credential; several values may be one's
	Mark  string // what stands in its place; "" = [redacted:NAME]
	Value secret.Value
}

// Filter knows every form of some secrets. It is immutable and may be used by
// several goroutines. What it knows lies in a closure, as in secret.Value: no
// printer gets at it.
type Filter struct{ reveal func() *compiled }

// compiled is what a Filter knows.
type compiled struct {
	names  []string // of credentials
	marks  []string // by credential
	forms  []form
	leads  [256][]int // the forms that may begin with a byte
	window int        // no form is shorter
	inner  grams      // of every form, where they may lie in a window
	first  grams      // with which forms begin
}

// New makes a filter for secrets. short names those that are shorter than
// MinLength, which are not looked for.
func New(secrets []Secret) (f *Filter, short []string) {
	c := &compiled{window: widest}
	for _, s := range secrets {
		if s.Value.Len() < MinLength {
			short = append(short, s.Name)
			continue
		}
		c.forms = append(c.forms, formsOf(c.credential(s), s.Value.Reveal())...)
	}
	c.index()
	return &Filter{func() *compiled { return c }}, short
}

// Empty reports whether there is nothing to look for. A nil Filter is empty.
func (f *Filter) Empty() bool { return f == nil || len(f.reveal().forms) == 0 }

// credential is the number of the secret's credential.
func (c *compiled) credential(s Secret) int {
	if i := slices.Index(c.names, s.Name); i >= 0 {
		return i
	}
	if s.Mark == "" {
		s.Mark = "[redacted:" + s.Name + "]"
	}
	c.names, c.marks = append(c.names, s.Name), append(c.marks, s.Mark)
	return len(c.names) - 1
}

// index fills the tables by which forms are found.
func (c *compiled) index() {
	for i := range c.forms {
		c.window = min(c.window, c.forms[i].shortest())
	}
	for i := range c.forms {
		f := &c.forms[i]
		f.eachGram(c.window-gram, func(at int, g uint32) {
			c.inner.add(g)
			if at == 0 {
				c.first.add(g)
			}
		})
		for _, e := range f.nodes[0] {
			c.lead(e.text[0], i)
			if e.fold && 'a' <= e.text[0] && e.text[0] <= 'z' {
				c.lead(e.text[0]&^0x20, i)
			}
		}
	}
}

func (c *compiled) lead(b byte, form int) {
	if !slices.Contains(c.leads[b], form) {
		c.leads[b] = append(c.leads[b], form)
	}
}

// match finds the longest match at the beginning of text, and whose it is. live
// says that with more text there may be another.
func (c *compiled) match(text []byte) (n, credential int, live bool) {
	for _, i := range c.leads[text[0]] {
		f := &c.forms[i]
		long, more := f.match(text)
		if long > n {
			n, credential = long, f.credential
		}
		live = live || more
	}
	return n, credential, live
}

// Found says how often the secrets of a credential were found.
type Found struct {
	Name  string
	Count int
}

// Tally is what was found in one response.
type Tally []Found

func (t *Tally) add(name string) {
	for i := range *t {
		if (*t)[i].Name == name {
			(*t)[i].Count++
			return
		}
	}
	*t = append(*t, Found{name, 1})
}
