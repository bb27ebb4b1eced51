package trust

import (
	"slices"
	"strings"
)

// variable is one that names a file of roots.
type variable struct {
	name string
	adds bool // the file adds to the runtime's own roots instead of replacing them
	ask  bool // set only where the user had set it: the runtime reads a bound store otherwise
}

// variables in the order in which Env appends them. Those that replace get a
// whole bundle, those that add get our root alone.
var variables = [...]variable{
	{name: "SSL_CERT_FILE"},                      // OpenSSL and what stands on it, Go, Bun, rustls-native-certs, uv
	{name: "CURL_CA_BUNDLE"},                     // curl, Python requests
	{name: "REQUESTS_CA_BUNDLE"},                 // Python requests
	{name: "AWS_CA_BUNDLE"},                      // botocore, AWS SDKs
	{name: "GIT_SSL_CAINFO"},                     // git
	{name: "CARGO_HTTP_CAINFO"},                  // cargo
	{name: "PIP_CERT"},                           // pip
	{name: "NIX_SSL_CERT_FILE"},                  // programs built by Nix
	{name: "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"},   // gRPC core: C++, Python, Ruby, PHP
	{name: "HTTPLIB2_CA_CERTS"},                  // Python httplib2
	{name: "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"}, // gcloud
	{name: "PERL_LWP_SSL_CA_FILE"},               // Perl LWP
	{name: "HEX_CACERTS_PATH"},                   // Elixir's hex
	{name: "NODE_EXTRA_CA_CERTS", adds: true},    // Node, Bun, Deno
	{name: "DENO_CERT", adds: true},              // Deno
	{name: "BUNDLE_SSL_CA_CERT", ask: true},      // Ruby's bundler
	{name: "NPM_CONFIG_CAFILE", ask: true},       // npm
	{name: "npm_config_cafile", ask: true},       // npm
	{name: "YARN_HTTPS_CA_FILE_PATH", ask: true}, // Yarn
}

// Env returns the environment for a workload: environ, with each variable that
// names roots set. A file that environ named there is kept in effect: the
// variable then names a copy of it with our root added. environ is not changed.
// The error is about writing such a copy.
func (s *Store) Env(environ []string) ([]string, error) {
	out := slices.Clone(environ)
	for _, v := range variables {
		named := lookup(environ, v.name)
		if named == "" && v.ask {
			continue
		}
		path, err := s.instead(named, v)
		if err != nil {
			return nil, err
		}
		out = set(out, v.name, path)
	}
	return out, nil
}

// instead is the file to name in place of the one that was named. One that
// cannot be read did the workload no good either.
func (s *Store) instead(named string, v variable) (string, error) {
	if named != "" {
		if b, err := readPEM(named); err == nil && len(b) > 0 {
			whole := s.with(b)
			name, err := s.keep(namedPrefix+contentName(whole)+".pem", whole)
			return s.path(name), err
		}
	}
	if v.adds {
		return s.path(rootName), nil
	}
	return s.Bundle(), nil
}

// set replaces every setting of a variable by one.
func set(environ []string, name, value string) []string {
	prefix := name + "="
	environ = slices.DeleteFunc(environ, func(e string) bool { return strings.HasPrefix(e, prefix) })
	return append(environ, prefix+value)
}
