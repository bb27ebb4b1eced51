/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the kernel side and pkg/capture tell each other. Every field has a fixed
 * width, every hole is a named field, every size is asserted: a struct that
 * changes here changes LAYOUT_VERSION in config.h.
 *
 * Addresses are 16 bytes in network order; IPv4 is always ::ffff:a.b.c.d, on
 * every side of every map, so that a socket of either family finds the same
 * key. Ports are in host order. Times are nanoseconds since boot.
 */
#pragma once

#include <linux/types.h>

enum verdict {
	VERDICT_PASS,
	VERDICT_REDIRECT,
	VERDICT_DENY,
};

/* The names and numbers of pkg/flow/reason.go; a test compares the two. */
enum reason {
	REASON_NONE,
	REASON_LISTENER_GONE,
	REASON_LISTENER_FOREIGN,
	REASON_MAP_FULL,
	REASON_PORT_NOT_CAPTURED,
	REASON_BOUND_DEVICE,
	REASON_CONNECTS_TO_US,
	REASON_DESTINATION_DENIED,
	REASON_QUIC_REFUSED,
	REASON_RAW_SOCKET,
	REASON_SOURCE_ROUTE,
	REASON_STRAYED,
	REASON_BIND_REFUSED,
	REASON_CONNECT_UNSEEN,
	REASON_END = 32, /* numbers from here on belong to user space */
};

enum event_kind {
	EVENT_PASS = 1,
	EVENT_DENY,
	EVENT_EXEC,
	EVENT_EXIT,
	EVENT_JOIN,
	EVENT_CGROUP,
};

/* Index into the counters: reasons first, then these. */
enum counter {
	COUNTER_REDIRECTED = REASON_END,
	COUNTER_PASSED,
	COUNTER_DENIED,
	COUNTER_EVENTS_LOST,	   /* the ring buffer was full */
	COUNTER_RECORDS_LOST,	   /* a redirected connection could not be published */
	COUNTER_RECORDS_CONTESTED, /* two live sockets claimed one tuple; neither gets it */
	COUNTERS,
};

enum scope {
	SCOPE_NONE,
	SCOPE_INCLUDE,
	SCOPE_EXCLUDE,
};

#define SIEVE 4096 /* elements of the sieve; a power of two */

struct addr {
	__u32 word[4];
};

/* One connection as both of its ends see it. */
struct tuple {
	__u64 netns;
	struct addr source;
	struct addr destination;
	__u16 source_port;
	__u16 destination_port;
	__u32 zero;
};

/* One connect(): who called it, where to, and what became of it. */
struct flow {
	__u64 cookie;
	__u64 netns;
	__u64 cgroup;
	__u64 at;
	__u64 start; /* of the thread group leader */
	__u64 exe_inode;
	__u32 exe_dev; /* as the kernel keeps it: 12 bits major, 20 bits minor */
	__u32 pid;
	__u32 uid;
	__u32 gid;
	struct addr original;
	__u16 original_port;
	__u8 verdict;
	__u8 reason;
	__u32 contested; /* by so many connections, which wait behind its own and have no record */
	__u8 comm[16];
	__u32 established; /* once it was: it may wait to be accepted, even when it has ended */
	__u32 zero;
};

struct event {
	struct flow flow;
	__u32 kind;
	__u32 zero;
};

/* What getpeername and getsockname say instead of the redirected connection. */
struct truth {
	struct addr peer;
	struct addr local; /* zero: leave what the kernel says */
	__u16 peer_port;
	__u16 zero[3];
};

/*
 * A redirected socket. The kernel keeps 72 bytes beside each; together they are
 * to stay within 256, which is what it takes for them.
 */
struct socket {
	struct flow flow;
	struct tuple tuple; /* source is zero until the connection is published */
	struct addr local;  /* what getsockname says; zero: what the kernel says */
	__u8 ipv4;	    /* the redirected connection is IPv4, whatever the socket is */
	__u8 published;
	__u8 zero[6];
};

/* A route prefix of one network namespace: prefix counts the netns' 64 bits too. */
struct route {
	__u32 prefix;
	__u32 netns[2]; /* the cookie, high word first; the bit order within does not matter */
	struct addr destination;
};

/*
 * What a cgroup is called: its path below the root of all, which begins with a
 * slash, or its last part, which has none. Zeros follow.
 */
struct name {
	char text[256];
};

/* One of our listeners. */
struct listener {
	struct addr addr;
	__u16 port;
	__u16 zero;
};

/* State of the whole, one element. */
struct state {
	__u64 full_until; /* records did not fit at some time less than a second before this one */
	__u64 own_netns;  /* see note_netns */
	__u32 layout;
	__u32 zero;
};

#define SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type " has changed size")
SIZE(addr, 16);
SIZE(tuple, 48);
SIZE(flow, 112);
SIZE(event, 120);
SIZE(truth, 40);
SIZE(socket, 184);
SIZE(route, 28);
SIZE(listener, 20);
SIZE(name, 256);
SIZE(state, 24);
