// Command origin is the API of the rig's workloads that nginx can't be: uploads,
// event streams, WebSocket and gRPC. Where -bearer is given, it refuses every
// request without that credential, so each answer was injected.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "origin:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	listen, listenRPC string
	cert, key         string
	bearer, open      string
	bad               badLeaf
}

// badLeaf is for the name whose certificate nobody should trust.
type badLeaf struct{ name, cert, key string }

func serve() error {
	var o options
	flag.StringVar(&o.listen, "listen", "", "address of HTTP")
	flag.StringVar(&o.listenRPC, "listen-rpc", "", "address of gRPC")
	flag.StringVar(&o.cert, "cert", "", "PEM")
	flag.StringVar(&o.key, "key", "", "PEM")
	flag.StringVar(&o.bearer, "bearer", "", "credential that requests must have")
	flag.StringVar(&o.open, "open", "", "name at which they need not")
	flag.StringVar(&o.bad.name, "bad", "", "name with a certificate of its own, in gRPC")
	flag.StringVar(&o.bad.cert, "bad-cert", "", "PEM")
	flag.StringVar(&o.bad.key, "bad-key", "", "PEM")
	flag.Parse()

	ended := make(chan error, 2)
	go func() { ended <- serveRPC(o) }()
	go func() { ended <- serveHTTP(o) }()
	return <-ended
}

func serveHTTP(o options) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /upload", upload)
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("GET /socket", socket)
	s := &http.Server{Addr: o.listen, Handler: guard(mux, "Bearer "+o.bearer, o.open), TLSConfig: secured()}
	return s.ListenAndServeTLS(o.cert, o.key)
}

// secured is TLS as nginx has it in conf/origin.conf.
func secured() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}
}

func guard(next http.Handler, authorization, open string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != open && r.Header.Get("Authorization") != authorization {
			http.Error(w, "no credential", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// upload tells how much it read.
func upload(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, n)
}
