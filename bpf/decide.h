/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The decision about one connect(), pure: facts in, verdict and reason out. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "config.h"

static __always_inline struct addr mapped(__u32 ipv4)
{
	return (struct addr){{0, 0, bpf_htonl(0xffff), ipv4}};
}

static __always_inline int is_mapped(const struct addr *a)
{
	return !a->word[0] && !a->word[1] && a->word[2] == bpf_htonl(0xffff);
}

static __always_inline int same(const struct addr *a, const struct addr *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

static __always_inline int is_zero(const struct addr *a)
{
	return !(a->word[0] | a->word[1] | a->word[2] | a->word[3]);
}

/* Loopback, and the unspecified address, which connect() takes for it. */
static __always_inline int is_local(const struct addr *a)
{
	if (is_mapped(a))
		return (bpf_ntohl(a->word[3]) >> 24) == 127 || !a->word[3];
	return !(a->word[0] | a->word[1] | a->word[2]) && bpf_ntohl(a->word[3]) <= 1;
}

struct decision {
	__u8 verdict;
	__u8 reason;
};

static __always_inline struct decision pass(__u8 reason)
{
	return (struct decision){VERDICT_PASS, reason};
}

/* In scope and to be redirected, but it cannot be: the fail policy decides. */
static __always_inline struct decision unavailable(__u8 reason)
{
	return (struct decision){fail_open ? VERDICT_PASS : VERDICT_DENY, reason};
}

/* Whatever the fail policy says: it may not arrive, or its owner has seen to it that it would not.
 */
static __always_inline struct decision refuse(__u8 reason)
{
	return (struct decision){VERDICT_DENY, reason};
}

struct facts {
	__u8 scope;    /* of the nearest ancestor cgroup that has one */
	__u8 own;      /* our own traffic: cgroup and mark both say so */
	__u8 local;    /* is_local */
	__u8 listener; /* the destination is a listener of ours */
	__u8 captured; /* the port is captured */
};

/* What can be said before a listener is sought. VERDICT_REDIRECT: seek one. */
static __always_inline struct decision decide(const struct facts *f)
{
	if (f->own)
		return pass(REASON_NONE);
	if (f->listener)
		return refuse(REASON_CONNECTS_TO_US);
	if (f->scope != SCOPE_INCLUDE || f->local)
		return pass(REASON_NONE);
	if (!f->captured)
		return pass(REASON_PORT_NOT_CAPTURED);
	return (struct decision){VERDICT_REDIRECT, REASON_NONE};
}
