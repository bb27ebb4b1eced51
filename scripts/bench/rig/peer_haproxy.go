package main

// haproxy is Debian's, with http and for passthrough with tcp and splice.
type haproxy struct{}

func (haproxy) name() string       { return "haproxy" }
func (haproxy) local() bool        { return true }
func (haproxy) does(workload) bool { return true }

func (haproxy) command(w *world, work workload) ([]string, error) {
	conf := "haproxy.cfg"
	if work.kind == pass {
		conf = "haproxy-tcp.cfg"
	}
	path, err := w.render(conf, work)
	return []string{"haproxy", "-db", "-f", path}, err
}
