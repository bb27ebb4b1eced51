package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"
)

// ErrNoDaemon is returned where nobody answers on the socket.
var ErrNoDaemon = errors.New("no daemon is running")

// errSilent is returned where somebody is there who does not answer.
var errSilent = &Error{Message: "the daemon does not answer", Tip: "it hangs, or is starved of the processor: see its log; systemctl restart outwarden"}

// patience is how long a daemon may take to say how it is.
const patience = 10 * time.Second

// Client talks to a daemon.
type Client struct {
	socket   string
	http     http.Client
	patience time.Duration
}

// NewClient returns a client of the daemon behind a socket. Nothing is dialled
// yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, err
		}
		if err := Trusted(c); err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}
	return &Client{socket: socket, http: http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}, patience: patience}
}

// Status asks how the daemon is. One that is silent for ten seconds is an error.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	return call[Status](ctx, c, http.MethodGet, "/status", nil)
}

// Reload makes the daemon load its configuration again.
func (c *Client) Reload(ctx context.Context) (*Reloaded, error) {
	return call[Reloaded](ctx, c, http.MethodPost, "/reload", nil)
}

// Upgrade makes the daemon start its successor and hand everything over to it. It
// returns once the successor serves.
func (c *Client) Upgrade(ctx context.Context) (*Upgraded, error) {
	return call[Upgraded](ctx, c, http.MethodPost, "/upgrade", nil)
}

// OpenScope asks for an ephemeral scope. A minute of silence is an error: so long may
// one daemon take to hand over to another.
func (c *Client) OpenScope(ctx context.Context, r ScopeRequest) (*Scope, error) {
	const handover = 6
	ctx, cancel := context.WithTimeout(ctx, handover*c.patience)
	defer cancel()
	return call[Scope](ctx, c, http.MethodPost, "/scopes", r)
}

// call sends one request. Errors wrap ErrNoDaemon, or are *Error.
func call[T any](ctx context.Context, c *Client, method, path string, body any) (*T, error) {
	var payload io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://outwarden"+path, payload)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	defer res.Body.Close()
	return decode[T](res)
}

func (c *Client) explain(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w (nobody answers on %s)", ErrNoDaemon, c.socket)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // method and URL are ours and say nothing
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		err = os.ErrPermission
	case errors.Is(err, context.DeadlineExceeded):
		err = errSilent
	}
	return fmt.Errorf("control socket %s: %w", c.socket, err)
}

func decode[T any](res *http.Response) (*T, error) {
	if res.StatusCode != http.StatusOK {
		e := &Error{Status: res.StatusCode}
		if err := json.NewDecoder(res.Body).Decode(e); err != nil || e.Message == "" {
			e.Message = "daemon answered " + res.Status
		}
		return nil, e
	}
	out := new(T)
	if err := json.NewDecoder(res.Body).Decode(out); errors.Is(err, context.DeadlineExceeded) {
		return nil, errSilent
	} else if err != nil {
		return nil, fmt.Errorf("daemon's answer: %w", err)
	}
	return out, nil
}
