// Package wire is a TCP connection as a proxy that speaks TLS on it needs it. It
// lies beneath crypto/tls, or is used bare, and does three things that a net.Conn
// does not.
//
// Feeding. crypto/tls reads and writes one record of 16 KiB at a time, and each
// takes its own way through the kernel, as do the acknowledgements of it. While one
// connection feeds another (Feed), it reads ahead in pieces of 256 KiB, and the
// other gathers what is written to it until the first has nothing to read: then,
// before it waits, all that was gathered leaves at once. So nothing is ever held
// while anybody waits for it, an event stream included.
//
// Silence. A pooled connection must be silent before the next request: whatever
// is readable on it then would be taken for the answer. Silent tells, without a
// wait, whether it is, and lets TLS have what is not application data.
//
// Memory. Buffers are pooled and held only while there is something in them.
//
// Traps. A Conn has one reader and any number of writers. Reader and writers may
// run beside each other, and a feed belongs to the reader that it began with.
// What is written to a connection that is being fed counts as written; an error
// shows with a later Write, Starve, or Read of what feeds it.
package wire
