// Package snapshot turns a configuration into what the proxy works with.
//
// Build makes the plan of every route: credentials and placeholders, signers, what
// responses are scrubbed of, how the origin is reached. All that a route names is read
// then, by Readings, so that a secret that is missing, or a key that does not fit its
// algorithm, is an error of the load and not of the first request; and all routes
// agree on what a secret was. A snapshot is immutable: what has changed since
// (Readings.Renew) takes another one, which is built beside it and put in its place
// whole. A secret that was lost meanwhile stays in it as it was.
//
// What outlives a snapshot is Signing: clocks, whose times must rise, and the
// signatures of workloads that were seen.
//
// Traps. A certificate and its key may lie in two files that somebody replaces one
// after the other; between the two both stay as they were before, as does all that
// makes one credential, one signature or one certificate if part of it cannot be used.
// Errors name files, routes and secrets, never what is in them.
package snapshot
