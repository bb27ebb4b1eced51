// Package proxy carries a captured connection through its seven stages, and
// does nothing else:
//
//	1 accept     listen.go, accept.go  a slot, the kernel's record of the connect, the workload's share; none: reset
//	2 identify   identify.go   the process behind it, while the client waits
//	3 sniff      sniff.go      bounded peek: TLS, HTTP/1, HTTP/2 preface, or opaque
//	             await.go      by the relay, for what it will probably carry on; the rest comes back
//	4 decide     decide.go     the connection-level decision: intercept, passthrough, deny
//	             destination.go  where what is passed through by its name really leads
//	5 terminate  terminate.go  the client's handshake
//	             reach.go      an unknown upstream: first, to mirror its ALPN, or beside the handshake
//	6 serve      per request decide, strip, inject, sign, forward, scrub
//	             HTTP/1: serve_h1.go, then head, body, message, relay, scrub, upload, upgrade;
//	             gone.go looks whether the workload still waits
//	             HTTP/2: serve_h2.go, stream_h2.go, then reach, body, message, relay, scrub, broken
//	7 record     record.go     one record per request or raw connection, on every path
//
// One value, conn, travels left to right; each stage fills its own fields and
// no stage reads a later one's. A request is a value of its own in it: exchange in
// HTTP/1, which one goroutine drives, and stream in HTTP/2, which has none: the
// readers of the workload's connection and of the upstream's take turns on it.
// What serves many streams must not wait, so whatever has to, a dial or an intent
// that must be on disk, leaves the reader for a goroutine and comes back (await).
// A connection keeps the Snapshot it began with, so that a reload never changes the
// rules in the middle of a request; it is asked to end then, so that it does not keep
// them for long (replace.go).
//
// The package never touches BPF, nftables, files or a logger: daemon hands it
// values behind the small interfaces of proxy.go.
//
// Traps. A credential may only be written by inject.Plan.Apply, which wants a
// Permit from inject.Bind; do not build a header with a secret anywhere else. What
// it returns is the only thing that an upstream connection takes (inject.Conn).
// Everything sent upstream is what policy saw: never decode, re-encode or
// re-order a target or a field. What an upstream says on a route that scrubs, interim
// heads and trailers too, reaches the workload only by way of scrub.go.
package proxy
