// Package secret holds bytes that cannot print.
//
// A Value shows itself as [redacted] in every fmt verb, in JSON, text and YAML,
// and in a debugger's String call. The one way to its bytes is Reveal, so a
// reviewer can find every use with one search.
package secret
