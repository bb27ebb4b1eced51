// Command client is the rig's own load client, for what wrk and h2load can't do:
// it verifies certificates, counts resumed sessions, keeps a rate, holds idle
// connections, and speaks WebSocket and gRPC. It prints one line of JSON, a
// [report]; before that, where the connections are made first, the line "held",
// and waits for one.
//
// It offers X25519 alone, as OpenSSL 3.0 does, so that proxies in Go do not pay
// for a key exchange that the others never see.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

type options struct {
	url      target
	ca       string
	mode     string
	bearer   string
	conns    int
	streams  int
	rate     int
	size     int64
	duration time.Duration
	resume   bool
	protocol string
}

// modes by name.
func modes() map[string]func(*run) error {
	return map[string]func(*run) error{
		"fresh":  (*run).fresh,
		"rate":   (*run).rate,
		"idle":   (*run).idle,
		"turns":  (*run).turns,
		"events": (*run).events,
		"socket": (*run).socket,
		"unary":  (*run).unary,
		"chat":   (*run).chat,
		"upload": (*run).upload,
		"first":  (*run).first,
		"probe":  (*run).probe,
	}
}

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func start() error {
	o := options{}
	flag.StringVar(&o.mode, "mode", "fresh", "one of "+strings.Join(slices.Sorted(maps.Keys(modes())), ", "))
	flag.Var(&o.url, "url", "https://NAME[:PORT]/PATH")
	flag.StringVar(&o.ca, "ca", "", "PEM file of the roots to trust")
	flag.StringVar(&o.bearer, "bearer", "", "send this as Authorization: Bearer")
	flag.IntVar(&o.conns, "c", 16, "connections")
	flag.IntVar(&o.streams, "m", 1, "streams per connection, in modes unary and chat")
	flag.IntVar(&o.rate, "rate", 500, "requests per second in mode rate, messages per second and connection in mode socket")
	flag.Int64Var(&o.size, "size", 10<<20, "bytes of an upload")
	flag.DurationVar(&o.duration, "d", time.Second, "how long to send")
	flag.BoolVar(&o.resume, "resume", false, "resume TLS sessions, in mode fresh")
	flag.StringVar(&o.protocol, "protocol", "http1", "http1, h2 or grpc, in mode probe")
	flag.Parse()

	mode, ok := modes()[o.mode]
	if !ok {
		return fmt.Errorf("no mode %q", o.mode)
	}
	r, err := newRun(o)
	if err != nil {
		return err
	}
	if err := mode(r); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r.report())
}

func tlsConfig(o options) (*tls.Config, error) {
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", o.ca)
	}
	c := &tls.Config{RootCAs: roots, ServerName: o.url.name, NextProtos: []string{"http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519}}
	if o.resume {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	}
	return c, nil
}
