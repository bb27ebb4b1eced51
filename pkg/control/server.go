package control

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed openapi.json
var openAPI []byte

const maxRequest = 64 << 10

// Server answers control requests.
type Server struct {
	daemon   Daemon
	listener *net.UnixListener
	http     *http.Server
	path     string
	left     atomic.Bool
	end      context.CancelFunc // of requests under way
}

// Listen opens the socket. A socket that a dead daemon left is replaced; one that
// answers is an error. Close removes it.
func Listen(path string, d Daemon) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("control socket %s: %w", path, ErrInUse)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
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
	return newServer(l, path, d), nil
}

// Resume goes on with the socket that the daemon before left open, so that nobody
// who asks is turned away between the two. It closes the file. A socket that does
// not lie at path any more is an error.
func Resume(f *os.File, path string, d Daemon) (*Server, error) {
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if info, err := os.Lstat(path); !ok || err != nil || info.Mode().Type() != os.ModeSocket || u.Addr().String() != path {
		_ = l.Close()
		return nil, fmt.Errorf("the socket handed over is not %s", path)
	}
	return newServer(u, path, d), nil
}

func newServer(l *net.UnixListener, path string, d Daemon) *Server {
	l.SetUnlinkOnClose(false) // Close does, if nobody goes on with it
	ctx, end := context.WithCancel(context.Background())
	s := &Server{daemon: d, listener: l, path: path, end: end}
	s.http = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, ConnContext: withPeer, BaseContext: func(net.Listener) context.Context { return ctx },
	}
	return s
}

// ErrInUse is returned where another daemon answers on the socket.
var ErrInUse = errors.New("another daemon answers on it")

// Serve answers until Close or Leave.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) && !s.left.Load() {
		return err
	}
	return nil
}

// File duplicates the socket for another daemon, which may [Resume] with it. The
// caller closes it.
func (s *Server) File() (*os.File, error) { return s.listener.File() }

// Leave takes no more requests and lets the socket lie for whoever has a
// descriptor of it. Requests under way go on until Close.
func (s *Server) Leave() {
	s.left.Store(true)
	_ = s.listener.Close()
}

// Close ends running requests, and removes the socket unless it was left.
func (s *Server) Close() error {
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if s.left.Load() {
		return nil // its listener is closed already, and that is the error
	}
	return errors.Join(err, os.Remove(s.path))
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", answer(func(r *http.Request) (any, error) { return s.daemon.Status(r.Context()) }))
	mux.HandleFunc("POST /reload", answer(func(r *http.Request) (any, error) { return s.daemon.Reload(r.Context()) }))
	mux.HandleFunc("POST /scopes", answer(s.openScope))
	mux.HandleFunc("POST /upgrade", answer(func(r *http.Request) (any, error) { return s.daemon.Upgrade(r.Context()) }))
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI)
	})
	return onlyOwner(mux)
}

func (s *Server) openScope(r *http.Request) (any, error) {
	var req ScopeRequest
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return nil, &Error{Status: http.StatusBadRequest, Message: "scope request: " + err.Error()}
	}
	return s.daemon.OpenScope(r.Context(), req)
}

// answer writes what f returns as JSON, or its error.
func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := f(r)
		status := http.StatusOK
		if err != nil {
			e := asError(err)
			status, body = e.Status, e
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

type peerKey struct{}

// withPeer remembers who is at the other end, if we trust it.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if peer, err := Peer(c); err == nil && trusted(peer) {
		return context.WithValue(ctx, peerKey{}, peer)
	}
	return ctx
}

// Peer tells who is at the other end of a unix socket, as the kernel says.
func Peer(c net.Conn) (*unix.Ucred, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("not a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, sockErr)
}

// trusted reports whether a peer is root, or of our own user.
func trusted(peer *unix.Ucred) bool { return peer.Uid == 0 || peer.Uid == uint32(os.Geteuid()) }

// Trusted is an error unless the other end of a unix socket belongs to root or to
// our own user: what it says decides where root mounts and what it captures.
func Trusted(c net.Conn) error {
	peer, err := Peer(c)
	if err == nil && !trusted(peer) {
		err = fmt.Errorf("it belongs to uid %d", peer.Uid)
	}
	return err
}

// onlyOwner lets root and the daemon's own user in.
func onlyOwner(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(peerKey{}) == nil {
			http.Error(w, `{"error":"permission denied"}`, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
