package proxy

import (
	"slices"
	"strings"

	"github.com/outwarden/outwarden/pkg/inject"
	"github.com/outwarden/outwarden/pkg/policy"
)

// overrides are the fields by which many frameworks let a client name the method that it
// means: for them POST is then DELETE, and a route for POST alone was no limit. To who
// reads fields as CGI does, an underscore is the same.
var overrides = [...]string{
	"x-http-method-override", "x-http-method", "x-method-override",
	"x_http_method_override", "x_http_method", "x_method_override",
}

// message is a request's head, which tells quickly of such a field: it is rare.
type message interface {
	inject.Message
	overridden() bool
}

func (m headMessage) overridden() bool {
	for i := range m.x.req.Fields {
		if isOverride(m.x.req.Fields[i].Name) {
			return true
		}
	}
	return false
}

func (m streamMessage) overridden() bool {
	for i := range m.s.out {
		if isOverride(m.s.out[i].Name) {
			return true
		}
	}
	return false
}

func isOverride[T string | []byte](name T) bool {
	switch len(name) {
	case len("x-http-method"), len("x-method-override"), len("x-http-method-override"):
		return slices.Contains(overrides[:], strings.ToLower(string(name)))
	}
	return false
}

// choose finds the route for the request, in every reading of its method, and says what
// is wrong with one of them. A server that looks for it in a form or in the query is
// beyond what can be known.
func (q *request) choose(routes *policy.Shortlist, m message) (d policy.Decision, wrong string) {
	d = routes.Decide(q.method, q.path)
	if !routes.NamesMethods() || !m.overridden() {
		return d, ""
	}
	for name, value := range m.Fields {
		if !isOverride(name) {
			continue
		}
		for method := range strings.SplitSeq(value, ",") {
			if method = strings.Trim(method, " \t"); method == "" {
				continue
			}
			if either := routes.DecideEither(q.method, method, q.path); either != d {
				return either, name + " names a method that policy decides otherwise"
			}
		}
	}
	return d, ""
}
