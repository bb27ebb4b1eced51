// Package vault reads secrets from where they are kept and remembers them.
//
// A Source knows one place: a file, a systemd credential, or a SPIFFE Workload API. Cached remembers what
// one yields, Vault gives names to several. A secret that changes on disk is read
// again at the next Get, without a reload; its version then changes too.
//
// A version says which reading of a secret was used, for the audit trail and
// for the keys of connection pools. It is made of the file's modification time
// and identity and never of the secret's bytes, so it can't help to guess them,
// and it stays the same over a restart.
//
// SPIFFE identities come over the agent's unix socket by one gRPC call of our own
// (grpc.go), or as the files that spiffe-helper writes, which are files like others.
//
// Traps. Exactly one line end is cut off at the end of a file, since editors add
// one; a file with two keeps the first, and an injector then refuses the control
// byte. A binary key whose last byte is LF needs one more LF after it. A file
// that others than its owner and group may read, or that others than its owner
// may write, is refused: it is not a secret. So is a secret behind the symbolic link of
// another user, who could have any file of root's sent; a private key that everyone may
// read or write; and a certificate or roots that everyone may write.
package vault
