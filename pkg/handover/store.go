package handover

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Store gives files to the service manager that listens at a notification socket,
// to keep until the daemon after us takes them by TakeStored, however we end. The
// error tells that it has not all of them.
func Store(socket string, f *Files) error {
	conn, err := dial(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	var failed []error
	for i, file := range f.files {
		failed = append(failed, store(conn, f.kinds[i], file))
	}
	return errors.Join(failed...)
}

// Unstore has it let go of all files of a kind.
func Unstore(socket string, what Kind) error {
	conn, err := dial(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "FDSTOREREMOVE=1\nFDNAME=%s", what)
	return err
}

func dial(socket string) (*net.UnixConn, error) {
	return net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: socket})
}

func store(conn *net.UnixConn, what Kind, f *os.File) error {
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return withFD(f, func(fd int) error {
		var failed error
		err := rc.Write(func(to uintptr) bool { // WriteMsgUnix takes no connected datagram socket
			failed = unix.Sendmsg(int(to), fmt.Appendf(nil, "FDSTORE=1\nFDNAME=%s", what), unix.UnixRights(fd), nil, 0)
			return failed != unix.EAGAIN
		})
		return errors.Join(err, os.NewSyscallError("sendmsg", failed))
	})
}
