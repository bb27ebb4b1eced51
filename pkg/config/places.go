package config

// LoadPlaces reads only where a daemon keeps things: StateDir, RunDir and
// Capture.PinDir, with nothing else set. It is for those who must find a daemon,
// or what it left, while the rest of the file is wrong. A file that can't be
// parsed, or is wrong about these, is an error: to guess would find another
// daemon. An empty path means what it does to Load.
func LoadPlaces(path string) (*Config, error) {
	main, err := readMain(path)
	if err != nil {
		return nil, err
	}
	b := newBuilder()
	var doc document
	if tree := parseTree(&b.report, main.path, main.data); tree != nil && tree.kind != nodeNull {
		(&decoder{new(report)}).into(&doc, tree) // what else is wrong does not matter here
	}
	if doc.Capture == nil {
		doc.Capture = &captureSection{}
	}
	for _, p := range []struct {
		name string
		text text
		to   *string
	}{
		{"state_dir", doc.StateDir, &b.config.StateDir},
		{"run_dir", doc.RunDir, &b.config.RunDir},
		{"capture.pin_dir", doc.Capture.PinDir, &b.config.Capture.PinDir},
	} {
		if !p.text.ok() && !p.text.absent() {
			b.fail(p.text.at, "", "%s is no path", p.name)
		}
		b.path(p.text, p.to)
	}
	b.socketsFit(doc.RunDir)
	if _, err := b.result([]string{main.path}); err != nil {
		return nil, err
	}
	return &Config{
		Files: []string{main.path}, StateDir: b.config.StateDir, RunDir: b.config.RunDir, Capture: Capture{PinDir: b.config.Capture.PinDir},
	}, nil
}
