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
// Restart under a service manager: it keeps our listeners and the control socket
// (FDSTORE) however we end, so connects wait in their queues for the daemon that
// comes next. If none comes it closes them, and the fail policy answers. Asked to
// stop, we serve new connections while the old ones drain, so that nobody waits for
// those. Without a service manager a restart is a moment of the fail policy;
// an upgrade is not.
//
// Upgrade: the daemon starts the program at its path anew, or a supervisor starts
// `daemon --takeover` in its cgroup. The two meet at handover.sock in run_dir; each
// must be root's, or of the other's user, and have the same places. What one daemon
// alone can do are its duties: the trail, the scopes, control requests, kernel
// events. Flows are none, and both serve them side by side for a while.
//
//	successor                               the daemon that runs
//	configuration; terms           ---->    same places, cgroup, mark?
//	                               <----    duplicates of listeners, control socket, handover.sock, both locks
//	authority, secrets, proxy
//	programs replaced, sockets tagged
//	ready                          ---->    duties left: control, scopes, events; records wait; trail closed
//	                               <----    yours
//	trail, scopes, control
//	serving                        ---->    the service manager is told of the new main process
//	accepts                        <----    leaving: accepts no more, drains
//	writes the other's records     <--->    records, until the last flow has ended
//
// A lock belongs to an open file and not to a process, so the locks of run_dir and
// of the pinned state are never free in between; the trail's is, and whoever has it
// is the one writer. Until "serving" the old daemon can go on: if the successor
// fails, is refused or does not answer, which ends it, the old one takes its duties
// up again. The programs are the successor's by then; they say the same, as
// listeners, cgroup and mark are the same.
//
// Reload swaps one pointer to an immutable snapshot. If anything of the new
// configuration can't be used, the old one stays in force and the caller is told
// why.
package daemon
