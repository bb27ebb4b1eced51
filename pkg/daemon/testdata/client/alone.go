package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// alone connects from a network namespace that it has just made, again and
// again until it may, and prints what came of the first try. It executes
// nothing there, so its connect is the first that anybody hears of it.
func alone(addr string) error {
	runtime.LockOSThread() // never unlocked: the namespace belongs to the thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := raiseLoopback(); err != nil {
		return err
	}
	first := errors.New("connected")
	for tries, end := 0, time.Now().Add(patience); time.Now().Before(end); tries++ {
		c, err := net.DialTimeout("tcp", addr, patience)
		if tries == 0 && err != nil {
			first = err
		}
		if err == nil {
			fmt.Println("first:", first)
			return c.Close()
		}
		time.Sleep(time.Millisecond)
	}
	return first
}

// insist does what a client with retries does while it may not connect.
func insist(url string) error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := get(url)
		if !errors.Is(err, unix.EPERM) || time.Now().After(end) {
			return err
		}
	}
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// crowd connects from n network namespaces at once, anew until it may, and stays
// in them until its standard input ends.
func crowd(n, addr string) error {
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	for range count {
		go func() {
			if err := alone(addr); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			select {}
		}()
	}
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return nil
}

// squat listens on addresses until its standard input ends. It has the mark of a
// daemon, for to others the ports of one are closed.
func squat(addrs []string) error {
	const mark = 0x10
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var failed error
		err := rc.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
		return errors.Join(err, failed)
	}}
	for _, addr := range addrs {
		if _, err := lc.Listen(context.Background(), "tcp", addr); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return nil
}
