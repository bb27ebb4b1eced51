package inject

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/outwarden/outwarden/pkg/flow"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/sigv4"
)

// AWSKey is one AWS credential, and what it may sign.
type AWSKey struct {
	Name, Version string
	Credentials   sigv4.Credentials
	// Placeholder is the access key id that workloads sign with to ask for this
	// credential; "": any.
	Placeholder string
	// Regions and Services are those that it may sign for, at least one each. A
	// request that the workload did not sign is for the first.
	Regions, Services []string
}

// SigV4 puts an AWS signature on requests, in the place of the one that the
// workload's SDK made with a placeholder key. That one says which credential is
// meant, for what region and service, whether the signature stands in the header or
// in the query, and how the body is covered.
type SigV4 struct {
	Keys  []AWSKey      // several are told apart by their placeholders
	Clock *replay.Clock // no two signatures of a key have one time
}

var _ Signer = (*SigV4)(nil)

// Check wants keys that can sign.
func (s *SigV4) Check() error {
	if len(s.Keys) == 0 {
		return ErrEmpty
	}
	for i := range s.Keys {
		k := &s.Keys[i]
		switch {
		case k.Credentials.AccessKeyID == "", k.Credentials.SecretKey.IsZero():
			return ErrEmpty
		case len(k.Regions) == 0, len(k.Services) == 0:
			return fmt.Errorf("no region or no service: %w", ErrValue)
		case k.Placeholder == k.Credentials.AccessKeyID:
			return fmt.Errorf("the placeholder is the real access key id: %w", ErrValue)
		case k.Placeholder == "" && len(s.Keys) > 1:
			return fmt.Errorf("several AWS keys and one without a placeholder: %w", ErrSlotTaken)
		}
		if err := k.Credentials.SessionToken.FieldSafe(); err != nil {
			return err
		}
	}
	return nil
}

// Use names all keys.
func (s *SigV4) Use() Use {
	names, versions := make([]string, len(s.Keys)), make([]string, len(s.Keys))
	for i := range s.Keys {
		names[i], versions[i] = s.Keys[i].Name, s.Keys[i].Version
	}
	return Use{strings.Join(names, ","), strings.Join(versions, ","), Signed.String()}
}

// Fields are those of a signature in the header.
func (s *SigV4) Fields() []string {
	return []string{"Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token"}
}

// Begin reads the signature that the workload made, if it made one.
func (s *SigV4) Begin(m Message) (Signing, error) {
	r := awsRequest(m)
	in, err := sigv4.Parse(&r)
	signed := true
	switch {
	case errors.Is(err, sigv4.ErrUnsigned), errors.Is(err, sigv4.ErrAlgorithm):
		signed = false // or by other means, whose field is ours now
	case errors.Is(err, sigv4.ErrSigV4A):
		return nil, fmt.Errorf("%w: %w", err, flow.ReasonSignatureKind)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", err, flow.ReasonBadRequest)
	}
	b := &awsSigning{clock: s.Clock, in: in}
	if b.key, err = s.choose(&in, signed); err != nil {
		return nil, err
	}
	b.region, b.service = b.key.Regions[0], b.key.Services[0]
	if signed {
		b.region, b.service = in.Scope.Region, in.Scope.Service
	}
	return b, b.readPayload(m)
}

// choose finds the key that a request asks for, and holds the request against what
// the key may do.
func (s *SigV4) choose(in *sigv4.Authorization, signed bool) (*AWSKey, error) {
	i := slices.IndexFunc(s.Keys, func(k AWSKey) bool {
		return !signed && len(s.Keys) == 1 || signed && (k.Placeholder == "" || k.Placeholder == in.AccessKeyID)
	})
	real := signed && slices.ContainsFunc(s.Keys, func(k AWSKey) bool { return k.Credentials.AccessKeyID == in.AccessKeyID })
	switch {
	case real:
		return nil, fmt.Errorf("the workload signs with the real access key id, which it must not hold: %w", flow.ReasonSignatureScope)
	case i < 0:
		return nil, fmt.Errorf("the request's access key id is no placeholder of the route: %w", flow.ReasonSignatureScope)
	}
	key := &s.Keys[i]
	if signed && (!slices.Contains(key.Regions, in.Scope.Region) || !slices.Contains(key.Services, in.Scope.Service)) {
		return nil, fmt.Errorf("the route signs nothing for %q in %q: %w", in.Scope.Service, in.Scope.Region, flow.ReasonSignatureScope)
	}
	return key, nil
}

// awsRequest is m as a signature sees it.
func awsRequest(m Message) sigv4.Request {
	r := sigv4.Request{Method: m.Method(), Target: m.Target(), Fields: make([]sigv4.Field, 1, 16)}
	r.Fields[0] = sigv4.Field{Name: "Host", Value: m.Authority()}
	for name, value := range m.Fields {
		if !equalFold(name, "host") {
			r.Fields = append(r.Fields, sigv4.Field{Name: name, Value: value})
		}
	}
	return r
}

// awsSigning is the signature of one request.
type awsSigning struct {
	clock           *replay.Clock
	key             *AWSKey
	in              sigv4.Authorization // the workload's; zero: none
	region, service string
	declared        string // what the request says of its content
	headed          bool   // in its head
	payload         string // what is signed of it; "": its hash, which is not known yet
	compared        bool   // the hash that was declared is the content's
}

// readPayload says how the content is covered. A request for S3 that does not say
// itself leaves it out, as TLS protects it; other services have no such thing.
func (s *awsSigning) readPayload(m Message) error {
	declared, count := m.Field("x-amz-content-sha256")
	if s.in.Payload != "" {
		declared = s.in.Payload
	}
	s.declared, s.payload, s.headed = declared, declared, count > 0
	if declared == "" && sigv4.S3Family(s.service) {
		s.payload = sigv4.UnsignedPayload
	}
	err := error(nil)
	if declared != "" {
		err = sigv4.CheckPayload(declared)
	}
	switch {
	case count > 1:
		return fmt.Errorf("two x-amz-content-sha256 fields: %w", flow.ReasonBadRequest)
	case errors.Is(err, sigv4.ErrSigV4A):
		return fmt.Errorf("%w: %w", err, flow.ReasonSignatureKind)
	case err != nil:
		return fmt.Errorf("x-amz-content-sha256 is no hash and no kind of payload: %w", flow.ReasonBadRequest)
	}
	return nil
}

// Gathers: a hash that the request does not bring has to be computed first.
func (s *awsSigning) Gathers() bool { return s.payload == "" }

// Sign signs in the header or in the query, wherever the workload did.
func (s *awsSigning) Sign(m Message, content []byte, now time.Time) (Signature, error) {
	if err := checkTarget(m.Target()); err != nil {
		return Signature{}, err
	}
	payload := s.payload
	if payload == "" {
		payload = sigv4.Sum(content)
	}
	at := s.clock.Rise(s.key.Credentials.AccessKeyID, now)
	signed, err := s.sign(m, payload, at)
	if err != nil {
		return Signature{}, fmt.Errorf("%w: %w", err, flow.ReasonBadRequest)
	}
	if signed.Target != m.Target() {
		m.SetTarget([]byte(signed.Target))
	}
	for _, f := range signed.Set {
		m.Add(f.Name, []byte(f.Value))
	}
	s.rewrite(m, &signed)
	return Signature{Scheme: "sigv4", KeyID: s.key.Credentials.AccessKeyID, Timestamp: at.Unix()}, nil
}

func (s *awsSigning) sign(m Message, payload string, at time.Time) (sigv4.Signature, error) {
	signer := sigv4.Signer{
		Credentials: s.key.Credentials, Region: s.region, Service: s.service, ContentSHA256: s.declared != "",
	}
	if !s.in.Presigned {
		r := awsRequest(m)
		return signer.Sign(&r, payload, at)
	}
	if s.headed {
		m.Add("X-Amz-Content-Sha256", []byte(s.declared))
	}
	r := awsRequest(m)
	return signer.Presign(&r, payload, at, s.in.Expires)
}
