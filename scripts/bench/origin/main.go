// Command origin is the API of the rig's workloads that nginx can't be: it reads
// uploads to their end. Where -bearer is given, it refuses every request without
// that credential, so each answer with 200 was injected.
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

func serve() error {
	listen := flag.String("listen", "", "address")
	cert := flag.String("cert", "", "PEM")
	key := flag.String("key", "", "PEM")
	bearer := flag.String("bearer", "", "credential that requests must have")
	open := flag.String("open", "", "name at which they need not")
	flag.Parse()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /upload", upload)
	s := &http.Server{
		Addr: *listen, Handler: guard(mux, "Bearer "+*bearer, *open),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}},
	}
	return s.ListenAndServeTLS(*cert, *key)
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
