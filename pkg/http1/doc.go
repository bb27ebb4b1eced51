// Package http1 reads HTTP/1.0 and HTTP/1.1 messages strictly, without
// allocating, and keeps every byte as it was written.
//
// Parse takes the head of a message apart; the parts alias the caller's
// buffer. Append writes the head again, with some fields dropped and some
// added and all other bytes as they were; with nothing to edit that is one
// copy. Body follows the framing of the content and validates it while the
// raw bytes, chunk lines and trailers included, pass on as they are.
//
// The grammar is that of RFC 9112, RFC 9110 and RFC 3986. Where those allow a
// recipient to be lenient, this package refuses, because a request that two
// readers understand differently must not carry a credential:
//
//   - Content-Length and Transfer-Encoding never together; one Content-Length,
//     one number, no leading zeros. Transfer-Encoding is "chunked" and no more,
//     and not in HTTP/1.0.
//   - CRLF ends every line. No folding. No whitespace around a field name.
//   - No control byte in a value except HTAB; no byte above 0x7f in a name or
//     a target. A query may hold what the URL standard of the browsers leaves
//     unencoded in one, and what libcurl does: brackets, braces, bars, quotes, and
//     the like.
//   - One CRLF before a request line is skipped, nothing else is.
//   - Exactly one Host, which names one host (also in HTTP/1.0). An absolute
//     target has the scheme http or https, no userinfo, and the same authority.
//   - A chunk size has at most 16 hex digits; the extensions of one chunk at
//     most 4 KiB.
//   - A trailer does not frame, route or authenticate.
//   - Expect is "100-continue" or absent: servers disagree about all else.
//   - Connection does not name a field that frames or routes.
//
// Path rules (dot segments, %2f) are not looked at here: they matter only
// where a route matches on the path.
//
// Traps. All slices of a Request or a Response alias the buffer given to Parse
// and die with it. Parse keeps no state between calls: after "need more" it is
// called again with all bytes from the start of the message, and not before Again says
// that this is worth it. A head that comes byte by byte is then read at most MaxFields
// times and some, instead of once for each byte.
package http1
