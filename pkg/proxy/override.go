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

// choose finds the route for the request, in every reading of its method, and says what
// is wrong with one of them. A server that looks for it in a form or in the query is
// beyond what can be known.
func (q *request) choose(routes *policy.Shortlist, m inject.Message) (d policy.Decision, wrong string) {
	d = routes.Decide(q.method, q.path)
	if !routes.NamesMethods() || !overridden(m) {
		return d, ""
	}
	for name, value := range m.Fields {
		if !slices.Contains(overrides[:], strings.ToLower(name)) {
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

// overridden reports whether there is such a field, which is rare.
func overridden(m inject.Message) bool {
	return slices.ContainsFunc(overrides[:], func(name string) bool {
		_, count := m.Field(name)
		return count > 0
	})
}
