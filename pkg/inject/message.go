package inject

import "io"

// Message is a request that is about to be sent.
type Message interface {
	// Method and Authority are those that Bind was shown.
	Method() string
	Authority() string
	// Target is the path with the query, as it will be sent. It is asked for
	// only where a plan writes to it or signs.
	Target() string
	// SetTarget replaces the target. The message may keep target.
	SetTarget(target []byte)
	// Field is the value of the first field of that name, given in lower case, as
	// it will be sent, and how many there are.
	Field(name string) (value string, count int)
	// Fields yields every field as it will be sent, in order, names as they will
	// be written. What the upstream leg itself decides, Host or :authority, is
	// among them or not; Authority tells.
	Fields(yield func(name, value string) bool)
	// Strip asks s.Drop or s.DropString about every field of the head once, and
	// takes out those that it says.
	Strip(s *Sieve)
	// Add appends a field. The message must copy value, which is only lent, and
	// writes it nowhere but upstream. An HTTP/2 message writes name in lower case.
	Add(name string, value []byte)
	// SetContent replaces the content, which was gathered, and its length with it.
	// The message may keep content.
	SetContent(content []byte)
	// Rewrite sends the content through r while it passes. It is not for content
	// that SetContent replaced: the message is not sealed then.
	Rewrite(r Rewriting)
	// Seal is called last and returns what leaves. Nothing of it may be changed
	// until it has left.
	Seal() (Head, error)
}

// Rewriting changes content piece by piece on its way to the upstream, in constant
// memory.
type Rewriting struct {
	// Length is how long the content will be; -1 if nobody knows: HTTP/1 then
	// sends it in chunks, HTTP/2 without a length. Trailers of the message are
	// dropped where the content is rewritten.
	Length int64
	// Begin is called once for every attempt to send. What is written to the
	// result, in pieces of any size, comes out at w, changed; Close is told that
	// the content is over, and nothing is written to w after it. An error of
	// either ends the request: one that wraps a flow.Reason is the workload's
	// fault and is its answer. An error of w must be handed on.
	Begin func(w io.Writer) io.WriteCloser
}

// Content is what was gathered of a request.
type Content struct {
	Bytes []byte // without the transfer coding; nil where Gathers says GatherNothing
	Limit int64  // how long it may be, decoded and changed
}

// Gathering is why all of the content must be here before the head can leave.
type Gathering uint8

// The reasons to gather, each with a limit of its own.
const (
	GatherNothing Gathering = iota // it passes as it comes
	GatherToSign                   // a signature covers it
	GatherToEdit                   // a credential is written into it
)

// Gathers says whether Apply wants all of the content of m, as the workload sent
// it. The error is one of Apply's.
func (p *Plan) Gathers(m Message) (Gathering, error) {
	if p == nil || len(p.signers) == 0 && !p.edits() {
		return GatherNothing, nil
	}
	if p.edits() {
		return GatherToEdit, nil
	}
	for _, s := range p.signers {
		signing, err := s.Begin(m)
		if err != nil {
			return GatherNothing, err
		}
		if signing.Gathers() {
			return GatherToSign, nil
		}
	}
	return GatherNothing, nil
}
