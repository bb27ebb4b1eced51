package verify

import (
	"context"
	"errors"
	"net/http"

	"github.com/outwarden/outwarden/pkg/replay"
)

type proofKey struct{}

// FromContext returns what was proven of a request that Handler let through.
func FromContext(ctx context.Context) (Proof, bool) {
	p, ok := ctx.Value(proofKey{}).(Proof)
	return p, ok
}

// Handler lets through to next what v verifies, body and all, and answers anything
// else: 401 for a signature that does not hold, 413 for a body over the limit, 400
// for one that can't be read, 503 while it can't tell whether a request is new.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := FromHTTP(w, r, v.o.MaxBody)
		if err != nil {
			refuse(w, unreadable(err), err)
			return
		}
		proof, err := v.Verify(request)
		if err != nil {
			refuse(w, statusOf(err), err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), proofKey{}, proof)))
	})
}

func unreadable(err error) int {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

func statusOf(err error) int {
	if errors.Is(err, replay.ErrFull) || errors.Is(err, replay.ErrJournal) || errors.Is(err, replay.ErrSetBack) {
		return http.StatusServiceUnavailable
	}
	return http.StatusUnauthorized
}

// refuse says why in one line. No error of this package holds a secret.
func refuse(w http.ResponseWriter, status int, err error) {
	http.Error(w, "signature refused: "+err.Error(), status)
}
