// Package control is the daemon's control API: HTTP and JSON on a unix socket,
// its server and its client.
//
// The socket is 0600 in a directory of the daemon's, and every connection's peer
// credentials are checked too: root, or the uid that the daemon runs as. There is
// no TCP listener. GET /openapi.json describes the rest.
//
// The package knows no daemon: it serves whatever implements Daemon.
package control
