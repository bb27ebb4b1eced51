package main

import "path/filepath"

// library is a Go library in a small program of ours, in ../peers.
type library struct{ program string }

func (l library) name() string { return l.program }
func (l library) local() bool  { return true }

// does leaves out what the library can't do.
func (l library) does(w workload) bool {
	return w.kind == terminate && (l.program != "fasthttp" || w.protocol == http1 && !w.live)
}

func (l library) command(w *world, _ workload) ([]string, error) {
	args := []string{
		filepath.Join(w.plan.programs, l.program), "-listen", address(), "-bearer", bearer,
		"-cert", w.path("peer.pem"), "-key", w.path("peer.key"), "-ca", w.path("origin-ca.pem"),
	}
	for name, ip := range map[string]string{apiName: apiIP, appName: appIP, badName: badIP, rpcName: rpcIP, badRPCName: rpcIP} {
		args = append(args, "-origin", name+"="+ip+":443")
	}
	return args, nil
}
