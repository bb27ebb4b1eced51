// Package handover is what two daemons say to one another when one relieves the
// other, and what goes from one to the next: descriptors, each with what it is.
//
// The successor Meets the daemon that runs at its Door in run_dir. Each must be
// root's, or of the other's user, and both must have the same Terms. What one
// daemon alone can do are its duties: the trail, the scopes, control requests,
// kernel events; pkg/daemon leaves them and takes them up. Flows are none, and both
// serve them side by side for a while.
//
//	Predecessor: who takes over              Successor: who runs
//	Meet: terms                    ---->     Door.Serve: same places, cgroup, programs?
//	                               <----     Offer: duplicates of listeners, control socket, door, both locks
//	  authority, secrets, proxy
//	  programs replaced, sockets tagged
//	Ready: ready                   ---->       duties left: control, scopes, events; records wait; trail closed
//	                               <----     Yield: yours
//	  trail, scopes, control
//	Serving: serving               ---->       the service manager is told of the new main process
//	  accepts                      <----     leaving; accepts no more, drains
//	Answer: writes its records     <--->     Remote: records, signatures, until the last flow has ended
//
// Until "serving" the daemon that runs can go on: if the successor fails, is refused
// or does not answer, which ends it, the duties are taken up again. The programs are
// the successor's by then; they say the same, as the terms are the same. The other
// way there is no failure once a successor is Ready: a daemon that ends while it is
// relieved owes no step any more, which is ErrGone and no reason to stop.
//
// A successor that the daemon itself started has one way more, to say why it ends
// even before it comes to the door (StartSuccessor, Starter).
//
// The service manager is the other way from one daemon to the next: what is given
// to it by Store, the next takes by TakeStored.
//
// Who closes what. An offer is duplicates, which whoever made them closes. What
// comes in belongs to Inherited, which closes what nobody took; what is taken is the
// taker's. A line is closed by both ends; the Remote and Answer end with it.
//
// Traps. A lock belongs to an open file and not to a process: a duplicate holds it
// too, so the locks of run_dir and of the pinned state are never free in between,
// and one that should go on without must drop it (Meet does). File.Fd makes a
// socket block in all processes that have it: descriptors are taken by SyscallConn.
// Messages and kinds are read by versions before and after this one: a field is
// added, never given another meaning.
package handover
