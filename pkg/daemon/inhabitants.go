package daemon

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/process"
)

// lookAgain is how long one process is waited for: it may have left a namespace
// alive.
const lookAgain = time.Minute

// keepAll watches over the sets that are open already.
func (n *namespaces) keepAll(ctx context.Context) {
	n.turn.Lock()
	defer n.turn.Unlock()
	for ns, s := range n.sets {
		n.keepers.Go(func() { n.keep(ctx, ns, s) })
	}
}

// keep closes the set once no process is left in the namespace.
func (n *namespaces) keep(ctx context.Context, ns process.Netns, s *set) {
	for {
		for n.inhabited(ctx, ns) {
		}
		if ctx.Err() != nil {
			return
		}
		s.drain()
		if n.abandon(ns, s) {
			return
		}
	}
}

// abandon closes the set, unless somebody came while it drained: nobody announced
// them, as the namespace was known.
func (n *namespaces) abandon(ns process.Netns, s *set) bool {
	n.turn.Lock()
	defer n.turn.Unlock()
	someone, err := n.processes.Inhabitant(ns)
	if err == nil {
		_ = someone.Close()
	}
	if !errors.Is(err, process.ErrUninhabited) {
		return false
	}
	n.forget(ns)
	delete(n.sets, ns)
	n.letGo(ns)
	n.listeners.remove(s)
	n.drop(s)
	return true
}

// inhabited waits for the end of a process in the namespace, and reports false
// when there is none. Who cannot look waits and looks again: without descriptors
// we see nobody, and that is no reason to leave them.
func (n *namespaces) inhabited(ctx context.Context, ns process.Netns) bool {
	someone, err := n.processes.Inhabitant(ns)
	switch {
	case errors.Is(err, process.ErrUninhabited):
		return false
	case err != nil:
		return pause(ctx, retryAfter)
	}
	return n.outlive(ctx, someone)
}

// outlive waits for the end of a process and closes its pidfd; it reports false
// when ctx ends. What cannot be waited for is looked at again after a while.
func (n *namespaces) outlive(ctx context.Context, someone *os.File) bool {
	defer someone.Close()
	defer context.AfterFunc(ctx, func() { someone.Close() })()
	if err := awaitEnd(someone); err != nil {
		n.log("wait for a process", err)
		return pause(ctx, retryAfter)
	}
	return ctx.Err() == nil
}

// pause waits, and reports false when ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// awaitEnd returns when the process of a pidfd ends, is to be looked at again,
// or the file is closed.
func awaitEnd(pidfd *os.File) error {
	if err := pidfd.SetReadDeadline(time.Now().Add(lookAgain)); err != nil {
		return err
	}
	rc, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	err = rc.Read(func(fd uintptr) bool {
		ended, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return ended > 0 || err != nil && err != unix.EINTR
	})
	if errors.Is(err, os.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
