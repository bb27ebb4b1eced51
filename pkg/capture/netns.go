package capture

import (
	"errors"
	"os"
	"runtime"

	"github.com/vishvananda/netns"
)

// In runs f on a thread inside the network namespace that an open file stands
// for. A socket that f makes stays there. f starts no goroutine and returns.
func In(ns *os.File, f func() error) error { return in(netns.NsHandle(ns.Fd()), f) }

// in runs f on a thread inside a network namespace. A thread that cannot come
// back stays locked to its goroutine and dies with it.
func in(ns netns.NsHandle, f func() error) error {
	done := make(chan error)
	go func() { done <- onThread(ns, f) }()
	return <-done
}

func onThread(ns netns.NsHandle, f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := netns.Set(ns); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := netns.Set(home); back != nil {
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}
