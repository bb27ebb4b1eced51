package daemon_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// manager keeps descriptors for a service as a service manager does: it speaks
// sd_notify(3) with FDSTORE, and passes what it keeps as sd_listen_fds(3) says.
type manager struct {
	w    *world
	conn *net.UnixConn

	mu    sync.Mutex
	names []string
	files []*os.File
	said  []string // other lines
}

func newManager(w *world) *manager {
	w.t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: w.path("notify")})
	must(w.t, err)
	m := &manager{w: w, conn: conn}
	done := make(chan struct{})
	go func() { defer close(done); m.listen() }()
	w.t.Cleanup(func() { conn.Close(); <-done; m.drop() })
	return m
}

func (m *manager) listen() {
	buf, oob := make([]byte, 4096), make([]byte, 4096)
	for {
		n, oobn, _, _, err := m.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		m.take(string(buf[:n]), oob[:oobn])
	}
}

func (m *manager) take(text string, oob []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name, store, remove := "stored", false, false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		m.said = append(m.said, line)
		store, remove = store || line == "FDSTORE=1", remove || line == "FDSTOREREMOVE=1"
		if given, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name = given
		}
	}
	if remove {
		m.letGo(name)
	}
	controls, _ := unix.ParseSocketControlMessage(oob)
	for i := range controls {
		fds, _ := unix.ParseUnixRights(&controls[i])
		for _, fd := range fds {
			f := os.NewFile(uintptr(fd), name)
			if !store || m.has(f) {
				f.Close()
				continue
			}
			m.names, m.files = append(m.names, name), append(m.files, f)
		}
	}
}

// has reports whether the same socket is kept already; m.mu is held.
func (m *manager) has(f *os.File) bool {
	for _, kept := range m.files {
		a, err1 := f.Stat()
		b, err2 := kept.Stat()
		if err1 == nil && err2 == nil && os.SameFile(a, b) {
			return true
		}
	}
	return false
}

// letGo closes what is kept under a name; m.mu is held.
func (m *manager) letGo(name string) {
	names, files := m.names, m.files
	m.names, m.files = nil, nil
	for i, f := range files {
		if names[i] == name {
			f.Close()
			continue
		}
		m.names, m.files = append(m.names, names[i]), append(m.files, f)
	}
}

// drop closes what is kept, as it happens when a service has ended for good.
func (m *manager) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.files {
		f.Close()
	}
	m.names, m.files = nil, nil
}

// count is how many descriptors are kept.
func (m *manager) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.files)
}

// heard reports whether the daemons have said a line.
func (m *manager) heard(line string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.said {
		if s == line {
			return true
		}
	}
	return false
}

// launch starts the daemon as a service.
func (m *manager) launch(exe string) *process {
	m.w.t.Helper()
	m.mu.Lock()
	setup := "export NOTIFY_SOCKET=" + m.w.path("notify") + ";"
	if len(m.files) > 0 {
		setup += fmt.Sprintf("export LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=%s;", len(m.files), strings.Join(m.names, ":"))
	}
	files := m.duplicates()
	m.mu.Unlock()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	return m.w.launchWith(files, setup, exe)
}

// duplicates are what is kept, once more: it may be let go of meanwhile; m.mu is held.
func (m *manager) duplicates() (files []*os.File) {
	m.w.t.Helper()
	for i, f := range m.files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		must(m.w.t, err)
		files = append(files, os.NewFile(uintptr(fd), m.names[i]))
	}
	return files
}

// A service that is restarted harms no call, and one that is killed refuses
// nobody: connects wait for the daemon that comes next. Once the service has ended
// for good the fail policy answers.
func TestSystemRestart(t *testing.T) {
	w := newWorld(t)
	m := newManager(w)
	d := m.launch(program("outwarden"))
	w.countDirect()
	listeners := w.status().Capture.Listeners
	w.await("the sockets are stored", func() bool { return m.count() == len(listeners)+1 })
	next := func() {
		d = m.launch(program("outwarden"))
		if got := w.status().Capture.Listeners; strings.Join(got, " ") != strings.Join(listeners, " ") {
			t.Errorf("listeners %v, want %v", got, listeners)
		}
		seen := w.status().Flows.Requests
		w.await("the next one serves", func() bool { return w.status().Flows.Requests > seen+10 })
	}
	load := w.load("4")
	for range 2 {
		d.stop()
		next()
	}
	w.unharmed(load)
	load = w.load("4")
	for range 2 {
		d.kill() // what was under way breaks
		next()
	}
	load.end()
	if out := load.stdout.String(); strings.Contains(out, "refused") || strings.Contains(out, "not permitted") || !strings.Contains(out, "well: ") {
		t.Errorf("under kills: %s", out)
	}
	w.noneDirect()
	if r := w.outwarden("audit", "verify"); r.code != 0 {
		t.Errorf("audit verify: %v", r)
	}
	if m.count() != len(listeners)+1 || !m.heard("STOPPING=1") || !m.heard("READY=1") {
		t.Errorf("%d sockets are kept, want %d; said %v", m.count(), len(listeners)+1, m.said)
	}
	d.stop()
	m.drop()
	if r := w.do(w.work, program("client"), "connect", partnerAddr); r.code == 0 || !strings.Contains(r.stderr, "not permitted") {
		t.Errorf("connect when the service is over: %v", r)
	}
	sound(t, w.read("daemon.log"))
}
