// Package daemon wires everything together: it is the one package that sees all
// others, and where logging begins.
//
// Start order, each step undone if a later one fails: configuration, what a daemon
// before us left, lock, authority, trust stores, secrets, kernel hooks, listeners,
// tags, trail, scopes, control socket. Hooks come up before anything is in scope, so
// there is no moment in which a captured process is let through; until the
// listeners are tagged, the fail policy answers. They come before the listeners,
// because they keep everybody but us from our ports.
//
// Other network namespaces that workloads live in get listeners of their own, on
// the same addresses, opened there and served by this one process: those that
// are there at start, and each other one when a process in scope executes a
// program there or a connect finds no listener. Upstreams are always dialled
// from the namespace of the daemon. When no process is left in one, its
// listeners are closed, as they would keep it alive.
//
// Stop: established flows drain, the listeners close, the trail is closed. The
// hooks stay in the kernel and answer by the fail policy, so that a restart is no
// bypass; `outwarden detach` removes them. An ephemeral daemon, started by `run`,
// removes them itself once its last scope is empty.
//
// Restart under a service manager: it keeps our listeners, in every network
// namespace, and the control socket (FDSTORE) however we end, so connects wait in
// their queues for the daemon that comes next. If none comes it closes them, and the
// fail policy answers. Asked to stop, we serve new connections while the old ones
// drain, so that nobody waits for those; who comes then has what is left of the time
// to drain, and two seconds at least. Without a service manager a restart is a moment
// of the fail policy; an upgrade is not.
//
// Upgrade: the daemon starts the program at its path anew, or a supervisor starts
// `daemon --takeover` in its cgroup. What the two say to one another, and how each
// can fail, is pkg/handover's. What one daemon alone can do are its duties: the
// trail, the scopes, control requests, kernel events; one leaves them before the
// other takes them up, and takes them up again if that fails. Flows are none: both
// serve them side by side for a while. The trail has a lock of its own, and whoever
// has it is the one writer.
//
// Reload swaps one pointer to an immutable snapshot. If anything of the new
// configuration can't be used, the old one stays in force and the caller is told
// why.
package daemon
