// Package relay copies bytes between two sockets until both have ended, without
// looking at them.
//
// Run is given a near end and a far end, which may still be connecting, and
// waits until the connection between them is over. Each end of stream is passed
// on as one, so that a side may go on after the other has ended. A side that
// breaks resets the other, so that no half a message looks whole there.
//
// A few goroutines, one per loop, do the work of all connections: each owns an
// epoll set, which itself waits in the runtime's poller. A connection costs what
// its sockets cost: no goroutine that is woken per packet, no timer that is moved
// per packet, no buffer while nothing is on its way. What a direction reads is
// written from a pooled buffer; once reads come large, splice(2) moves the bytes
// through a pooled pipe and they never come up here. A reader that is slow stops
// the reading from its peer, so that one buffer or pipe per direction is all that
// it can hold.
//
// Await is Run for a near end that has not spoken yet: a loop reads what it says
// first and asks a Judge, who names the far end or takes the connection back. A Door
// accepts such ends. From then to the end no goroutine is woken for a connection.
//
// Traps. Every descriptor here is ours alone: a socket that the net package has
// seen comes by Take. System calls that do not block are made without telling
// the scheduler, which would else take the processor away in the middle of each
// that sends: nothing that may block belongs into raw.go. Events are edges: a
// side stays readable until a read has found it empty, and writable until a
// write has found it full. A short read has found it empty, but for urgent data, where
// each read stops; and where the end was in already, it has found that.
package relay
