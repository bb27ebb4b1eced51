// Package flow holds the words that every other package speaks: one captured
// connection as the kernel saw it at connect(), and the reasons why something
// was refused.
//
// It does no I/O and imports nothing of the project. Addresses are always
// unmapped: ::ffff:192.0.2.1 appears here as 192.0.2.1.
package flow
