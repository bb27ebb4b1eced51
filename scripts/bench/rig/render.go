package main

import (
	"bytes"
	"embed"
	"os"
	"text/template"
)

//go:embed conf
var confs embed.FS

// render writes a configuration from conf/ for a workload and returns its path.
func (w *world) render(name string, work workload) (string, error) {
	t, err := template.ParseFS(confs, "conf/"+name)
	if err != nil {
		return "", err
	}
	values := map[string]any{
		"Dir": w.dir, "Cores": max(w.plan.cores(), work.cores), "Bearer": bearer,
		"Listen": peerIP, "APIAddr": apiIP, "AppAddr": appIP, "BadAddr": badIP, "RPCAddr": rpcIP,
		"API": apiName, "App": appName, "Plain": plainName, "Bad": badName, "New": "*.new.bench.test",
		"RPC": rpcName, "BadRPC": badRPCName, "Scope": w.scope(), "Exes": w.exes, "Others": numbers(work.others()),
		"Synced": work.synced, "Scrub": work.scrub,
	}
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		return "", err
	}
	return w.path(name), os.WriteFile(w.path(name), b.Bytes(), 0o600)
}
