package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// holder is a client program that has made its connections and waits.
type holder struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	input io.Closer
	close func()
}

// hold starts the client program and waits until its connections stand. Release it.
func (b *bench) hold(ctx context.Context, args ...string) (*holder, error) {
	return b.holdAs(ctx, b.client, b.program("client"), args...)
}

// holdAs is hold with another role and a copy of the program.
func (b *bench) holdAs(ctx context.Context, r *role, program string, args ...string) (*holder, error) {
	in, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	words, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), input.Close())
	}
	cmd, err := r.start(command{args: append([]string{program, "-ca", b.roots()}, args...), in: in, out: out, log: out})
	in.Close()
	out.Close()
	if err != nil {
		return nil, errors.Join(err, input.Close(), words.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	h := &holder{cmd: cmd, lines: bufio.NewScanner(words), input: input, close: func() { stop(); words.Close() }}
	if !h.lines.Scan() || h.lines.Text() != "held" {
		_, err := h.release()
		return nil, fmt.Errorf("client said %q: %v", h.lines.Text(), err)
	}
	return h, nil
}

// release lets the client go on, and reads its report.
func (h *holder) release() (a answer, err error) {
	defer h.close()
	h.input.Close()
	if !h.lines.Scan() {
		return a, errors.Join(errors.New("client ended without a report"), h.cmd.Wait())
	}
	return a, errors.Join(a.parse(h.lines.Bytes()), h.cmd.Wait())
}

// held measures what a client does on connections that it has made, and warmed,
// before.
func (b *bench) held(ctx context.Context, s *sample, args ...string) error {
	if err := b.calm(ctx); err != nil {
		return err
	}
	h, err := b.hold(ctx, append([]string{"-d", b.length.String()}, args...)...)
	if err != nil {
		return err
	}
	var a answer
	err = b.during(s, func() error {
		return b.profiled(ctx, func() (err error) {
			a, err = h.release()
			return err
		})
	})
	s.take(a)
	return err
}
