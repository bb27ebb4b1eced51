// Package match owns the one grammar of patterns: hosts, request paths, and
// globs for executables, units and cgroups. It does no I/O and imports only the
// standard library. No Match allocates.
//
// # Hosts
//
//	api.example.com    that name, in any case, with or without the root's dot
//	*.example.com      every name below it, one label or more; not example.com
//	192.0.2.1          that address
//	2001:db8::1        the same, also written [2001:db8::1]
//	192.0.2.0/24       every address of the network
//	*                  anything, an unknown host too
//
// Hosts are compared in canonical form, see [CanonicalHost]. A name that ends in
// a number, as 127.1 or 0x7f.1 or 2130706433, is neither a name nor an address:
// resolvers differ on what it means, so it is refused.
//
// # Paths and globs
//
//   - any bytes within a segment, none too
//     **    any number of segments, zero too; it stands as a whole segment
//
// Segments are what lies between slashes, so /api/** matches /api, /api/ and
// /api/v1/x, and /v1/*/items matches /v1/7/items but not /v1/7/8/items. Every
// other byte stands for itself; ? [ ] { } are refused, so that a habit from
// another grammar is an error and not a pattern that never matches. In a glob,
// \ stands for itself: systemd writes unit names with it.
//
// A path is matched on the bytes of the request and never decoded. That is sound
// only where all servers read those bytes alike, so a route that matches on the
// path first asks [Path.Ambiguous] and refuses. Several slashes in a row are a path
// of their own to an object store and one slash to most others: such a path is decided
// where the pattern says the same of both. What no intermediary can know stays
// open: a server that ignores case, or folds Unicode, sees /ADMIN as /admin. A
// list of what is allowed is safe there, a list of what is denied is not.
package match
