package main

import (
	"bytes"
	"os"
	"path/filepath"
)

// sizes of what nginx serves, by path.
var sizes = map[string]int{"1k": 1 << 10, "10m": 10 << 20}

// pinned makes OpenSSL's clients offer one suite, as proxies and origin do.
const pinned = `openssl_conf = o
[o]
ssl_conf = s
[s]
system_default = d
[d]
Ciphersuites = TLS_AES_128_GCM_SHA256
MinProtocol = TLSv1.3
Groups = X25519
`

// content writes what the origin serves and what clients read.
func (w *world) content() error {
	for name, size := range sizes {
		if err := os.WriteFile(w.path("www", name), bytes.Repeat([]byte("a"), size), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(w.path("openssl.cnf"), []byte(pinned), 0o644)
}

// origins starts both, for the whole run.
func (w *world) origins() error {
	conf, err := w.render("origin.conf", workload{})
	if err != nil {
		return err
	}
	if err := w.hosts(nil); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"nginx", "-c", conf, "-e", w.path("origin.log")},
		{
			filepath.Join(w.plan.programs, "origin"), "-listen", appIP + ":443", "-listen-rpc", rpcIP + ":443", "-bearer", bearer,
			"-open", openName, "-cert", w.path("origin.pem"), "-key", w.path("origin.key"),
			"-bad", badRPCName, "-bad-cert", w.path("bad.pem"), "-bad-key", w.path("bad.key"),
		},
	} {
		if err := w.background(w.origin, command{args: args}, filepath.Base(args[0])+"-origin.log"); err != nil {
			return err
		}
	}
	return nil
}

// background starts a process whose words go to a file.
func (w *world) background(r *role, c command, log string) error {
	f, err := os.Create(w.path(log))
	if err != nil {
		return err
	}
	defer f.Close()
	c.out, c.log = f, f
	cmd, err := r.start(c)
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // how it ended shows in what it serves
	return nil
}
