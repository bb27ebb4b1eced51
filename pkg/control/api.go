package control

import (
	"context"
	"time"
)

// Daemon is what the server asks. Errors with a Hint method are shown with it.
type Daemon interface {
	Status(ctx context.Context) (*Status, error)
	// Reload loads the configuration again; on error the old one stays.
	Reload(ctx context.Context) (*Reloaded, error)
	// OpenScope makes a cgroup below Parent and captures it until it is empty.
	OpenScope(ctx context.Context, r ScopeRequest) (*Scope, error)
	// Upgrade starts a successor and returns once that serves; on error we still do.
	Upgrade(ctx context.Context) (*Upgraded, error)
}

// Status is what `outwarden status` shows. Counters count since the start of the
// daemon, the kernel's since the hooks were attached.
type Status struct {
	Version   string            `json:"version"`
	PID       int               `json:"pid"`
	Since     time.Time         `json:"since"`
	Ephemeral bool              `json:"ephemeral,omitempty"` // started by `run`, leaves with the last scope
	Config    ConfigStatus      `json:"config"`
	Capture   CaptureStatus     `json:"capture"`
	Flows     FlowStatus        `json:"flows"`
	Upstream  UpstreamStatus    `json:"upstream"`
	Audit     AuditStatus       `json:"audit"`
	Authority AuthorityStatus   `json:"authority"`
	Kernel    map[string]uint64 `json:"kernel"` // counters by reason
}

// ConfigStatus says which configuration is in force.
type ConfigStatus struct {
	Path      string    `json:"path"`
	Loaded    time.Time `json:"loaded"`
	Routes    int       `json:"routes"`
	Warnings  []string  `json:"warnings,omitempty"`
	LastError string    `json:"last_error,omitempty"` // of a reload that failed after Loaded

	// SecretError says which secret can't be read any more; the value from before
	// stays in use.
	SecretError string `json:"secret_error,omitempty"`
}

// CaptureStatus says what is captured, and where it goes.
type CaptureStatus struct {
	Ready     bool     `json:"ready"`           // all hooks are in force
	Fault     string   `json:"fault,omitempty"` // what is wrong with them, if not
	Backend   string   `json:"backend"`
	Guests    []string `json:"guests,omitempty"` // backend tproxy: where guests are
	Fail      string   `json:"fail"`
	PinDir    string   `json:"pin_dir"`
	Listeners []string `json:"listeners"`
	Others    int      `json:"other_namespaces"` // that have listeners on the same addresses
	Ports     []uint16 `json:"ports"`
	Scopes    []string `json:"scopes"`
	Excluded  []string `json:"excluded,omitempty"`

	Table *TableStatus `json:"table,omitempty"` // backends nft and tproxy
}

// TableStatus says how our nftables table is, and for guests the policy rules.
type TableStatus struct {
	Name     string     `json:"name"`
	Intact   bool       `json:"intact"`
	Restored uint64     `json:"restored"`          // times that somebody else's change was undone, in any network namespace
	Changed  *time.Time `json:"changed,omitempty"` // the last of them
	Error    string     `json:"error,omitempty"`   // why it could not be put back
}

// FlowStatus counts connections and requests.
type FlowStatus struct {
	Open         int    `json:"open"`
	Accepted     uint64 `json:"accepted"`
	Intercepted  uint64 `json:"intercepted"`
	Passed       uint64 `json:"passed"`
	Denied       uint64 `json:"denied"`
	Unattributed uint64 `json:"unattributed"`
	Limited      uint64 `json:"limited"` // refused because their workload had its share
	Requests     uint64 `json:"requests"`
	Refused      uint64 `json:"refused"`
	Credentialed uint64 `json:"credentialed"`
}

// UpstreamStatus counts connections to origins.
type UpstreamStatus struct {
	Idle     int    `json:"idle"`
	Dials    uint64 `json:"dials"`
	Reuses   uint64 `json:"reuses"`
	Resumed  uint64 `json:"resumed"`
	Failures uint64 `json:"failures"`
}

// AuditStatus says how the trail is.
type AuditStatus struct {
	Dir       string `json:"dir"`
	Seq       uint64 `json:"seq"`             // of the newest record
	Lost      uint64 `json:"lost"`            // records that could not be written
	SyncFails uint64 `json:"sync_fails"`      // times that the disk refused
	Fault     string `json:"fault,omitempty"` // why none can be written until a restart or an upgrade
}

// AuthorityStatus says which local CA signs leaves.
type AuthorityStatus struct {
	SHA256   string    `json:"sha256"`
	NotAfter time.Time `json:"not_after"`
}

// Reloaded is the outcome of a reload that took effect.
type Reloaded struct {
	Routes   int      `json:"routes"`
	Warnings []string `json:"warnings,omitempty"`
}

// Upgraded is the outcome of an upgrade: who serves now.
type Upgraded struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Before  string `json:"before"` // the version that it replaced
}

// ScopeRequest asks for an ephemeral scope.
type ScopeRequest struct {
	// Parent is the directory, in the cgroup2 mount, of the cgroup to make it in.
	Parent string `json:"parent"`
}

// Scope is an ephemeral scope. Whoever joins the cgroup is captured; it goes when
// the last process has left.
type Scope struct {
	Cgroup string `json:"cgroup"` // directory in the cgroup2 mount
	Trust  string `json:"trust"`  // directory with the bundles that workloads read
}
