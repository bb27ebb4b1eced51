// Package netnstest gives a test its own corner of the kernel: a network
// namespace, veth pairs, a cgroup, and a gate for tests that need root. It is
// imported by tests only; all that it makes is removed when the test ends.
//
// Traps: a network namespace belongs to an OS thread, so code inside [NS.Do]
// must not start goroutines and expect them there. A socket stays in the
// namespace in which it was made, whoever uses it later; so listen inside Do
// and accept anywhere. Dial literal addresses: a dial by name may make its
// socket on another thread.
package netnstest
