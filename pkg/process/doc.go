// Package process tells who stood behind a connect(): from the pid and start
// time that the kernel recorded to executable, digest, arguments, user, cgroup,
// systemd unit, container, pod and ancestors.
//
// It reads /proc after the fact, so everything it finds is checked against what
// the kernel said at connect() time, and what cannot be checked is left out:
//
//   - The start time (proc_pid_stat(5) field 22, clock ticks since boot) must be
//     the caller's. A pid that was reused has another start time: the process is
//     gone. All reads go through one descriptor of /proc/PID, which dies with its
//     process, so a reuse in the middle cannot mix two processes.
//   - The executable's device and inode must be those of the caller. After an
//     exec between connect() and here they differ, and then path, digest and
//     arguments are left out unless an exec event made us remember them.
//   - A path counts only if it names that very file for us, or the file is gone from
//     it and of a mount of ours. In a mount namespace of one's own, or on a mount
//     that is detached, any file is at any path, and a process of ours can execute
//     it there; what such a file is called is reported as ExeInside and never as Exe.
//   - The cgroup is the one whose id the kernel recorded. The unit, container and
//     pod are read off its path and only from the parts of the path that the
//     workload could not have named itself (see Place).
//
// Argv is what the process says of itself. It can be overwritten from inside
// and is good for people to read, not to decide on.
//
// The hook sees a file as the kernel keeps it, stat(2) may make up other numbers
// for it (btrfs, overlays). Resolve asks for the kernel's own before it calls
// two files different; what exec events remember goes by stat(2) alone.
package process
