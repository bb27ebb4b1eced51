package capture

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sequence makes connections one after the other, each to the next of the
// destinations, and says on each who we are and where it was meant to go.
func sequence(s step) error {
	who, err := self()
	if err != nil {
		return err
	}
	destinations := strings.Split(s.Addr, " ")
	for i := range s.Count {
		to := destinations[i%len(destinations)]
		if err := say(to, who+" "+to); err != nil {
			return fmt.Errorf("connection %d to %s: %w", i, to, err)
		}
	}
	return nil
}

// say sends a line and wants to hear that it was right.
func say(to, line string) error {
	c, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintln(c, line); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err == nil && string(answer) != "right" {
		err = fmt.Errorf("answer %q", answer)
	}
	return err
}

// refused tries to connect so often, and wants EPERM each time.
func (c *child) refused(s step) error {
	to := c.sockaddr(s.Addr)
	for i := range s.Count {
		if err := unix.Connect(c.fd, to); !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("connect %d: %v", i, err)
		}
	}
	return nil
}

// crowd connects sockets without waiting, holds them all, and says how many of them
// it was refused.
func (c *child) crowd(s step, r *result) error {
	failed := 0
	for range s.Count {
		if err := c.socket(s); err != nil {
			return err
		}
		if err := unix.SetNonblock(c.fd, true); err != nil {
			return err
		}
		switch err := unix.Connect(c.fd, c.sockaddr(s.Addr)); err {
		case unix.EPERM:
			failed++
		case unix.EINPROGRESS:
		default:
			return err
		}
	}
	r.Text = strconv.Itoa(failed)
	return nil
}
