// Package authority is the local CA: it keeps the root at rest, mints leaves for
// the names that workloads call, and recognises certificates of its own making.
//
// At rest there is one directory of mode 0700 with two files of mode 0600:
//
//	authority.pem  private key and root certificate together, so that no crash
//	               can leave a key beside another key's certificate
//	roots.pem      one root certificate for each key there ever was
//
// Both are replaced by rename, under a lock on the directory; a file that is
// damaged, missing beside the other, readable by others or a symbolic link is an
// error with a hint. A new authority is made only in a directory that never had
// one. The key stays on the host and nothing else is ever written: leaves live
// in memory. Remove deletes all of it.
//
// With Options.TPM the root's key is made in a TPM 2.0 under its storage key,
// and authority.pem holds what only that TPM can unwrap (a TSS2 PRIVATE KEY,
// draft-woodhouse-cert-best-practice section 4.2). Nobody can take such a key
// away, root neither; who is root can still have the TPM sign. A key is never moved
// between file and TPM: Rotate makes another one. The leaves' key stays in
// memory, because every handshake signs with it. A TPM signs slowly, tens of
// milliseconds, so new names come more slowly (Options.MintRate).
//
// The root is constrained to the names it may speak for (RFC 5280 section
// 4.2.1.10), cannot sign another CA (path length 0) and lives for a year. It is
// issued again, with the same key and the same subject, when the names change
// or a month of it is left. Workloads that loaded the earlier root keep working
// for the names in it: a leaf is bound to the root by key and subject only, so
// it verifies under either. For names that were added later they need the new
// root, and refuse until they have it; that is the constraint doing its work.
// A certificate on the wire cannot say "below example.com but not itself", so
// *.example.com constrains the root to example.com and all below; the authority
// itself mints by the exact pattern.
//
// Traps: the root is in the workload's trust store, so whoever holds the key can
// speak for those names to those workloads. It must never be in our own set of
// upstream roots (see Issued). All leaves of one key share one leaf key, which
// never leaves the process and is made anew at start and on Rotate.
package authority
