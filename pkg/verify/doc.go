// Package verify checks requests that arrive signed: that a known key made the
// signature over these very bytes, that its time lies in the window, and that it
// was not seen before. It is for the receiving side, as `outwarden verify` and as a
// middleware for net/http:
//
//	seen, err := replay.Open(replay.Options{Path: "/var/lib/app/seen", Window: 5 * time.Minute, Skew: time.Minute, Capacity: 1 << 20})
//	v, err := verify.New(&verify.HMAC{Scheme: scheme, Keys: keys}, verify.Options{Window: 5 * time.Minute, Skew: time.Minute, Seen: seen})
//	http.ListenAndServe(addr, v.Handler(api))
//
// The order is always: signature, time, replay. So a stranger can't fill the cache,
// and a cache that is full, or whose journal can't be written, refuses.
//
// The schemes are HMAC (templates of pkg/hmacsig), HTTPSig (RFC 9421 with the
// digest of RFC 9530) and SigV4. Each refuses a signature in any but its one
// spelling, and gives the replay cache bytes that are the same for all.
//
// Traps.
//   - The whole body is read into memory before it is believed; Options.MaxBody
//     bounds that.
//   - What a scheme does not cover anybody may change. HTTPSig asks for the
//     request line and for a digest of a body; of other fields it asks what
//     Required says.
//   - A request may bear signatures of several keys. All that hold are remembered, and
//     with shared keys of a list also those that were left out, so each takes room for
//     every key. With other keys, two signatures that somebody has split between
//     two copies of a request are two requests.
//   - github's scheme has no time. Options.Timeless accepts that, and then a request
//     is refused as a replay only for as long as the cache remembers it.
package verify
