// Package h2 is one HTTP/2 connection (RFC 9113), either end of it, as an
// engine of events for an intercepting relay. Field sections are HPACK fields in
// the order in which they came (RFC 7541); no net/http stands between.
//
// The model. Conn.Serve is the connection's one lasting goroutine. It reads what
// there is, takes every whole frame out of it, and calls the stream's Handler for
// each thing that happened. A Handler must not wait, so the next stream's frames
// are never held up. What it writes, on this connection or another, goes into
// that connection's buffer, and a Batch notes which connections were written to.
// When the reader has no whole frame left it flushes the batch: the frames of
// many streams leave in one write, which is one TLS record. The write is done by
// a goroutine that lives while there is something to write, so two relays never
// wait for each other's reader, and an idle connection has no writer and no
// buffer.
//
// Who must wait (a dial, the digest of a body) leaves the Handler and goes on in
// a goroutine of its own. Every method of Stream and Conn may be called from
// any goroutine; with a nil Batch it flushes at once.
//
// Backpressure. Stream.Write takes all it is given: what the peer's windows and
// the buffer have room for leaves now, the rest is kept and reported by Room
// events as it leaves. Whoever feeds one stream from another calls
// Stream.Consumed for what has left and for no more; only then is the sender's
// window opened again. So a stream never holds more than Options.StreamWindow and
// a connection never more than Options.ConnWindow, however slow the other side
// is. The window of a stream that is consumed as it comes may grow, for a peer that
// is far away, within what Options.Growth allows all of them.
//
// Time. The engine ends connections that are idle or stalled. How long a handler
// waits for a message it alone can know: Tick events tell it that time passes.
//
// A message is complete or it is an error. Content-Length is held against the
// DATA that came (RFC 9113 section 8.1.1); a message that is cut short, too long
// or malformed ends in a Closed event and never in one with End set.
//
// Frames are taken apart in the read buffer here and not by http2.Framer, which
// wants to block in a Reader, copies each payload and allocates for each field
// section. HPACK's encoder and Huffman code are x/net's; see decoder for the rest.
//
// Traps. Slices in an Event are only valid during the call; strings may be kept.
// Room and Closed events may come from another goroutine than the reader's, also
// while the handler of the stream's other events runs. After Reset no Closed comes,
// but an event that was under way still may. The fields given to Open, WriteHead
// and WriteTrailers are sent as they are: whoever adds one that did not come from a
// Conn asks http1.ValidName and http1.ValidValue first, and writes the name in
// lower case.
package h2
