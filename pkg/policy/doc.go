// Package policy decides by who is calling and what is called. It is pure: no
// I/O, no clock, no state beyond the routes it was made from. A [Policy] is
// immutable and safe for use by many goroutines.
//
// Routes are tried in the order of the file and the first that matches decides.
// Inside a route From and To are conjunctions, and a list inside them is a
// choice; an empty list asks for nothing. What a route asks for and the process
// or the request does not tell is no match: nothing is guessed.
//
// A host is what the workload says: the name in its ClientHello or Host, else the
// address that it connects to. What is said proves nothing, so a route that denies
// an address or a network also denies what goes there under a name, and who passes on
// what a name decided has to ask [Policy.ByName].
//
// [Policy.Connection] decides before anything is decrypted, [Policy.Decide] each
// request. A connection on which some request could meet a route that looks at
// methods or paths is intercepted, for only then can that be seen.
//
// Traps:
//
//   - A Decision says what the routes say. What then happens is
//     [Decision.Effective], which takes the route's mode into account.
//   - A request is refused with [flow.ReasonPathAmbiguous] as soon as a route
//     that would have to match its path is met, deny routes too; see
//     [match.Path.Ambiguous].
//   - Methods are compared without case. A server that takes "delete" for DELETE
//     is then denied it, and one that does not refuses "get" by itself.
//   - Of a request that names another method in a field (X-HTTP-Method-Override)
//     [Shortlist.DecideEither] decides. A form may name one too (_method), and
//     nobody looks there: what a route allows is safe only as far as its server
//     does not either.
//
// Routes are indexed by host, so the cost of a decision grows with the routes
// that name that host and those that name none, not with all routes. Deciding
// does not allocate.
package policy
