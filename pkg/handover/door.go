package handover

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/outwarden/outwarden/pkg/control"
)

// Path is where the daemon of a run_dir waits for its successor.
func Path(runDir string) string { return filepath.Join(runDir, "handover.sock") }

// Door is a socket at which a daemon waits for its successor: descriptors travel on
// it. It is handed over too.
type Door struct {
	socket *net.UnixListener
	path   string
}

// OpenDoor goes on with the door of the daemon before us, or opens one. The caller
// closes it.
func OpenDoor(path string, before *Inherited) (*Door, error) {
	socket, err := listen(path, takeFile(&before.door))
	if err != nil {
		return nil, err
	}
	socket.SetUnlinkOnClose(false)
	return &Door{socket, path}, nil
}

func listen(path string, before *os.File) (*net.UnixListener, error) {
	if before != nil {
		defer before.Close()
		l, err := net.FileListener(before)
		if err != nil {
			return nil, err
		}
		return l.(*net.UnixListener), nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was killed
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// File is a duplicate of the door; the caller closes it.
func (d *Door) File() (*os.File, error) { return d.socket.File() }

// Close ends Serve. The socket stays where it is, for whoever goes on with it.
func (d *Door) Close() error { return d.socket.Close() }

// Remove takes the socket away where nobody goes on with it.
func (d *Door) Remove() error {
	if err := os.Remove(d.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Serve hands out who comes and could go on where we stop, one at a time, until
// ctx ends, and reports who could not. terms are ours. Whoever receives a successor
// refuses it or closes it.
func (d *Door) Serve(ctx context.Context, terms func() (*Terms, error), come chan<- *Successor, report func(error)) {
	stop := context.AfterFunc(ctx, func() { _ = d.socket.Close() })
	defer stop()
	for {
		conn, err := d.socket.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, it may be: who comes waits
			report(err)
			pause(ctx)
			continue
		}
		s, err := meet(ctx, conn, terms)
		if err != nil {
			report(err)
			continue
		}
		select {
		case come <- s:
		case <-ctx.Done():
			s.Close()
			return
		}
	}
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}

// meet finds out who it is and whether it could go on where we stop.
func meet(ctx context.Context, conn *net.UnixConn, terms func() (*Terms, error)) (*Successor, error) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	s := &Successor{line: newLine(conn)}
	if err := s.agree(terms); err != nil {
		s.Refuse(err)
		return nil, err
	}
	return s, nil
}

// agree is an error if the successor is not to be trusted, or has other places.
func (s *Successor) agree(terms func() (*Terms, error)) error {
	if err := control.Trusted(s.line.conn); err != nil {
		return err
	}
	peer, err := control.Peer(s.line.conn)
	if err != nil {
		return err
	}
	m, err := s.line.receive(Patience)
	if err != nil {
		return err
	}
	if m.Terms == nil {
		return errors.New("the successor states no terms")
	}
	s.Version, s.PID = m.Terms.Version, int(peer.Pid)
	ours, err := terms()
	if err != nil {
		return err
	}
	return ours.sameAs(m.Terms)
}
