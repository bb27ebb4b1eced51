package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/config"
	"github.com/outwarden/outwarden/pkg/control"
)

// handoverPatience is how long one daemon waits for a step of the other.
const handoverPatience = 30 * time.Second

// handoverLongest is how long the daemon that runs may be busy with it: it waits
// twice for a step, once for a successor's end and for the trail, for a reload under
// way, and for what it sends.
const handoverLongest = 5*handoverPatience + reloadPatience

// handoverPath is where a daemon waits for its successor.
func handoverPath(c *config.Config) string { return filepath.Join(c.RunDir, "handover.sock") }

// terms are what must be the same in both daemons, and who the successor is.
type terms struct {
	Version  string   `json:"version"`
	StateDir string   `json:"state_dir"`
	PinDir   string   `json:"pin_dir"`
	Mark     uint32   `json:"mark"`
	Listen   []uint16 `json:"listen"`
	Cgroup   string   `json:"cgroup"` // of the process: the hooks know our connections by it

	// What is in the programs, which the successor replaces before it is sure to serve.
	Fail         string `json:"fail"`
	Raw          string `json:"raw"`
	Backend      string `json:"backend"`
	RedirectMark uint32 `json:"redirect_mark"`
}

func (d *Daemon) terms() (*terms, error) {
	c := d.loaded.config
	cgroup, err := ownCgroup()
	return &terms{
		Version: d.o.Version, StateDir: c.StateDir, PinDir: d.pins(), Mark: c.Capture.Mark, Listen: c.Capture.Listen, Cgroup: cgroup,
		Fail: word(c.Capture.FailOpen, "open", "closed"), Raw: word(c.Capture.AllowRaw, "record", "refuse"),
		Backend: string(c.Capture.Backend), RedirectMark: c.Capture.RedirectMark,
	}, err
}

// word is what the configuration calls a switch that is on or off.
func word(is bool, on, off string) string {
	if is {
		return on
	}
	return off
}

// ownCgroup is this process's place in the cgroup2 hierarchy.
func ownCgroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path), nil
		}
	}
	return "", errors.Join(err, errors.New("no cgroup2 in /proc/self/cgroup"))
}

// inherit takes what the service manager kept for us and, to take over, asks the
// daemon that runs for what it has. Where none runs, this is a start like any
// other.
func (d *Daemon) inherit(context.Context) error {
	d.later(d.inherited.close)
	if err := d.inherited.takeStored(); err != nil {
		return err
	}
	if !d.o.Takeover || d.o.Ephemeral {
		return nil
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: handoverPath(d.loaded.config)})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	d.precursor = newLine(conn)
	d.later(d.precursor.close)
	if err := control.Trusted(conn); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	err = d.ask()
	if hungUp(err) {
		return d.startAlone()
	}
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	return nil
}

// startAlone makes this a start like any other: the daemon before us has ended
// before it gave us all. If it lives after all, it has the lock, of which we keep
// nothing.
func (d *Daemon) startAlone() error {
	d.o.Log.Warn("the daemon before us is gone; we start in its place")
	d.precursor = nil
	if lock := d.inherited.takeLock(); lock != nil {
		return lock.Close()
	}
	return nil
}

// ask states our terms and takes the descriptors.
func (d *Daemon) ask() error {
	t, err := d.terms()
	if err != nil {
		return err
	}
	if err := d.precursor.send(&message{Terms: t}); err != nil && !hungUp(err) { // it may have said why
		return err
	}
	for more := true; more; {
		m, err := d.precursor.receive(handoverPatience)
		if err != nil {
			return err
		}
		if err := d.inherited.add(m.Descriptors, m.files); err != nil {
			return err
		}
		more = m.More
	}
	return nil
}

// relieve asks the daemon before us to leave its duties, now that nothing of ours
// can fail but them. One that ends now has left them too; if it has not, it holds
// the trail, and we don't get it.
func (d *Daemon) relieve(context.Context) error {
	if d.precursor == nil {
		return nil
	}
	return d.exchange(stepReady, stepYours)
}

// exchange says one step and waits for the other, or for the end of who owes it.
func (d *Daemon) exchange(ours, theirs step) error {
	err := d.precursor.send(&message{Step: ours})
	if err == nil || hungUp(err) { // it may have said why
		err = d.precursor.await(theirs, handoverPatience)
	}
	if hungUp(err) {
		d.o.Log.WithField("instead of", theirs).Warn("the daemon before us is gone")
		return nil
	}
	return err
}

// confirm tells that we have them. From its answer on the daemon before us only
// drains.
func (d *Daemon) confirm(context.Context) error {
	if d.precursor == nil {
		return nil
	}
	if err := d.exchange(stepServing, stepLeaving); err != nil {
		return err
	}
	d.report("leave our pid in the lock", sign(d.lock)) // nobody goes on in our stead any more
	return nil
}

// apologize tells the daemon that we were to relieve why it has to go on.
func (d *Daemon) apologize(err error) {
	if d.precursor != nil {
		_ = d.precursor.send(&message{Failed: err.Error()})
	}
}

// answer answers what the daemon before us has to ask while it drains, until it is
// gone.
func (d *Daemon) answer() {
	for {
		m, err := d.precursor.receive(0)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				d.report("the daemon before us", err)
			}
			return
		}
		go d.answerOne(m) // with durability synced a record waits for the disk
	}
}

func (d *Daemon) answerOne(m *message) {
	answer := message{ID: m.ID}
	if err := d.do(m); err != nil {
		answer.Failed = err.Error()
	}
	_ = d.precursor.send(&answer) // it may have gone
}

func (d *Daemon) do(m *message) error {
	if s := m.Replay; s != nil {
		if d.signing.seen == nil { // routes refuse no replays any more
			return nil
		}
		return d.signing.seen.Accept(s.Message, s.At, s.Now)
	}
	var r audit.Record
	if err := json.Unmarshal(m.Record, &r); err != nil {
		return err
	}
	return d.records.Append(&r)
}
