// Package audit keeps the trail: one record per request or raw connection, each
// a line of JSON chained to the one before, in segments on disk.
//
// # The trail on disk
//
//	00000000000000000001.jsonl.zst   a sealed segment, named by its first record
//	00000000000000081237.jsonl       the active one, allocated ahead with zeros
//	head                             how far the trail goes, under a MAC
//	key                              the MAC's key, made on first start
//	lock                             held by the one writer
//
// A record's hash is the SHA-256 of its line up to and without `,"hash"`, and the
// hash of the record before is within what is hashed. So a changed byte, a
// missing record and an exchange of two show in the chain itself, and a cut tail
// or a rewritten one shows against the head, which nobody can write without the key.
//
// Much is the same in many records: who made the request, to which API, with what.
// A line has the SHA-256 of an object in the place of these fields, and the object
// stands once in each segment, on a line of its own in front of the first record
// that refers to it; so does the process, to which that object refers in turn:
//
//	{"object":{"pid":4711,...}}
//	{"object":{"process":"9f86d0...","guest":...,"original":{...},"sni":...,"host":...,
//	  "route":...,"decision":...,"credentials":[...],"upstream":{...},"egress_ip":...}}
//	{"seq":81237,...,"flow":...,"common":"60303a...","method":...,"prev":"...","hash":"..."}
//
// What is read back has all fields in it again, in the order of [Record], and so
// has what commands print. Whoever wants to check a printed record against its
// hash makes the object of those fields that it has, with the SHA-256 of the
// process in quotes, and puts "common" with its SHA-256 behind the flow instead. An
// object that is changed or missing shows in each record that refers to it, one too
// many in the record behind.
//
// # What survives what
//
// The active segment and the head are mapped shared, so Append makes no system
// call and yet a record is in the page cache when it returns: it survives the
// death of the process at any instruction. Death of the machine loses at most what
// was not yet on disk, a second's worth ([Options].SyncEvery), and nothing at all
// with [Options].Synced, where Append waits for the disk by group commit.
//
// The head tells a crash from a cut. It has two slots, written in turn after the
// record itself, so that one of them is whole at every instant. A record beyond
// the head was never acknowledged: the next [Open] cuts it and says so in a loss
// record. A record short of the head was taken away: [Open] keeps the damaged
// segment as it is, goes on in a new one, and [Verify] reports the gap for ever.
// Only if the machine itself went down (another boot id), and only for records
// not yet on disk, is a gap put down to the crash.
//
// # Traps
//
// Whoever may read the key and write the directory can make a trail that
// verifies. Only something kept elsewhere is proof against that: note the tip that
// Verify reports and hand it to a later Verify as an [Anchor].
//
// A segment that someone truncates under a running writer faults on the next
// write; Append turns that into an error and stays broken. It does too, at the next
// sync or look (each [Options].SyncEvery), where the segment or the head is removed or
// moved: what is written then goes with this process, or where nobody looks for it.
//
// Fields come from the network and from workloads. They are escaped so that one
// record is one line and shows nothing but what it says on a terminal; invalid
// UTF-8 becomes U+FFFD. Text that has been decoded from a record is raw again:
// print it through [Printable].
package audit
