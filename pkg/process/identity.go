package process

import (
	"encoding/json"
	"sync/atomic"
	"time"
)

// Identity is the process behind a flow, as far as it is known for certain.
// What is unknown is empty and absent from the record. It is shared between
// flows and must not be changed once Resolve has returned it, nor copied.
type Identity struct {
	PID       uint32    `json:"pid"`
	Start     time.Time `json:"start"`                // start of the thread group leader, at clock tick grain
	Exe       string    `json:"exe,omitempty"`        // absolute path in our mount namespace, or "memfd:NAME"
	ExeInside string    `json:"exe_inside,omitempty"` // path in the mount namespace of the process, where Exe cannot be told
	ExeSHA256 string    `json:"exe_sha256,omitempty"` // lower-case hex
	Argv      []string  `json:"argv,omitempty"`       // at most MaxArgs and MaxArgBytes; the process can change it
	UID       uint32    `json:"uid"`                  // effective uid in the initial user namespace
	User      string    `json:"user,omitempty"`
	Cgroup    string    `json:"cgroup,omitempty"`    // path below the cgroup2 mount, "/" for the root
	Unit      string    `json:"unit,omitempty"`      // unit of the system manager, never one that a user named
	UserUnit  string    `json:"user_unit,omitempty"` // unit of that user's own manager; the user chose its name
	Container string    `json:"container,omitempty"` // 64 hex digits
	Pod       string    `json:"pod,omitempty"`       // Kubernetes uid of the pod
	Parents   []Parent  `json:"parents,omitempty"`   // nearest first, at most MaxParents

	// Gone says that the process had left, or its pid was reused, before it
	// could be read: only what the kernel gave or an exec event told is set.
	Gone bool `json:"-"`

	encoded atomic.Pointer[[]byte]
}

// Parent is one ancestor. Exe is empty if it could not be told for certain.
type Parent struct {
	PID uint32 `json:"pid"`
	Exe string `json:"exe,omitempty"`
}

// NoUID is (uid_t)-1, which no process has: it stands for a user that is not known.
const NoUID = 1<<32 - 1

// plain is Identity without methods, so that encoding does not recurse.
type plain Identity

// JSON is the identity as the record shows it, encoded once. The caller must
// not change the bytes.
func (id *Identity) JSON() []byte {
	if p := id.encoded.Load(); p != nil {
		return *p
	}
	b, err := json.Marshal((*plain)(id))
	if err != nil { // a year beyond 9999 in Start: nothing else in it can fail
		b = []byte(`{}`)
	}
	id.encoded.Store(&b)
	return b
}

// MarshalJSON returns the bytes of JSON.
func (id *Identity) MarshalJSON() ([]byte, error) { return id.JSON(), nil }
