package main

// nginx is Debian's, with http and for passthrough with stream and ssl_preread.
type nginx struct{}

func (nginx) name() string       { return "nginx" }
func (nginx) local() bool        { return true }
func (nginx) does(workload) bool { return true }

func (nginx) command(w *world, work workload) ([]string, error) {
	conf := "nginx.conf"
	if work.kind == pass {
		conf = "nginx-stream.conf"
	}
	path, err := w.render(conf, work)
	return []string{"nginx", "-c", path, "-e", w.path("nginx.log")}, err
}
