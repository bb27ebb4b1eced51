// Package edge is what the Go peers share: flags, the leaf, and the verified way
// to each origin.
package edge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
)

// Edge is a peer's two sides.
type Edge struct {
	Listener net.Listener // TCP
	Server   *tls.Config  // towards clients
	Roots    *x509.CertPool
	Bearer   string // the credential to inject, as the value of Authorization
	Origins  Origins
}

// Origins maps names to addresses.
type Origins map[string]string

func (o Origins) String() string { return "" }

// Set adds NAME=ADDRESS.
func (o Origins) Set(s string) error {
	name, addr, ok := strings.Cut(s, "=")
	if !ok {
		return errors.New("want NAME=ADDRESS")
	}
	o[name] = addr
	return nil
}

// Open reads the flags.
func Open(protocols ...string) (*Edge, error) {
	e := &Edge{Origins: Origins{}}
	listen := flag.String("listen", "", "address")
	cert := flag.String("cert", "", "leaf, PEM")
	key := flag.String("key", "", "its key, PEM")
	ca := flag.String("ca", "", "roots of the origins, PEM")
	token := flag.String("bearer", "", "token to inject")
	flag.Var(e.Origins, "origin", "NAME=ADDRESS, several times")
	flag.Parse()

	leaf, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(*ca)
	if err != nil {
		return nil, err
	}
	e.Roots = x509.NewCertPool()
	if !e.Roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", *ca)
	}
	e.Bearer = "Bearer " + *token
	e.Server = &tls.Config{Certificates: []tls.Certificate{leaf}, NextProtos: protocols}
	e.Listener, err = net.Listen("tcp", *listen)
	return e, err
}

// Client is the TLS configuration towards the origin of a name; "" leaves the
// name to whoever dials.
func (e *Edge) Client(name string) *tls.Config {
	return &tls.Config{RootCAs: e.Roots, ServerName: name, ClientSessionCache: tls.NewLRUClientSessionCache(256)}
}
