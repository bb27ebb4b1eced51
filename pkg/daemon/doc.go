// Package daemon wires everything together: it is the one package that sees all
// others, and where logging begins.
//
// Start order, each step undone if a later one fails: configuration, lock,
// authority, trust stores, audit trail, secrets, listeners, kernel hooks, tags,
// scopes, control socket. Hooks come up before anything is in scope, so there is
// no moment in which a captured process is let through; until the listeners are
// tagged, the fail policy answers.
//
// Other network namespaces that workloads live in get listeners of their own, on
// the same addresses, opened there and served by this one process: those that
// are there at start, and each other one when a process in scope executes a
// program there or a connect finds no listener. Upstreams are always dialled
// from the namespace of the daemon. When no process is left in one, its
// listeners are closed, as they would keep it alive.
//
// Stop: the listeners close, established flows drain, the trail is closed. The
// hooks stay in the kernel and answer by the fail policy, so that a restart is no
// bypass; `outwarden detach` removes them. An ephemeral daemon, started by `run`,
// removes them itself once its last scope is empty.
//
// Reload swaps one pointer to an immutable snapshot. If anything of the new
// configuration can't be used, the old one stays in force and the caller is told
// why.
package daemon
