package inject

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
)

// scripted is a signer that writes what it saw.
type scripted struct {
	name   string
	fields []string
	refuse error
	whole  bool
	saw    []string // by Begin
}

func (s *scripted) Check() error     { return nil }
func (s *scripted) Use() Use         { return Use{s.name, "1", "signature"} }
func (s *scripted) Fields() []string { return s.fields }
func (s *scripted) Gathers() bool    { return s.whole }

func (s *scripted) Begin(m Message) (Signing, error) {
	s.saw = nil
	for name, value := range m.Fields {
		s.saw = append(s.saw, name+": "+value)
	}
	return s, s.refuse
}

func (s *scripted) Sign(m Message, content []byte, now time.Time) (Signature, error) {
	var covered []string
	for name := range m.Fields {
		covered = append(covered, name)
	}
	m.Add(s.fields[0], fmt.Appendf(nil, "%s over %q of %q", s.name, content, covered))
	return Signature{Scheme: s.name, Timestamp: now.Unix()}, nil
}

// TestSignersSignInOrder: each sees the workload's own fields before they are
// stripped, and signs what those before it wrote.
func TestSignersSignInOrder(t *testing.T) {
	first, second := &scripted{name: "a", fields: []string{"x-a"}}, &scripted{name: "b", fields: []string{"x-b"}, whole: true}
	p, err := NewPlan([]Credential{header("X-Key", "k")}, first, nil, second)
	if err != nil {
		t.Fatal(err)
	}
	if gathers(t, p) != GatherToSign {
		t.Error("one of two wants the content, and nothing is gathered")
	}
	h := request("/x", "x-a: mine", "X-Key: mine")
	done := apply(t, p, h)
	want := []string{"X-Key k", `x-a a over "body" of ["X-Key"]`, `x-b b over "body" of ["X-Key" "x-a"]`}
	var got []string
	for _, f := range h.fields {
		got = append(got, f[0]+" "+f[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if !slices.Equal(second.saw, []string{"x-a: mine", "X-Key: mine"}) {
		t.Errorf("begun over %q", second.saw)
	}
	if done.Signature == nil || done.Signature.Scheme != "b" || len(done.Credentials) != 3 {
		t.Errorf("applied %+v", done)
	}
}

func TestSignerRefuses(t *testing.T) {
	why := fmt.Errorf("no such scheme: %w", flow.ReasonBadRequest)
	p, err := NewPlan(nil, &scripted{name: "a", fields: []string{"x-a"}, refuse: why})
	if err != nil {
		t.Fatal(err)
	}
	h := request("/x", "x-a: mine")
	if _, _, err := p.Apply(permit(p, h), h, Content{}, now); !errors.Is(err, why) || h.String() != "POST /x\nx-a: mine" {
		t.Errorf("%v\n%s", err, h)
	}
	if _, err := p.Gathers(h); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	var many []Signer
	for i := range mostSigners + 1 {
		many = append(many, &scripted{name: fmt.Sprint(i), fields: []string{fmt.Sprint("x-", i)}})
	}
	if _, err := NewPlan(nil, many...); err == nil {
		t.Error("more signers than there is room for")
	}
}
