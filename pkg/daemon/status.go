package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"

	"github.com/outwarden/outwarden/pkg/control"
)

// Status tells how the daemon is.
func (d *Daemon) Status(context.Context) (*control.Status, error) {
	kernel, err := d.capture.Counters()
	if err != nil {
		return nil, err
	}
	kernel["existed_before"], kernel["existed_before_reset"] = d.existing.found.Load(), d.existing.reset.Load()
	kernel["frame_senders"] = d.existing.senders.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	return &control.Status{
		Version: d.o.Version, PID: os.Getpid(), Since: d.since, Ephemeral: d.o.Ephemeral,
		Config: d.configStatus(), Capture: d.captureStatus(), Flows: d.flowStatus(), Upstream: d.upstreamStatus(),
		Audit: d.auditStatus(), Authority: d.authorityStatus(), Kernel: kernel,
	}, nil
}

func (d *Daemon) configStatus() control.ConfigStatus {
	s := control.ConfigStatus{
		Path: strings.Join(d.loaded.config.Files, ", "), Loaded: d.loaded.at,
		Routes: len(d.loaded.config.Routes), Warnings: d.loaded.warnings,
	}
	if d.loaded.failed != nil {
		s.LastError = d.loaded.failed.Error()
	}
	if d.loaded.secrets != nil {
		s.SecretError = d.loaded.secrets.Error()
	}
	return s
}

func (d *Daemon) captureStatus() control.CaptureStatus {
	c := d.loaded.config.Capture
	s := control.CaptureStatus{Backend: string(c.Backend), Table: d.tables.status(), Fail: "closed", PinDir: d.pins(), Ports: c.Ports, Others: d.listeners.others()}
	if c.FailOpen {
		s.Fail = "open"
	}
	s.Fault = d.faultNow()
	s.Ready = s.Fault == ""
	for _, a := range d.listeners.addrs() {
		s.Listeners = append(s.Listeners, a.String())
	}
	for _, g := range c.Guests {
		s.Guests = append(s.Guests, g.String())
	}
	s.Scopes, s.Excluded = d.capture.Scope()
	return s
}

func (d *Daemon) flowStatus() control.FlowStatus {
	s := d.proxy.Stats()
	return control.FlowStatus{
		Open: d.proxy.Open(), Accepted: s.Accepted.Load(), Intercepted: s.Intercepted.Load(), Passed: s.Passed.Load(),
		Denied: s.Denied.Load(), Unattributed: s.Unattributed.Load(), Limited: s.Limited.Load(),
		Requests: s.Requests.Load(), Refused: s.Refused.Load(), Credentialed: s.Credentialed.Load(),
	}
}

func (d *Daemon) upstreamStatus() control.UpstreamStatus {
	s := d.upstreams.Stats()
	return control.UpstreamStatus{Idle: s.Idle, Dials: s.Dials, Reuses: s.Reuses, Resumed: s.Resumed, Failures: s.Failures}
}

func (d *Daemon) authorityStatus() control.AuthorityStatus {
	root := d.leaves.get().Root()
	sum := sha256.Sum256(root.Raw)
	return control.AuthorityStatus{SHA256: hex.EncodeToString(sum[:]), NotAfter: root.NotAfter}
}

func (d *Daemon) auditStatus() control.AuditStatus {
	s := d.trail.Stats()
	a := control.AuditStatus{Dir: trailDir(d.atStart), Seq: s.Seq, Lost: s.Failed, SyncFails: s.SyncFails}
	if err := d.trail.Broken(); err != nil {
		a.Fault = err.Error()
	}
	return a
}
