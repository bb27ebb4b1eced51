package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// routesDir lies beside the main file; its *.yaml files hold routes and secrets.
const routesDir = "routes.d"

// ErrRead means that the main file could not be read at all.
var ErrRead = errors.New("read configuration")

// Load reads the file at path, then routes.d/*.yaml beside it in lexical order,
// and validates all of it. An empty path is DefaultPath. A DefaultPath that does
// not exist is an empty file.
//
// The error is Errors where files could be read but not used. Warnings come only
// with a configuration.
func Load(path string) (*Config, []Warning, error) {
	main, err := readMain(path)
	if err != nil {
		return nil, nil, err
	}
	more, err := readRoutes(filepath.Join(filepath.Dir(main.path), routesDir))
	if err != nil {
		return nil, nil, fmt.Errorf("read routes: %w", err)
	}
	return load(append([]source{main}, more...))
}

// source is one file.
type source struct {
	path    string
	data    []byte
	warning string // "": it is as it should be
	unread  bool   // there is only the warning
}

// readMain reads the main file: at DefaultPath if path is empty, where there need not
// be one.
func readMain(path string) (source, error) {
	if path == "" {
		path = DefaultPath
	}
	data, err := readFile(path)
	if err != nil && (path != DefaultPath || !errors.Is(err, fs.ErrNotExist)) {
		return source{}, fmt.Errorf("%w: %w", ErrRead, err)
	}
	main := source{path: path, data: data}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && othersWrite(info) {
		main.warning = "file can be written by everyone, who so can have every credential: chmod o-w " + path
	}
	return main, nil
}

// readFile reads no more than it takes to see that a file is too large: it may have
// no end, as /dev/zero.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

func readRoutes(dir string) ([]source, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := ours(dir); err != nil {
		return nil, err
	}
	var files []source
	for _, entry := range entries { // sorted by name
		path := filepath.Join(dir, entry.Name())
		switch {
		case entry.IsDir():
		case filepath.Ext(path) == ".yml":
			files = append(files, source{path: path, warning: "file is not read: its name does not end in .yaml", unread: true})
		case filepath.Ext(path) == ".yaml":
			data, err := readOurs(path)
			if err != nil {
				return nil, err
			}
			files = append(files, source{path: path, data: data})
		}
	}
	return files, nil
}

// readOurs reads a file that not everyone could have put routes into.
func readOurs(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case othersWrite(info):
		return nil, fmt.Errorf("%s can be written by everyone (try: chmod o-w %s)", path, path)
	}
	return readFile(path)
}

// ours refuses a directory that another user could have put beside the file, as
// anyone can in /tmp.
func ours(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d, neither to root nor to us", dir, st.Uid)
	}
	if othersWrite(info) {
		return fmt.Errorf("%s can be written by everyone (try: chmod o-w %s)", dir, dir)
	}
	return nil
}

func othersWrite(info fs.FileInfo) bool { return info.Mode().Perm()&0o002 != 0 }

// load decodes every file before anything is checked, so that one run shows all
// that is wrong.
func load(files []source) (*Config, []Warning, error) {
	b := newBuilder()
	for i, file := range files {
		if file.warning != "" {
			b.warn(Position{File: file.path}, "%s", file.warning)
		}
		if file.unread {
			continue
		}
		b.config.Files = append(b.config.Files, file.path)
		var doc document
		tree := parseTree(&b.report, file.path, file.data)
		blank := tree == nil || tree.kind == nodeNull
		if !blank {
			(&decoder{&b.report}).into(&doc, tree)
		}
		b.config.Blank = blank && i == 0 || b.config.Blank
		if i > 0 {
			b.routesOnly(&doc)
		}
		b.documents = append(b.documents, &doc)
	}
	b.build()
	warnings, err := b.result(b.config.Files)
	if err != nil {
		return nil, warnings, err
	}
	return &b.config, warnings, nil
}

// routesOnly keeps settings of the host in the one main file.
func (b *builder) routesOnly(doc *document) {
	const hint = "routes.d holds routes and secrets; the rest stands in the main file"
	for key, at := range map[string]Position{
		"default": doc.Default.at, "state_dir": doc.StateDir.at, "run_dir": doc.RunDir.at, "drain": doc.Drain.at,
		"capture": at(doc.Capture), "dns": at(doc.DNS), "audit": at(doc.Audit), "authority": at(doc.Authority),
	} {
		if !at.IsZero() {
			b.fail(at, hint, "%s cannot be set here", key)
		}
	}
}

// at is the place of an optional section.
func at[T interface{ place() Position }](section T) Position { return section.place() }

func (c *captureSection) place() Position {
	if c == nil {
		return Position{}
	}
	return c.At
}

func (s *authoritySection) place() Position {
	if s == nil {
		return Position{}
	}
	return s.At
}

func (s *dnsSection) place() Position {
	if s == nil {
		return Position{}
	}
	return s.At
}

func (s *auditSection) place() Position {
	if s == nil {
		return Position{}
	}
	return s.At
}
