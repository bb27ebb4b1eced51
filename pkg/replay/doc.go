// Package replay tells whether a signed message was seen before, and gives
// outbound signatures a time that never repeats.
//
// Cache holds what was accepted for as long as it could be accepted again: a
// message is good from Window before now to Skew after, so each is kept at least
// Window+Skew. Two generations do that without a timer: the younger takes, the
// older is only asked, and after Window+Skew the younger becomes the older.
//
// It fails closed. A full generation accepts nothing until it has aged; a
// journal that can't be written accepts nothing. With a journal, what was
// accepted before a restart or a kill is refused after it (with Sync also after
// a power cut). Without one, nothing signed before the process began, or in the
// Skew after, is accepted. Nor is it after a journal was damaged, as by a power cut:
// that is put aside and begun anew (Damage).
//
// A clock that is set back does not reopen the past: the cache goes on from the
// latest time it saw, over restarts too, and refuses as ErrSetBack what says a time
// until then. Who knows better removes the journal while nobody has it open.
//
// Traps.
//   - Ask after the signature was verified, never before: else strangers fill the cache.
//   - Give it the signature's bytes, not its text: hex has cases, base64 has
//     padding and spare bits. Decode refuses all spellings but one; with ECDSA use
//     httpsig's Verified.Canonical.
//   - One journal, one process: Open takes a lock.
package replay
