// Package hmacsig signs a request with a shared key, and verifies such a
// signature. It is pure: no clock, no network; only NewNonce reads randomness.
//
// There are two ways in. A Scheme is the preset "knoxcall" with the body's digest
// already known. A TemplateScheme is compiled from a Template, a text with
// variables; it signs the body itself and has presets for github, stripe, slack,
// standard-webhooks and knoxcall.
//
// Knoxcall's string to sign is these lines, joined by a
// single LF, without one at the end:
//
//	METHOD                       as in the request line, case kept
//	/path?query                  the target's bytes as they are sent: never decoded,
//	                             re-ordered or re-encoded; "?" with an empty query stays
//	content-type:VALUE           the field's value without the white space around it
//	x-timestamp:UNIXSECONDS      decimal
//	x-nonce:NONCE                this line only if a nonce is signed
//	HEX                          SHA-256 of the body's bytes, lower case; an empty
//	                             body has the digest of nothing
//
// A request without a Content-Type has the line "content-type:" with nothing
// after the colon. The line is never left out, so that the count of lines tells
// whether there is a nonce and no other request signs alike. The name before the
// colon is lower case and no space follows it.
//
// The signature is HMAC-SHA256 over those bytes with the key's bytes as they
// are. It travels as X-Timestamp, X-Nonce (if there is one) and
// X-Signature: sha256=<64 lower-case hex digits>.
//
// Traps. The body digest is of what is sent, after content coding and without
// transfer coding. Verify tells whether the key made the signature; whether the
// time lies in a window and whether the nonce was seen before is for the caller.
// An Input with a line break in it would sign like another request: Check it.
// A template whose variables are not kept apart by its text ("{method}{path}")
// signs two requests alike: put a byte between them that neither can hold. Of a nonce
// Verify sees to that, as it comes with the request.
package hmacsig
