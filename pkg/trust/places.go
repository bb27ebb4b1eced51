package trust

import (
	"os"
	"path/filepath"
	"strings"
)

// bundles are the well-known files of all roots in one, in the order in which
// Go looks for the first six (crypto/x509): Debian and Arch, RHEL up to 6, SUSE, OpenELEC,
// RHEL from 7, Alpine and the BSD-like. The rest are links or copies of those
// that OpenSSL and GnuTLS are built to read.
var bundles = [...]string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
	"/etc/pki/tls/cert.pem",
	"/etc/ca-certificates/extracted/tls-ca-bundle.pem",
	"/var/lib/ca-certificates/ca-bundle.pem",
	"/usr/lib/ssl/cert.pem",
	"/usr/local/ssl/cert.pem",
	"/usr/local/etc/openssl/cert.pem",
	"/usr/share/pki/ca-trust-legacy/ca-bundle.legacy.default.crt",
}

// keystores are where distributions and vendors put Java's cacerts.
var keystores = [...]string{
	"/etc/ssl/certs/java/cacerts",
	"/etc/pki/ca-trust/extracted/java/cacerts",
	"/etc/pki/java/cacerts",
	"/var/lib/ca-certificates/java-cacerts",
	"/etc/java/cacerts",
	"/usr/lib/jvm/*" + javaStore,
	"/usr/lib/jvm/*/jre" + javaStore,
	"/usr/java/*" + javaStore,
	"/opt/java/*" + javaStore,
	"/opt/jdk*" + javaStore,
	"/opt/*/jbr" + javaStore,
}

const javaStore = "/lib/security/cacerts"

// pythonBundles are bundles that packages bring along, below a prefix.
var pythonBundles = [...]string{
	"certifi/cacert.pem",
	"pip/_vendor/certifi/cacert.pem",
	"botocore/cacert.pem",
	"stripe/data/ca-certificates.crt",
	"httplib2/cacerts.txt",
}

// kind tells how a store is written.
type kind uint8

const (
	kindPEM kind = iota
	kindJava
)

// place is one trust store on this host, links resolved.
type place struct {
	path string
	kind kind
}

// finder collects places, each once.
type finder struct {
	seen  map[string]bool
	found []place
}

// add takes the files that match a pattern. Links are followed, because a bind
// over a link covers what it points at for everybody.
func (f *finder) add(k kind, pattern string) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return
	}
	for _, p := range paths {
		real, err := filepath.EvalSymlinks(p)
		if err != nil || f.seen[real] {
			continue
		}
		if info, err := os.Stat(real); err != nil || !info.Mode().IsRegular() {
			continue
		}
		f.seen[real] = true
		f.found = append(f.found, place{real, k})
	}
}

// find returns the stores that a workload with this environment may read.
func find(environ []string) []place {
	f := &finder{seen: make(map[string]bool)}
	for _, p := range bundles {
		f.add(kindPEM, p)
	}
	for _, p := range keystores {
		f.add(kindJava, p)
	}
	f.java(environ)
	f.python(environ)
	return f.found
}

// java looks at JAVA_HOME, at the java on PATH, and at stores that the options
// of every JVM name.
func (f *finder) java(environ []string) {
	homes := []string{lookup(environ, "JAVA_HOME"), lookup(environ, "JRE_HOME")}
	for _, dir := range filepath.SplitList(lookup(environ, "PATH")) {
		if real, err := filepath.EvalSymlinks(filepath.Join(dir, "java")); err == nil {
			homes = append(homes, filepath.Dir(filepath.Dir(real)))
		}
	}
	for _, home := range homes {
		if !filepath.IsAbs(home) {
			continue
		}
		f.add(kindJava, home+javaStore)
		f.add(kindJava, home+"/jre"+javaStore)
		f.add(kindJava, home+"/lib/security/jssecacerts") // wins over cacerts where it exists
	}
	for _, name := range []string{"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"} {
		for option := range strings.FieldsSeq(lookup(environ, name)) {
			if path, ok := strings.CutPrefix(option, "-Djavax.net.ssl.trustStore="); ok {
				f.add(kindJava, path)
			}
		}
	}
}

// python looks below each directory of PATH that may belong to an interpreter:
// PREFIX/bin, a virtual environment's bin, pyenv's shims.
func (f *finder) python(environ []string) {
	prefixes := []string{"/usr", "/usr/local", lookup(environ, "VIRTUAL_ENV"), lookup(environ, "CONDA_PREFIX")}
	if home := lookup(environ, "HOME"); home != "" {
		prefixes = append(prefixes, home+"/.local")
	}
	for _, dir := range filepath.SplitList(lookup(environ, "PATH")) {
		prefixes = append(prefixes, filepath.Dir(dir))
		if filepath.Base(dir) == "shims" {
			prefixes = append(prefixes, filepath.Dir(dir)+"/versions/*")
		}
	}
	for _, prefix := range prefixes {
		if !filepath.IsAbs(prefix) {
			continue
		}
		f.packages(prefix + "/lib/python*")
	}
	for _, b := range pythonBundles {
		f.add(kindPEM, "/usr/local/aws-cli/v2/*/dist/awscli/"+b)
	}
}

// packages looks into the libraries that a pattern finds. The pattern is resolved
// once: what it leads through are the largest directories of a host.
func (f *finder) packages(pattern string) {
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return
	}
	for _, b := range pythonBundles {
		for _, dir := range dirs {
			f.add(kindPEM, dir+"/site-packages/"+b)
			f.add(kindPEM, dir+"/dist-packages/"+b)
		}
	}
}

// lookup returns the last value of a variable, as a shell and Go would.
func lookup(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(environ[i], name+"="); ok {
			return v
		}
	}
	return ""
}
