// Package scrub takes secrets out of responses. An API may send back what it was
// sent: in an error page, in a redirect, in an echo of the request. The workload
// must not learn its credential that way.
//
// A secret may come back as it is or written in another way, and each way is a
// form: a small graph whose edges are pieces of text (form.go). One form holds
// the plain bytes, of which each may be percent-encoded, escaped as in JSON or
// written as an HTML entity, in any mixture; others hold base64 at each of the three
// places in a group of three bytes, in both alphabets, hexadecimal, and UTF-16. Filter is
// made of all of them once, when a configuration is loaded.
//
// Stream looks for them in text that comes in pieces. Nearly all text is passed
// over without being looked at byte by byte: three bytes that stand in no form rule
// out all places in front of them at once (skip.go). What is left is followed
// through the graphs (match.go). The leftmost match counts, and of those that begin
// there the longest. Only what may still become a match is kept back, and Pause
// lets go even of that when nothing more comes; if it was a secret after all, the
// rest of it is taken out.
//
// Body does the same for content with a Content-Encoding: it decodes, scrubs and
// encodes anew, within bounds (body.go, coding.go). Frames does it for messages with
// their lengths in front, as gRPC and WebSocket have (frames.go).
//
// Limits. A secret shorter than MinLength is not looked for: it would be found
// where it is not. Not seen are text that was encoded twice, base64 that is broken
// into lines, a secret that is spread over two messages, and one of which the response
// holds a part only. Of one that is spread over two frames of a message of a WebSocket,
// the part in the first frame is not taken out. What a match is replaced by stands in plain text, whatever the
// form. A secret that stands within a larger base64 text goes, and the rest of that
// text stays, with four bits of the secret at most. A decoder holds a window of 8 MiB
// (zstd) or 16 MiB (br) at most, and content that grows to more than 256 times what
// came, beyond the first MiB, is given up.
//
// Traps. What the methods of Stream and Body return is valid until the next call.
// A Body that is not closed must be stopped, or its decoder stays forever.
package scrub
