// Package workload starts one command so that Outwarden sees all it does: in a
// cgroup of its own and in a private mount namespace in which the trust stores
// hold the local root.
//
// The command is started by a second run of our own program, because what has
// to be done lies between fork and exec: Command makes that child and hands it
// the Spec through an inherited descriptor (neither argv nor environment shows
// it), and the child calls Exec, which ends by becoming the command. The cgroup
// is joined first, so that not one connect() of the command is missed.
//
// Traps: Exec changes the calling process for good, so call it from a main that
// does nothing else. With a User the command gains no privileges ever again,
// set-user-id programs included.
package workload
