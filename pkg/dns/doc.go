// Package dns resolves the names of upstreams: /etc/hosts first, then the servers
// of /etc/resolv.conf or configured ones, both files re-read when they change.
//
// The answer decides where a credential goes, so it is read narrowly: a message
// counts only if identifier and question are the ones sent, from a fresh random
// port; an address counts only if the chain of CNAMEs leads to it from the name
// asked for. What cannot be read is waited past on UDP, for it may be forged, and
// an error on TCP.
//
// Lookups under way are bounded, and shared out among those who ask: their names, and
// how long a server takes for them, are up to whoever is intercepted.
//
// Traps.
//   - Search lists are not applied: a route's host is a whole name, and which
//     suffix answers first would be up to whoever controls one of them.
//   - Names that inet_aton would take for an address (0x7f.1, 2130706433) have no
//     canonical form and are not found, whatever a server would say.
//   - Times to live are kept between 1 s and 5 min: an answer that says 0 is
//     still used for a second, so that it is one answer for one request.
//   - Knows is for who may not wait. Where it says no, Lookup tells.
//   - Deny ranges are not judged here; pkg/upstream does, on what it dials.
package dns
