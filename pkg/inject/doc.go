// Package inject puts credentials on a request, and holds the one function that
// says whether it may.
//
// The binding invariant. Bind looks at an Evidence, every fact of which somebody
// observed, and gives a Permit or a reason. A client certificate and an egress IP
// are identities as much as a credential is, so a route that has one of them alone
// is judged too. It asks that
//
//  1. the kernel named the caller at connect();
//  2. the method is not TRACE, OPTIONS or CONNECT, which echo or tunnel; only
//     CONNECT where nothing is put on the message;
//  3. we terminated the workload's TLS, or the route allows clear text;
//  4. the SNI and the request's authority are one name, and the route names it;
//     an address in the place of a name is never enough, since nothing vouches
//     for it;
//  5. the address dialled is our own resolver's answer for that name, and lies in
//     no denied range;
//  6. the upstream proved over TLS 1.2 or newer to be that name;
//  7. the connection was made for the same route, host, port, credential
//     versions, client certificate and egress IP as this request needs.
//
// Nothing else makes a valid Permit, and Plan.Apply writes nothing without one. What
// Apply returns is Sealed: a head that nothing changes any more and that leaves on
// the connection that was judged. The proxy has no other way to an upstream: what
// it gets of Upstreams is a Conn, and that can be written to by Send and Open alone,
// which want a Sealed. So a path that forgets to ask does not compile. Requests that
// carry nothing of ours are sealed by Anonymous, for connections that are nobody.
// The facts are read afresh for every request; a decision about a connection is
// not one about its next request.
//
// A Plan is what a route injects, rendered and checked once when the
// configuration is loaded: a secret that would break out of its line, or two
// credentials for one slot, never get as far as a request. A slot is a place that
// a credential owns: a field, by its name without regard to case and with every
// character but letters and digits alike (servers read X_Key, X-Key and x.key as
// one), or a query parameter, by its decoded name. Whatever the workload sent in
// a slot is taken out first.
//
// A body that a credential is written into must be read in one way by everybody, since
// other readers would find the credential where the workload wants it: JSON in UTF-8
// whose members on the way stand there once, and multipart forms as strict as browsers
// write them. All else is refused.
//
// A Signer computes a signature, last, over the request as it will be sent: HMAC and
// Template with a shared key, HTTPSig by RFC 9421, SigV4 in the place of the signature
// that an SDK made with a placeholder key. No two signatures of a key bear one time,
// as far as replay.Clock may run ahead, so what is sent again is signed anew.
//
// Traps. Apply edits the message: after an error it must not be sent. What Apply
// does not see it can't clean: a trailer field must be asked of Plan.Owns by who
// forwards it. Query parameters end up in upstream logs; prefer a field where the
// API takes one.
package inject
