// Package clienthello looks at the first message of a TLS connection without
// consuming it: who the client asks for (SNI), what it would speak (ALPN), and
// whether it hides the name (ECH). A Conn replays what was peeked.
//
// Parse takes the bytes from the start of the TCP stream. The message may be
// spread over any number of records (RFC 8446 section 5.1) and a post-quantum
// key share puts the name far behind, so nothing is assumed about where the
// name is; the work is linear in the bytes, and MaxSize bounds those.
//
// A name that no certificate could be made for is an error, not an empty name:
// an empty ServerName means that the client sent none, or the Address that it connects
// to instead. Whether it does, who knows the connection has to see.
//
// Traps. ECH is also true for GREASE ECH, which browsers send always; the
// ServerName beside it is then the real one, otherwise the public name of the
// client-facing server. Versions, ALPN and Shares hold GREASE values (RFC 8701) no
// more: they are left out. Parse keeps no state: it is called again with all
// bytes whenever more have come. A Conn is not safe for concurrent reads.
package clienthello
