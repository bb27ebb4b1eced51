// Package capture loads, pins, attaches, upgrades and detaches the BPF programs
// of bpf/outwarden.c, and tells who is behind a connection that they redirected.
//
// The order of use: open listeners, [Open], [Capture.TagListener] for each of
// them, then [Capture.SetScope] or [Capture.AddScope]. For every accepted
// connection [Capture.Lookup] gives the [flow.Flow] once. [Capture.Close]
// leaves the programs in place: from then on they answer by the fail policy
// until another process opens the same directory. [Detach] takes everything
// away.
//
// With [Config.Redirect] the hooks do not rewrite destinations: they mark the
// socket, and the table of pkg/netfilter, which must stand before the listeners
// are tagged, redirects what is marked. All listeners of a family must live then,
// as the table sends to any of them. What it does not redirect does not leave.
//
// Traps. A listener without a tag does not exist for the hooks; that is how a
// stranger on our port is told from us. Programs stand at the root cgroup, but
// a process is only captured when the nearest ancestor of its cgroup that is in
// the scope says so. The caller's own traffic passes only with the mark of
// [Capture.Control] and from the own cgroup, both. Packets are looked at where a cgroup in scope made their
// socket, so one that was made elsewhere and handed in can send what its maker
// could send; and where somebody has detached the connect hooks, which the packets
// of all others tell of, it connects past us until [Capture.Mend]. Listeners must not speak
// MPTCP. A flow is looked up by tuple and network namespace: [Capture.Lookup]
// means the namespace of the first tagged listener, [Capture.LookupIn] any.
// Every namespace needs listeners of its own, on the addresses of Config.Listen;
// they and the watch over its routes keep it alive until the listeners are
// closed and [Capture.LeaveNetns] is called.
// Executables on overlay file systems have the device and inode of the overlay
// as the kernel keeps them, which stat(2) may show differently.
package capture
