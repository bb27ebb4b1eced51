package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/outwarden/outwarden/pkg/audit"
	"github.com/outwarden/outwarden/pkg/replay"
	"github.com/outwarden/outwarden/pkg/verify"
)

// verifyFlags are the settings of one verification.
type verifyFlags struct {
	signature schemeFlags
	window    time.Duration
	skew      time.Duration
	seen      string
	capacity  int
	timeless  bool
	http      bool
	at        string
}

func newVerifyCmd(e *env) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Check the signature of a request that was received; exit 1 if it does not hold",
		Long: `Check the signature of a request that was received: that the key made it over these very
bytes, that its time lies in the window and, with --seen, that it was not seen before. The
request is read from FILE or from stdin as HTTP/1.1 has it, head and body. Exit 1 if any of it
does not hold.

Schemes: knoxcall, github, stripe, slack, standard-webhooks, httpsig (RFC 9421), sigv4 (AWS).

--seen PATH keeps what was accepted in files of that prefix, over restarts. What was signed
before the first use of PATH, or up to --skew after it, is refused: nobody can tell whether it
is new. What can't be written down is refused too.`,
		Example: `  outwarden verify --scheme stripe --key whsec.txt delivery.http
  outwarden verify --scheme knoxcall --key hmac.key --seen /var/lib/app/seen < request.http
  outwarden verify --scheme httpsig --key partner.pub.pem --algorithm ed25519 --key-id partner-1 request.http
  outwarden verify --scheme sigv4 --key aws.secret --access-key AKIAIOSFODNN7EXAMPLE -o json request.http`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			endBySignal()
			if err := f.signature.check(cmd.Flags()); err != nil {
				return err
			}
			return f.run(cmd.Context(), e, args)
		},
	}
	f.signature.register(cmd.Flags())
	f.register(cmd.Flags())
	return cmd
}

func (f *verifyFlags) register(flags *pflag.FlagSet) {
	flags.DurationVar(&f.window, "window", 5*time.Minute, "how old a signature may be")
	flags.DurationVar(&f.skew, "skew", time.Minute, "how far its time may lie ahead")
	flags.StringVar(&f.seen, "seen", "", "path prefix of the journal of what was accepted; without it replays are not looked for")
	flags.IntVar(&f.capacity, "capacity", 1<<16, "how many signatures and nonces the journal holds in one window")
	flags.BoolVar(&f.timeless, "timeless", false, "accept a scheme that signs no time, as github")
	flags.BoolVar(&f.http, "http", false, "the request came in clear text: RFC 9421 signs the scheme")
	flags.StringVar(&f.at, "at", "", "the time to take for now, as 2026-01-31T12:00:00Z or unix seconds")
}

func (f *verifyFlags) run(ctx context.Context, e *env, args []string) error {
	if f.window <= 0 || f.skew < 0 || f.capacity <= 0 {
		return usageError{errors.New("--window and --capacity are more than nothing, --skew is no less"), "see: outwarden verify --help"}
	}
	now, err := parseAt(f.at)
	if err != nil {
		return err
	}
	scheme, err := f.signature.scheme(ctx)
	if err != nil {
		return err
	}
	request, err := readRequest(e, args, f.http)
	if err != nil {
		return err
	}
	seen, err := f.open(now)
	if err != nil {
		return err
	}
	proof, refused := f.verify(scheme, seen, request, now)
	if seen != nil {
		if damage := seen.Damage(); damage != nil {
			fmt.Fprintf(e.stderr, "outwarden: warning: %v; it was put aside, and what was signed until now is refused\n", damage)
		}
		err = seen.Close()
	}
	return errors.Join(printProof(e, proof, refused, f.seen != "", now), err)
}

// open opens the journal; nil without one.
func (f *verifyFlags) open(now time.Time) (*replay.Cache, error) {
	if f.seen == "" {
		return nil, nil
	}
	return replay.Open(replay.Options{Path: f.seen, Window: f.window, Skew: f.skew, Capacity: f.capacity, Sync: true, Now: now})
}

func (f *verifyFlags) verify(s verify.Scheme, seen *replay.Cache, r *verify.Request, now time.Time) (verify.Proof, error) {
	v, err := verify.New(s, verify.Options{
		Window: f.window, Skew: f.skew, Seen: seen, Timeless: f.timeless, Now: func() time.Time { return now },
	})
	if err != nil {
		return verify.Proof{}, err
	}
	return v.Verify(r)
}

func parseAt(text string) (time.Time, error) {
	if text == "" {
		return time.Now(), nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usageError{fmt.Errorf("time %q is not understood", text), "--at 2026-01-31T12:00:00Z, or unix seconds"}
	}
	return t.UTC(), nil
}

// proofResult is what -o json prints.
type proofResult struct {
	OK     bool       `json:"ok"`
	Reason string     `json:"reason,omitempty"`
	Scheme string     `json:"scheme,omitempty"`
	KeyID  string     `json:"key_id,omitempty"`
	Time   *time.Time `json:"time,omitempty"`
	Nonce  string     `json:"nonce,omitempty"`
	Replay string     `json:"replay"` // "refused" or "not looked for"
}

func printProof(e *env, p verify.Proof, refused error, remembered bool, now time.Time) error {
	r := proofResult{OK: refused == nil, Scheme: p.Scheme, KeyID: p.KeyID, Nonce: p.Nonce, Replay: "not looked for"}
	if remembered {
		r.Replay = "refused"
	}
	if !p.Time.IsZero() {
		at := p.Time.UTC()
		r.Time = &at
	}
	if refused != nil {
		r.Reason = refused.Error()
	}
	if e.json() {
		if err := writeJSON(e.stdout, r); err != nil || r.OK {
			return err
		}
		return exitError{nil, exitFailed}
	}
	if refused != nil {
		return exitError{fmt.Errorf("refused: %w", refused), exitFailed}
	}
	return r.print(e, now)
}

func (r *proofResult) print(e *env, now time.Time) error {
	mark := painter{e.colour()}.in(green, "ok:")
	_, err := fmt.Fprintf(e.stdout, "%s %s signature by key %q", mark, r.Scheme, r.KeyID)
	if r.Time != nil {
		fmt.Fprintf(e.stdout, ", made %s (%s ago)", r.Time.Format(time.RFC3339), now.Sub(*r.Time).Round(time.Second))
	}
	if r.Nonce != "" {
		fmt.Fprintf(e.stdout, ", nonce %s", audit.Printable(r.Nonce)) // it came with the request
	}
	fmt.Fprintf(e.stdout, "; replays are %s\n", r.Replay)
	return err
}

// input opens FILE, or is stdin.
func input(e *env, args []string) (io.ReadCloser, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(e.stdin), nil
	}
	return os.Open(args[0])
}
