// Package config turns files into validated settings.
//
// [Load] reads the main file and routes.d/*.yaml beside it, and reports all that
// is wrong at once, each with file, line and column. Nothing of a file that has
// an error is used. What it returns holds names of secrets and paths, never
// secret bytes; those are read later, by pkg/vault.
//
// The format is in document.go: the decoder and the JSON schema are both made
// from it. A list may be written as one value. Relative paths are relative to
// the file that names them.
//
// Decoding is strict, because a key that is silently ignored is a rule that does
// not hold: unknown, doubled and empty keys are errors, an empty list is one
// ("paths: []" would match every path), and keys that are planned but not built
// are refused by name. Of YAML only mappings, lists and scalars are read; an
// anchor, alias, tag or merge key is an error.
//
// Traps:
//
//   - Values may not have control bytes, so none can break out of a header, a
//     path or a line of the log.
//   - Where a secret:NAME is expected and something else stands, that may be the
//     secret itself: errors do not repeat it.
//   - routes.d is read only if it belongs to root or to the caller and not
//     everyone can write it, or a file in it.
//   - The YAML parser recurses and cannot be stopped: guard.go refuses first what
//     would overflow its stack. It also puts U+FFFD for what is no UTF-8.
package config
