// Package upstream makes and keeps the connections to origins: it resolves,
// dials, verifies and pools, and says of every connection what the binding
// invariant and the audit record must know (Facts).
//
// Which address is dialled. Without Key.Addr the answer of our own resolver for
// Key.Host, minus the deny ranges; with Key.Addr exactly that address (the
// original destination, on flows without a credential), where only unspecified
// addresses and our own listeners are refused. The ranges are checked on the
// resolver's answer, so that a good address of a mixed answer is still used,
// and once more in the socket's control hook, on the address that goes to
// connect(2): what is dialled is what was checked. Profile.AllowPrivate lifts
// loopback, private, unique local and shared (CGNAT) ranges; link-local,
// metadata, unspecified, multicast and reserved ones are never lifted.
//
// What is verified. TLS 1.2 or newer with AEAD suites; the chain against
// the profile's roots, or the system's; the name against Key.Host. No field turns
// that off. Beyond crypto/x509, a chain is refused if it holds an RSA key below
// 2048 bits or an MD5 or SHA-1 signature (a root's own signature aside), if the
// leaf does not name the serverAuth usage (an absent extension is a refusal
// too), if it is longer than any is, or if a local CA of ours stands in it: that
// would launder an interceptor into a good leaf.
//
// Traps.
//   - crypto/tls asks for the client certificate only after VerifyConnection
//     and the server's proof of its key, in TLS 1.2 and 1.3 alike; a test
//     holds that.
//   - A TLS 1.3 server refuses a client certificate after our handshake is
//     done: that alert is the error of the first Read; ReasonOf names it.
//   - A resumed session proves nothing anew, so sessions belong to an equal Key
//     (Key.Profile names the version of roots and certificate) and end with Retire.
//   - An idle HTTP/1 connection must be silent. Whatever is readable on it before
//     the next request (T20: a poisoned response) closes it. Post-handshake TLS
//     messages are not application data and do not.
//   - IP_BIND_ADDRESS_NO_PORT moves the choice of the source port to connect(2),
//     so EADDRNOTAVAIL may come from either call; both mean that the egress IP
//     can't be used.
//   - net.Dialer and crypto/tls know nothing of proxies: HTTPS_PROXY is ignored.
package upstream
