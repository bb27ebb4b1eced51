package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outwarden/outwarden/pkg/netnstest"
)

// foreign names the socket that a re-executed test binary listens on.
const foreign = "OUTWARDEN_CONTROL_SOCKET"

func TestMain(m *testing.M) {
	path := os.Getenv(foreign)
	if path == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		os.Exit(1)
	}
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"cgroup":"/evil"}`) }))
}

// answers is a daemon that says what a test wants.
type answers struct {
	reload error
	asked  ScopeRequest
}

func (*answers) Status(context.Context) (*Status, error) {
	return &Status{Version: "test", PID: 7}, nil
}

func (a *answers) Reload(context.Context) (*Reloaded, error) {
	return &Reloaded{Routes: 3, Warnings: []string{"w"}}, a.reload
}

func (a *answers) OpenScope(_ context.Context, r ScopeRequest) (*Scope, error) {
	a.asked = r
	return &Scope{Cgroup: "/c", Trust: "/t"}, nil
}

func (*answers) Upgrade(context.Context) (*Upgraded, error) {
	return &Upgraded{PID: 8, Version: "next", Before: "test"}, nil
}

type withHint struct{ error }

func (withHint) Hint() string { return "do this" }

// serve opens a server in a directory of the test.
func serve(t *testing.T, d Daemon) (path string, c *Client) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "control.sock")
	s, err := Listen(path, d)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return path, NewClient(path)
}

func TestCalls(t *testing.T) {
	d := &answers{}
	path, c := serve(t, d)
	if s, err := c.Status(t.Context()); err != nil || s.Version != "test" || s.PID != 7 {
		t.Errorf("%+v %v", s, err)
	}
	if r, err := c.Reload(t.Context()); err != nil || r.Routes != 3 || len(r.Warnings) != 1 {
		t.Errorf("%+v %v", r, err)
	}
	if s, err := c.OpenScope(t.Context(), ScopeRequest{Parent: "/p"}); err != nil || s.Cgroup != "/c" || s.Trust != "/t" || d.asked.Parent != "/p" {
		t.Errorf("%+v %v %+v", s, err, d.asked)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestErrorsCross(t *testing.T) {
	d := &answers{}
	_, c := serve(t, d)
	for _, e := range []struct {
		err        error
		text, hint string
		status     int
		noDaemon   bool
	}{
		{errors.New("plain"), "plain", "", 422, false},
		{fmt.Errorf("around: %w", withHint{errors.New("inner")}), "around: inner", "do this", 422, false},
		{&Error{Status: 409, Message: "own", Tip: "tip"}, "own", "tip", 409, false},
		{errors.Join(&Error{Status: 503, Message: "leaving"}, nil), "leaving", "", 503, true},
	} {
		d.reload = e.err
		_, err := c.Reload(t.Context())
		got, ok := errors.AsType[*Error](err)
		if !ok || got.Error() != e.text || got.Hint() != e.hint || got.Status != e.status || errors.Is(err, ErrNoDaemon) != e.noDaemon {
			t.Errorf("%v came across as %+v", e.err, err)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as a daemon that was killed leaves it
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNoDaemon) {
		t.Error(err)
	}
	s, err := Listen(path, &answers{})
	if err != nil {
		t.Fatalf("a dead daemon's socket is in the way: %v", err)
	}
	go s.Serve()
	defer s.Close()
	if _, err := Listen(path, &answers{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second daemon on one socket: %v", err)
	}
}

// send puts raw requests on the socket.
func send(t *testing.T, path, method, target, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://outwarden"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := NewClient(path).http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestBadRequests(t *testing.T) {
	d := &answers{}
	path, _ := serve(t, d)
	for _, c := range []struct {
		method, target, body string
		status               int
	}{
		{"POST", "/scopes", `{"parent":"/x","more":1}`, 400},
		{"POST", "/scopes", `{`, 400},
		{"POST", "/scopes", `{"parent":"` + strings.Repeat("x", maxRequest) + `"}`, 400},
		{"GET", "/reload", "", 405},
		{"GET", "/nothing", "", 404},
	} {
		if resp := send(t, path, c.method, c.target, c.body); resp.StatusCode != c.status {
			t.Errorf("%s %s: %s, want %d", c.method, c.target, resp.Status, c.status)
		}
	}
	if d.asked.Parent != "" {
		t.Errorf("a bad request reached the daemon: %d bytes", len(d.asked.Parent))
	}
}

// The document describes what is served, no more and no less.
func TestOpenAPI(t *testing.T) {
	path, _ := serve(t, &answers{})
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}
	if err := json.NewDecoder(send(t, path, "GET", "/openapi.json", "").Body).Decode(&doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("%+v %v", doc, err)
	}
	operations := 0
	for target, methods := range doc.Paths {
		for method := range methods {
			operations++
			resp := send(t, path, strings.ToUpper(method), target, "{}")
			if resp.StatusCode != 200 {
				t.Errorf("%s %s: %s", method, target, resp.Status)
			}
		}
	}
	if operations != 5 {
		t.Errorf("%d operations are described, 5 are served", operations)
	}
}

// Root does not believe a socket that another user has put in place.
func TestForeignServer(t *testing.T) {
	netnstest.RequireRoot(t)
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o777), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "control.sock")
	exe, err := os.Open("/proc/self/exe") // the binary's own directory may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Env = []string{foreign + "=" + path}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err := NewClient(path).OpenScope(t.Context(), ScopeRequest{Parent: "/"})
		if !errors.Is(err, ErrNoDaemon) {
			if err == nil || !strings.Contains(err.Error(), "it belongs to uid 65534") {
				t.Errorf("a foreign server is believed: %v", err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the foreign server does not come up")
		}
	}
}

// A daemon that hangs keeps nobody waiting for ever.
func TestSilentDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path) // which the kernel connects to
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := NewClient(path)
	c.patience = 50 * time.Millisecond
	for what, ask := range map[string]func() error{
		"status": func() error { _, err := c.Status(t.Context()); return err },
		"scope":  func() error { _, err := c.OpenScope(t.Context(), ScopeRequest{}); return err },
	} {
		err := ask()
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(err.Error(), path+": the daemon does not answer") || e.Hint() == "" || errors.Is(err, ErrNoDaemon) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
