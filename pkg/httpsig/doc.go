// Package httpsig signs and verifies HTTP messages by RFC 9421 (HTTP Message
// Signatures), with the digests of RFC 9530. It is pure: no clock and no
// network; only RSA-PSS, ECDSA and NewNonce read randomness.
//
// A Message is values: method, target, fields as they are on the wire. The
// signature base is built from it and from the covered Components; each of the
// derived components of RFC 9421 section 2.2 is known, and the parameters sf, key,
// bs, tr, req and name.
//
// What the RFC leaves open is decided so:
//   - @authority and @target-uri have a lower-case host and no default port.
//   - @query-param refuses a name that occurs twice, and bytes that are no UTF-8.
//   - ;sf works on fields whose type is known (fieldTypes, Message.Types) alone.
//   - a value with a line break or a byte beyond ASCII is refused, except by ;bs.
//   - a component that is named twice, parameters in any order, is refused.
//   - a signature of more than 64 components is not verified: each is looked for before
//     anybody knows who signed.
//   - an algorithm belongs to the key. The alg parameter may repeat it and never
//     chooses it.
//
// Traps.
//   - A signature says nothing of what it does not cover: Policy.Required holds what
//     must be. A body is covered by its Content-Digest alone, and only if the
//     digest is compared to the body (CheckDigest).
//   - ECDSA signatures have a twin that verifies too. Verified.Canonical is the
//     same for both; give that to a replay cache, never the bytes that came.
//   - The keys of RFC 9421 appendix B are public: ExampleKey knows them.
package httpsig
