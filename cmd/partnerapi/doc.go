// Partnerapi is the demanding API at the far end of the demo, the tests and the
// benchmarks. It stands for a partner that asks for everything at once: a client
// certificate of its own CA, an HMAC signature with a nonce in a time window, a
// bearer token, and a source address from its allow list. What it is not given a
// flag for it does not ask for.
//
// Its verification is written apart from what signs: it shares no code with
// pkg/hmacsig, so that a mistake there can't be made twice alike.
//
//	partnerapi --init DIR                       make CA, certificates, key and token
//	partnerapi --dir DIR --listen 127.0.0.1:0   serve with all of them
//
// It prints one line, "listening on ADDR", once it accepts connections, and stops
// gracefully on SIGTERM or SIGINT.
//
// Every path demands the same and answers a JSON account of the request, but:
//
//	/echo                      the body, as it came
//	/sse?n=3&gap=50ms          n server-sent events
//	/stream?bytes=1048576      that many bytes
//	/trailers                  a body with trailer fields
//	/status?code=302&location= that status
//	/ws                        websocket echo (HTTP/1.1)
//
// A refusal is 401 (something is missing or wrong) or 403 (the source may not),
// with the reason in JSON. A certificate of another CA is a TLS alert.
package main
