package inject

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

// rewrite sends the content through what its signature asks for: signatures of
// chunks are made anew, and a hash that was declared is compared.
func (s *awsSigning) rewrite(m Message, signed *sigv4.Signature) {
	length := number(m, "content-length")
	switch {
	case s.payload == sigv4.StreamingPayload, s.payload == sigv4.StreamingPayloadTrailer:
		decoded := number(m, "x-amz-decoded-content-length")
		m.Rewrite(Rewriting{Length: length, Begin: func(w io.Writer) io.WriteCloser {
			return resign(w, signed.Chain(), sigv4.ResignOptions{Payload: s.payload, Length: decoded})
		}})
	case s.declaresHash() && !s.compared && hasContent(m, length):
		m.Rewrite(Rewriting{Length: length, Begin: func(w io.Writer) io.WriteCloser {
			return &hashed{to: w, sum: sha256.New(), want: s.payload}
		}})
	}
}

// gathered compares the hash that the workload declared with what it sent, and has
// an edited content signed as it leaves: what was declared of it no longer holds.
// Chunks say their own lengths, and a presigned target is what it is.
func (s *awsSigning) gathered(sent []byte, edited bool) error {
	hash := s.declaresHash()
	switch {
	case hash && sigv4.Sum(sent) != s.payload:
		return errDeclared
	case edited && (hash && s.in.Presigned || strings.HasPrefix(s.payload, "STREAMING-")):
		return unsuitable("a credential can't be written into content that is signed so")
	case edited && hash:
		s.payload = ""
	}
	s.compared = hash
	return nil
}

func (s *awsSigning) declaresHash() bool { return len(s.payload) == len(sigv4.EmptyPayload) }

var errDeclared = fmt.Errorf("the body is not the one of x-amz-content-sha256: %w", flow.ReasonBadRequest)

// number is the value of a field that is a number, -1 if it is none.
func number(m Message, name string) int64 {
	value, count := m.Field(name)
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || count != 1 || n < 0 {
		return -1
	}
	return n
}

// hasContent reports whether there is something to compare. A request without a
// length, by HTTP/2, may have content too: the upstream compares that.
func hasContent(m Message, length int64) bool {
	_, coded := m.Field("transfer-encoding")
	return length > 0 || coded > 0
}

func resign(w io.Writer, chain *sigv4.Chain, o sigv4.ResignOptions) io.WriteCloser {
	r, err := sigv4.NewResigner(w, chain, o)
	if err != nil {
		return failing{err}
	}
	return resigned{r}
}

// failing is a rewriting that could not begin.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Close() error              { return f.err }

// resigned says whose fault an error is.
type resigned struct{ to io.WriteCloser }

func (r resigned) Write(p []byte) (int, error) {
	n, err := r.to.Write(p)
	return n, blame(err)
}

func (r resigned) Close() error { return blame(r.to.Close()) }

func blame(err error) error {
	switch {
	case errors.Is(err, sigv4.ErrChunkTooLong):
		return fmt.Errorf("%w: %w", err, flow.ReasonBodyTooLarge)
	case errors.Is(err, sigv4.ErrChunk), errors.Is(err, sigv4.ErrChunkSignature):
		return fmt.Errorf("%w: %w", err, flow.ReasonBadRequest)
	}
	return err
}

// hashed passes content on and compares its hash at the end, before the last of it
// has left.
type hashed struct {
	to   io.Writer
	sum  hash.Hash
	want string
}

func (h *hashed) Write(p []byte) (int, error) {
	_, _ = h.sum.Write(p)
	return h.to.Write(p)
}

func (h *hashed) Close() error {
	if hex.EncodeToString(h.sum.Sum(nil)) != h.want {
		return errDeclared
	}
	return nil
}
