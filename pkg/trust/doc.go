// Package trust puts the local root into the stores that a workload reads,
// without changing the workload or the host.
//
// Prepare makes, in a directory of its own, a copy of every trust store found
// on the host, each with the local root added to what it held: a workload
// trusts what it trusted before and the local root, nothing else. Mount binds
// the copies over the originals in the private mount namespace of one workload.
// Env points the runtimes that have a variable of their own at copies too; a
// store that the user had named in such a variable is copied like the others.
//
// What reaches whom:
//
//   - Binds reach whatever reads the system's bundle (OpenSSL, GnuTLS, Go,
//     Python's ssl, git, curl, wget, Ruby, PHP, Perl, Erlang), Java's keystores,
//     and the bundles of Python packages found for the interpreters on PATH.
//   - Variables reach runtimes with compiled-in roots (Node, Deno, Bun) and
//     images or virtual environments whose files were not found.
//   - Nothing reaches a program with compiled-in roots and no variable, or one
//     that pins certificates. It refuses our leaf, honestly.
//
// JAVA_TOOL_OPTIONS is not set: each JVM announces it on standard error, which
// breaks programs that read that, and keystores are bound over instead. A trust
// store that the user names in it is bound over as well.
//
// SSL_CERT_DIR is left as it is: the directory is read beside SSL_CERT_FILE, so
// it takes nothing away.
//
// SystemRoots are what the host itself trusts, for our own connections to upstreams.
//
// Traps: a keystore in PKCS#12, or with a password other than "changeit", cannot
// be read here; its copy holds the system's roots instead of its own, as JKS,
// which Java reads whatever the name of the file. Only certificates are copied,
// so a private key that lies in the same file stays where it is.
package trust
