package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/control"
)

// ErrGone says that the daemon before us has ended: it owes no step any more. That
// it has really left is held by the locks; see doc.go.
var ErrGone = errors.New("the daemon before us is gone")

// Predecessor is the daemon that runs, as the one that is to relieve it sees it:
// Meet, then Ready, then Serving, and from then on Answer. Where the relief fails,
// Fail.
type Predecessor struct{ line *line }

// Meet states our terms to the daemon that waits at path and takes over what it
// hands out. nil without an error: none runs. ErrGone: it ended before it gave all;
// its lock is not kept, as it may live after all. The caller closes it.
func Meet(path string, ours *Terms, into *Inherited) (*Predecessor, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &Predecessor{newLine(conn)}
	if err := p.ask(ours, into); err != nil {
		p.Fail(err)
		p.Close()
		return nil, err
	}
	return p, nil
}

// ask states our terms and takes the descriptors.
func (p *Predecessor) ask(ours *Terms, into *Inherited) error {
	if err := control.Trusted(p.line.conn); err != nil {
		return err
	}
	if err := p.line.send(&message{Terms: ours}); err != nil && !hungUp(err) { // it may have said why
		return err
	}
	for more := true; more; {
		m, err := p.line.receive(Patience)
		if hungUp(err) {
			into.dropLock()
			return ErrGone
		}
		if err != nil {
			return err
		}
		if err := into.add(m.Descriptors, m.files); err != nil {
			return err
		}
		more = m.More
	}
	return nil
}

// Ready asks it to leave its duties, now that nothing of ours can fail but them.
func (p *Predecessor) Ready() error { return p.exchange(stepReady, stepYours) }

// Serving tells that we have them. From its answer on the other only drains.
func (p *Predecessor) Serving() error { return p.exchange(stepServing, stepLeaving) }

// exchange says one step and waits for the other, or for the end of who owes it.
func (p *Predecessor) exchange(ours, theirs step) error {
	err := p.line.send(&message{Step: ours})
	if err == nil || hungUp(err) { // it may have said why
		err = p.line.await(theirs)
	}
	if hungUp(err) {
		return fmt.Errorf("%w before it said %q", ErrGone, theirs)
	}
	return err
}

// Fail tells it why it has to go on.
func (p *Predecessor) Fail(why error) { _ = p.line.send(&message{Failed: why.Error()}) }

// Answer has k do what the daemon before us asks for while it drains, until it is
// gone.
func (p *Predecessor) Answer(k Keeper) error {
	for {
		m, err := p.line.receive(0)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go p.answer(m, k) // with durability synced a record waits for the disk
	}
}

func (p *Predecessor) answer(m *message, k Keeper) {
	answer := message{ID: m.ID}
	if err := do(m, k); err != nil {
		answer.Failed = err.Error()
	}
	_ = p.line.send(&answer) // it may have gone
}

func do(m *message, k Keeper) error {
	if s := m.Replay; s != nil {
		return k.Accept(s.Message, s.At, s.Now)
	}
	var r audit.Record
	if err := json.Unmarshal(m.Record, &r); err != nil {
		return err
	}
	return k.Append(&r)
}

// Close ends the line, and Answer with it.
func (p *Predecessor) Close() { p.line.close() }
