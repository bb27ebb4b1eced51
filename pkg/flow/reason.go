package flow

import "strconv"

// Reason is the enumerated cause of a verdict or a decision. Its names are the
// same in C, in Go and in the audit trail. Numbers below 32 belong to the
// kernel side (enum reason in bpf/flow.h); a test compares the two.
type Reason uint8

// Reasons the kernel gives.
const (
	ReasonNone              Reason = iota
	ReasonListenerGone             // no listener of ours in this network namespace: the interceptor is dead
	ReasonListenerForeign          // our port is held by a socket without our tag
	ReasonMapFull                  // no room for one more record
	ReasonPortNotCaptured          // in scope, recorded, but not redirected: the port is not in capture.ports
	ReasonBoundDevice              // the socket is bound to a device and could not be unbound: it would wait for an answer in vain
	ReasonConnectsToUs             // a workload dialled our listener directly
	ReasonDestinationDenied        // a route denies the destination address
	ReasonQUICRefused              // UDP to port 443: the client is to fall back to TCP
	ReasonRawSocket                // a packet of a socket that is neither TCP nor UDP: raw, ICMP, SCTP
	ReasonSourceRoute              // the socket has a routing header, so its packets would go where that says
	ReasonStrayed                  // a packet of a redirected connection was about to leave by another device than loopback
	ReasonBindRefused              // somebody tried to listen on a port of ours
	ReasonConnectUnseen            // a connection was about to leave that our connect hook has not seen: somebody has detached it
)

// Reasons user space gives.
const (
	ReasonNoRecord            Reason = 32 + iota // accepted, but the kernel has no record of the connect
	ReasonExisting                               // connected before the hooks could see it
	ReasonIdentityGone                           // the process left before it could be told who it was
	ReasonNoServerName                           // TLS without SNI
	ReasonEncryptedHello                         // TLS with an encrypted ClientHello: the name is hidden
	ReasonBadHello                               // malformed ClientHello
	ReasonNotHTTP                                // neither TLS nor HTTP/1 nor HTTP/2
	ReasonNoRoute                                // no route names this destination
	ReasonIdentityMismatch                       // a route names the destination, but not for this process
	ReasonRequestMismatch                        // a route names host and process, but not this method or path
	ReasonRouteDenies                            // the route says deny
	ReasonDefaultDenies                          // default: deny
	ReasonAuthorityMismatch                      // SNI, Host or :authority and the route's host are not one name
	ReasonPathAmbiguous                          // dot segments, %2f, %00 or the like on a route that matches on the path
	ReasonCleartext                              // a credential route, but the workload spoke plain HTTP
	ReasonMethodForbids                          // TRACE, OPTIONS and CONNECT never carry a credential
	ReasonBadRequest                             // outside the HTTP grammar, or readable in two ways
	ReasonHeaderTooLarge                         // request head over the limit
	ReasonBodyTooLarge                           // a signer needs the whole body and it is over the cap
	ReasonSignatureKind                          // the workload signs in a way that cannot be signed anew
	ReasonSignatureScope                         // the workload's signature is for a key, region or service that the route does not sign for
	ReasonReplayed                               // the workload's signature was seen before, or is too old or too new to tell
	ReasonBodyUnsuitable                         // a credential goes into the body, and it is of another type or coding
	ReasonPlaceholderMisused                     // a placeholder where its credential does not go
	ReasonUpgradeRefused                         // an upgrade other than websocket
	ReasonResolveFailed                          // our resolver has no answer for the route's host
	ReasonAddressDenied                          // the address to dial is loopback, link-local, metadata or private
	ReasonAddressNotResolved                     // the address dialled is not our resolver's answer
	ReasonUpstreamUnreachable                    // refused, reset, or no route
	ReasonUpstreamTimeout                        // no answer in time
	ReasonUpstreamTLS                            // TLS failed upstream: version, cipher or alert
	ReasonUpstreamName                           // upstream certificate is for another name
	ReasonUpstreamExpired                        // upstream certificate is expired or not yet valid
	ReasonUpstreamUntrusted                      // upstream certificate chain ends in no trusted root
	ReasonUpstreamOwnCA                          // upstream certificate is signed by a local CA
	ReasonUpstreamDistrusted                     // upstream certificate is signed with a private key that is public
	ReasonUpstreamUnverified                     // upstream leg is not verified TLS >= 1.2
	ReasonUpstreamResponse                       // upstream answered outside the HTTP grammar
	ReasonUpstreamClosed                         // upstream closed in the middle of a message
	ReasonPoolMismatch                           // pooled connection belongs to another route, credential, certificate or egress IP
	ReasonEgressUnavailable                      // the egress IP is not on this host
	ReasonCredentialMissing                      // the secret could not be read
	ReasonAuditUnavailable                       // the intent could not be written
	ReasonWorkloadDistrusts                      // the workload refused our certificate
	ReasonWorkloadClosed                         // the workload closed in the middle of a message
	ReasonWorkloadTimeout                        // the workload did not finish its head in time
	ReasonConnectionLimit                        // the workload holds its share of connections, or of handshakes, already
	ReasonNameLimit                              // the workload asks for new names faster than leaves are minted for it
	ReasonSecretReflected                        // the upstream sent a credential back; it was taken out of the response
	ReasonContentCoding                          // the response is encoded so that it can't be looked into for credentials
	ReasonLoop                                   // the original destination is a listener of ours
	ReasonHooksBroken                            // somebody has detached or unpinned hooks of ours; they were put back
	ReasonGuest                                  // the caller is a guest, of which no kernel record tells: it gets no credential
	ReasonTableChanged                           // somebody else changed our nftables table, a policy rule or the route; it was put back
	ReasonReplayUnknown                          // nobody can tell whether the workload's signature was seen before: no room, no journal, or the clock was set back
	ReasonNetworkUnreachable                     // the workload's network namespace has no way to the address: it would get there by us alone
	ReasonAddressReplaced                        // passed on by its name to our resolver's answer: the address that the workload asked for is none of the name's
	ReasonInternal                               // a defect of ours; the error is in the log
)

var reasonNames = [...]string{
	ReasonNone:                "",
	ReasonListenerGone:        "listener_gone",
	ReasonListenerForeign:     "listener_foreign",
	ReasonMapFull:             "map_full",
	ReasonPortNotCaptured:     "port_not_captured",
	ReasonBoundDevice:         "bound_device",
	ReasonConnectsToUs:        "connects_to_us",
	ReasonDestinationDenied:   "destination_denied",
	ReasonQUICRefused:         "quic_refused",
	ReasonRawSocket:           "raw_socket",
	ReasonSourceRoute:         "source_route",
	ReasonStrayed:             "strayed",
	ReasonBindRefused:         "bind_refused",
	ReasonConnectUnseen:       "connect_unseen",
	ReasonNoRecord:            "no_record",
	ReasonExisting:            "existed_before",
	ReasonIdentityGone:        "identity_gone",
	ReasonNoServerName:        "no_server_name",
	ReasonEncryptedHello:      "encrypted_hello",
	ReasonBadHello:            "bad_hello",
	ReasonNotHTTP:             "not_http",
	ReasonNoRoute:             "no_route",
	ReasonIdentityMismatch:    "identity_mismatch",
	ReasonRequestMismatch:     "request_mismatch",
	ReasonRouteDenies:         "route_denies",
	ReasonDefaultDenies:       "default_denies",
	ReasonAuthorityMismatch:   "authority_mismatch",
	ReasonPathAmbiguous:       "path_ambiguous",
	ReasonCleartext:           "cleartext",
	ReasonMethodForbids:       "method_forbids",
	ReasonBadRequest:          "bad_request",
	ReasonHeaderTooLarge:      "header_too_large",
	ReasonBodyTooLarge:        "body_too_large",
	ReasonSignatureKind:       "signature_kind",
	ReasonSignatureScope:      "signature_scope",
	ReasonReplayed:            "replayed",
	ReasonBodyUnsuitable:      "body_unsuitable",
	ReasonPlaceholderMisused:  "placeholder_misused",
	ReasonUpgradeRefused:      "upgrade_refused",
	ReasonResolveFailed:       "resolve_failed",
	ReasonAddressDenied:       "address_denied",
	ReasonAddressNotResolved:  "address_not_resolved",
	ReasonUpstreamUnreachable: "upstream_unreachable",
	ReasonUpstreamTimeout:     "upstream_timeout",
	ReasonUpstreamTLS:         "upstream_tls",
	ReasonUpstreamName:        "upstream_name",
	ReasonUpstreamExpired:     "upstream_expired",
	ReasonUpstreamUntrusted:   "upstream_untrusted",
	ReasonUpstreamOwnCA:       "upstream_own_ca",
	ReasonUpstreamDistrusted:  "upstream_distrusted",
	ReasonUpstreamUnverified:  "upstream_unverified",
	ReasonUpstreamResponse:    "upstream_response",
	ReasonUpstreamClosed:      "upstream_closed",
	ReasonPoolMismatch:        "pool_mismatch",
	ReasonEgressUnavailable:   "egress_unavailable",
	ReasonCredentialMissing:   "credential_missing",
	ReasonAuditUnavailable:    "audit_unavailable",
	ReasonWorkloadDistrusts:   "workload_distrusts",
	ReasonWorkloadClosed:      "workload_closed",
	ReasonWorkloadTimeout:     "workload_timeout",
	ReasonConnectionLimit:     "connection_limit",
	ReasonNameLimit:           "name_limit",
	ReasonSecretReflected:     "secret_reflected",
	ReasonContentCoding:       "content_coding",
	ReasonLoop:                "loop",
	ReasonHooksBroken:         "hooks_broken",
	ReasonGuest:               "guest",
	ReasonTableChanged:        "table_changed",
	ReasonReplayUnknown:       "replay_unknown",
	ReasonNetworkUnreachable:  "network_unreachable",
	ReasonAddressReplaced:     "address_replaced",
	ReasonInternal:            "internal",
}

// String is the name used in the audit trail; "" for ReasonNone.
func (r Reason) String() string {
	if r == ReasonNone || int(r) < len(reasonNames) && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return "reason(" + strconv.Itoa(int(r)) + ")"
}

// Error lets a Reason stand as an error where the cause is all there is to say.
func (r Reason) Error() string { return r.String() }
