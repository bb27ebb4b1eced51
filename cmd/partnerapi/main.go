package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	listen    string
	dir       string
	cert, key string
	clientCA  string
	hmacKey   string
	bearer    string
	nonce     string
	window    time.Duration
	nonces    int
	maxBody   int64
	readyFD   int
	allow     []netip.Prefix
	init      string
	names     []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings given. It returns the exit code: 0 done, 1
// failed, 2 usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "partnerapi: error: %v\npartnerapi: hint: --help lists the flags\n", err)
		return 2
	}
	if o.init != "" {
		err = initialise(o.init, o.names, time.Now())
	} else {
		err = serve(ctx, o, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "partnerapi: error: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("partnerapi", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.listen, "listen", "127.0.0.1:8443", "`address` to listen on; port 0 takes a free one")
	f.StringVar(&o.dir, "dir", "", "take every file that is not named from this `directory`, as --init made it")
	f.StringVar(&o.cert, "cert", "", "server certificate, PEM `file`")
	f.StringVar(&o.key, "key", "", "server key, PEM `file`")
	f.StringVar(&o.clientCA, "client-ca", "", "demand a client certificate of the CA in this PEM `file`")
	f.StringVar(&o.hmacKey, "hmac-key", "", "demand a signature with the key in this `file`")
	f.StringVar(&o.bearer, "bearer", "", "demand the bearer token in this `file`")
	f.Func("allow", "allow this source `network` (repeatable; none: all)", o.addAllow)
	f.StringVar(&o.nonce, "nonce", "required", "a nonce in the signature is `required` or optional")
	f.DurationVar(&o.window, "window", 5*time.Minute, "how far a timestamp may be from now")
	f.IntVar(&o.nonces, "nonces", 1<<20, "remember this many nonces per two windows; more are refused")
	f.Int64Var(&o.maxBody, "max-body", 64<<20, "largest body, in bytes, where a signature is demanded")
	f.IntVar(&o.readyFD, "ready-fd", 0, "write the \"listening on\" line to this descriptor too, then close it")
	f.StringVar(&o.init, "init", "", "make a CA, certificates, HMAC key and token in this `directory`, and stop")
	f.Func("name", "with --init: `name` or address of the server certificate (repeatable)", o.addName)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, o.complete()
}

func (o *options) addAllow(s string) error {
	if addr, err := netip.ParseAddr(s); err == nil {
		o.allow = append(o.allow, netip.PrefixFrom(addr, addr.BitLen()))
		return nil
	}
	prefix, err := netip.ParsePrefix(s)
	o.allow = append(o.allow, prefix)
	return err
}

func (o *options) addName(s string) error {
	o.names = append(o.names, s)
	return nil
}

// complete fills file names from --dir and refuses what can't work.
func (o *options) complete() error {
	if o.dir != "" {
		for _, f := range []struct {
			to   *string
			name string
		}{{&o.cert, serverCert}, {&o.key, serverKey}, {&o.clientCA, caCert}, {&o.hmacKey, hmacKey}, {&o.bearer, bearerToken}} {
			if *f.to == "" {
				*f.to = filepath.Join(o.dir, f.name)
			}
		}
	}
	switch {
	case o.nonce != "required" && o.nonce != "optional":
		return fmt.Errorf("--nonce is %q, not required or optional", o.nonce)
	case o.window <= 0 || o.nonces <= 0 || o.maxBody <= 0:
		return errors.New("--window, --nonces and --max-body must be above zero")
	case o.init == "" && (o.cert == "" || o.key == ""):
		return errors.New("--cert and --key are needed, or --dir")
	}
	return nil
}
