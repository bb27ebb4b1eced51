package capture

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/outwarden/outwarden/pkg/flow"
)

// Abort ends the connection of an event for flow.ReasonConnectUnseen. Its SYN was
// dropped, so its owner would wait for an answer that cannot come; he finds it
// aborted at once. One that is there no more, or whose owner is, is no error.
func (c *Capture) Abort(f *flow.Flow) error {
	where := namespaces{}
	where.note(threads(procDir(f.Caller.PID)))
	return errors.Join(where.each(func() error { return abortHere(f.Cookie) })...)
}

// abortHere looks for the socket in the calling thread's network namespace.
func abortHere(cookie uint64) error {
	const connecting = 1 << 2 // TCP_SYN_SENT
	sockets, err := listSockets(connecting, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	for i := range sockets {
		if sockets[i].cookie() != cookie {
			continue
		}
		if err := sockets[i].destroy(); !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}
