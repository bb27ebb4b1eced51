package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/outwarden/outwarden/pkg/h2"
)

// patience is how long the agent may take to answer.
const patience = 5 * time.Second

var errNoAnswer = errors.New("the agent ended the call without an answer")

// call makes one gRPC call over a unix socket and returns the first message of the
// answer. That is all that the Workload API needs, so no gRPC library is.
func call(ctx context.Context, socket, method string, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	client := h2.NewClient(conn, h2.Options{})
	over := make(chan error, 1)
	go func() { over <- client.Serve() }()
	defer func() { _, _ = conn.Close(), <-over }()
	a := &answer{done: make(chan error, 1)}
	if err := a.ask(client, method, message); err != nil {
		return nil, err
	}
	select {
	case err = <-a.done:
		return a.message, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// answer takes what comes of a call. Its Handler runs on the reader's goroutine
// and is done with it before done says so.
type answer struct {
	got, message []byte
	ended        bool
	done         chan error
}

const grpcPrefix = 5 // a compression flag and the length

func (a *answer) ask(client *h2.Conn, method string, message []byte) error {
	var b h2.Batch
	defer b.Flush()
	s, err := client.Open(&b, a, []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method}, {Name: ":authority", Value: "localhost"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
		{Name: "workload.spiffe.io", Value: "true"}, // who is led here by a confused deputy does not know it
	}, false)
	if err != nil {
		return err
	}
	_, err = s.Write(&b, append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...), true)
	return err
}

// Handle takes an event of the call.
func (a *answer) Handle(s *h2.Stream, e *h2.Event) {
	switch e.Kind {
	case h2.Head, h2.Trailers:
		a.status(e)
	case h2.Data:
		a.got = append(a.got, e.Data...)
		s.Consumed(e.Batch, len(e.Data))
		a.take()
	case h2.Closed:
		a.end(errors.Join(errNoAnswer, e.Err))
	}
	if e.End {
		a.end(errNoAnswer)
	}
}

func (a *answer) status(e *h2.Event) {
	var code, text string
	for _, f := range e.Fields {
		switch f.Name {
		case "grpc-status":
			code = f.Value
		case "grpc-message":
			text = f.Value
		}
	}
	switch {
	case e.Kind == h2.Head && e.Status != 200:
		a.end(fmt.Errorf("the agent answers with HTTP status %d", e.Status))
	case code != "" && code != "0":
		a.end(fmt.Errorf("the agent refuses with gRPC status %s: %s", code, clean(text)))
	}
}

// clean keeps an agent from writing lines into a log.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text[:min(len(text), 200)])
}

func (a *answer) take() {
	if len(a.got) < grpcPrefix {
		return
	}
	switch n := binary.BigEndian.Uint32(a.got[1:]); {
	case a.got[0] != 0:
		a.end(errors.New("the agent compresses, which nobody asked for"))
	case n > MaxSize:
		a.end(fmt.Errorf("the agent answers with %d bytes: %w", n, ErrTooLarge))
	case len(a.got) >= grpcPrefix+int(n):
		a.message = a.got[grpcPrefix : grpcPrefix+int(n)]
		a.end(nil)
	}
}

func (a *answer) end(err error) {
	if !a.ended {
		a.ended = true
		a.done <- err
	}
}

// errProto is returned for bytes that are no protobuf message.
var errProto = errors.New("the agent's answer is malformed")

// fields calls yield for each length-delimited field of a protobuf message; others
// are skipped.
func fields(message []byte, yield func(number uint64, value []byte)) error {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return errProto
		}
		message = message[n:]
		value, rest, err := field(message, tag&7)
		if err != nil {
			return err
		}
		if tag&7 == 2 {
			yield(tag>>3, value)
		}
		message = rest
	}
	return nil
}

func field(message []byte, wire uint64) (value, rest []byte, err error) {
	size, skipped := uint64(0), 0
	switch wire {
	case 0:
		if _, skipped = binary.Uvarint(message); skipped <= 0 {
			return nil, nil, errProto
		}
	case 1:
		size = 8
	case 2:
		if size, skipped = binary.Uvarint(message); skipped <= 0 {
			return nil, nil, errProto
		}
	case 5:
		size = 4
	default:
		return nil, nil, errProto
	}
	if size > uint64(len(message)-skipped) {
		return nil, nil, errProto
	}
	end := skipped + int(size)
	return message[skipped:end], message[end:], nil
}
