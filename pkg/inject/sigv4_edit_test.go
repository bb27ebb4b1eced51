package inject

import (
	"errors"
	"strings"
	"testing"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

// TestSigV4OverAnEditedBody: what the workload declared of its content is compared
// with that and with nothing else; what leaves is signed, or nothing leaves.
func TestSigV4OverAnEditedBody(t *testing.T) {
	const secret = "a secret that is longer than its placeholder"
	key := awsKey(realID, dummyID)
	p, err := NewPlan([]Credential{placeholder("one", bait1, secret, InBody)}, &SigV4{Keys: []AWSKey{key}})
	if err != nil {
		t.Fatal(err)
	}
	asks, plain := "k="+bait1, "k=nothing of ours"
	for _, tt := range []struct {
		name, declared, sent string
		presigned            bool
		reason               flow.Reason // 0: it leaves
	}{
		{"hash", sigv4.Sum([]byte(asks)), asks, false, 0},
		{"hash, nothing to edit", sigv4.Sum([]byte(plain)), plain, false, 0},
		{"hash of another", sigv4.Sum([]byte(plain)), asks, false, flow.ReasonBadRequest},
		{"hash of another, nothing to edit", sigv4.Sum([]byte(asks)), plain, false, flow.ReasonBadRequest},
		{"unsigned", sigv4.UnsignedPayload, asks, false, 0},
		{"unsigned in the target", sigv4.UnsignedPayload, asks, true, 0},
		{"hash in the target", sigv4.Sum([]byte(asks)), asks, true, flow.ReasonBodyUnsuitable},
		{"hash in the target, nothing to edit", sigv4.Sum([]byte(plain)), plain, true, 0},
		{"chunks", sigv4.StreamingPayload, asks, false, flow.ReasonBodyUnsuitable},
		{"unsigned chunks", sigv4.StreamingUnsignedTrailer, asks, false, flow.ReasonBodyUnsuitable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := request("/bucket/key", "Content-Length: "+number10(len(tt.sent)))
			dummy(t, h, "s3", tt.declared, tt.presigned)
			if tt.presigned && tt.declared != sigv4.UnsignedPayload {
				h.fields = append(h.fields, [2]string{"X-Amz-Content-Sha256", tt.declared})
			}
			_, _, err := p.Apply(permit(p, h), h, Content{Bytes: []byte(tt.sent), Limit: 1 << 16}, now)
			if tt.reason != 0 {
				if !errors.Is(err, tt.reason) {
					t.Errorf("%v, want %v", err, tt.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want, edited := strings.ReplaceAll(tt.sent, bait1, secret), strings.Contains(tt.sent, bait1)
			if edited != (h.content != nil) || edited && string(h.content) != want {
				t.Errorf("%q leaves, want %q", h.content, want)
			}
			if h.rewriting != nil {
				t.Error("content that is here is to be rewritten while it passes")
			}
			signed := sigv4.Sum([]byte(want))
			if tt.declared == sigv4.UnsignedPayload {
				signed = tt.declared
			}
			accepted(t, h, key, signed)
		})
	}
}
