// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The kernel side, in the order in which a connection meets it: connect,
 * the SYN, the names it asks for, its end; then UDP, then processes.
 *
 * Everything is attached at the root cgroup and selects inside, because hooks
 * follow the cgroup in which a socket was made and not the caller's. Only what
 * a 5.10 kernel has is used.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "config.h"
#include "decide.h"
#include "flow.h"
#include "maps.h"
#include "nat.h"
#include "task.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define AF_INET		2
#define SOCK_STREAM	1
#define SOCK_DGRAM	2
#define SOL_SOCKET	1
#define SO_BINDTODEVICE 25
#define HTTPS		443
#define LOOPBACK	1 /* the index of this device in every namespace */
#define SECOND		1000000000ULL

#define ALLOW  1
#define REFUSE 0 /* the caller sees EPERM */

/*
 * The verifier wants context fields at constant offsets from an unmodified
 * pointer; this keeps clang from computing a field's address beforehand.
 */
#define KEEP(ctx) asm volatile("" : "+r"(ctx))

static __always_inline void count(__u32 index)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &index);

	if (n)
		__sync_fetch_and_add(n, 1); /* hooks may be preempted by one another */
}

/* An event of a kind, to be filled in; null, and counted, where there is no room. */
static __always_inline struct event *event_of(__u32 kind)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		count(COUNTER_EVENTS_LOST);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = kind;
	return e;
}

/* ---- connect ---- */

/* Begin the event of a verdict; null where there is no room. */
static __always_inline struct event *begin(const struct addr *original, __u16 port,
					   struct decision d)
{
	struct event *e = event_of(d.verdict == VERDICT_DENY ? EVENT_DENY : EVENT_PASS);

	if (!e)
		return 0;
	e->flow.original = *original;
	e->flow.original_port = port;
	e->flow.verdict = d.verdict;
	e->flow.reason = d.reason;
	return e;
}

static __always_inline void count_verdict(struct decision d)
{
	count(d.reason & (REASON_END - 1));
	count(d.verdict == VERDICT_DENY ? COUNTER_DENIED : COUNTER_PASSED);
}

/* Report a verdict other than redirect, and count it. */
static __always_inline int conclude(struct bpf_sock_addr *ctx, const struct addr *original,
				    __u16 port, struct decision d)
{
	struct event *e;

	if (d.reason == REASON_NONE)
		return ALLOW;
	count_verdict(d);
	e = begin(original, port, d);
	if (e) {
		identify(&e->flow);
		e->flow.cookie = bpf_get_socket_cookie(ctx);
		e->flow.netns = bpf_get_netns_cookie(ctx);
		bpf_ringbuf_submit(e, 0);
	}
	return d.verdict == VERDICT_DENY ? REFUSE : ALLOW;
}

/* The record of a socket, while it waits for user space. */
static __always_inline struct flow *record_of(struct socket *s)
{
	struct flow *f = bpf_map_lookup_elem(&flows, &s->tuple);

	return f && f->cookie == s->flow.cookie ? f : 0;
}

/* Withdraw the record of a socket that connects anew or is closed. */
static __always_inline void withdraw(struct socket *s)
{
	struct flow *f;

	if (!s->published || s->flow.established)
		return;
	/*
	 * An established connection may still wait to be accepted, even after
	 * its close; only one that never was can have no reader.
	 */
	f = record_of(s);
	if (f && !f->contested)
		bpf_map_delete_elem(&flows, &s->tuple);
}

static __always_inline int is_own(struct bpf_sock *sk)
{
	return own_mark && (sk->mark & own_mark) == own_mark &&
	       bpf_get_current_cgroup_id() == own_cgroup;
}

static __always_inline int is_listener(const struct addr *a, __u16 port)
{
	for (__u32 i = 0; i < MAX_LISTENERS; i++) {
		if (i < listeners_ipv4 && listener_ipv4[i].port == port &&
		    listener_ipv4[i].addr.word[3] == a->word[3] && is_mapped(a))
			return 1;
		if (i < listeners_ipv6 && listener_ipv6[i].port == port && !is_mapped(a))
			return 1;
	}
	return 0;
}

static __always_inline int is_captured(__u16 port)
{
	return bpf_map_lookup_elem(&ports, &port) != 0;
}

/*
 * Tell user space the cookie of a namespace, for kernels without
 * SO_NETNS_COOKIE: it connects a socket of its own, which is not TCP, so that
 * nothing is sent, to one of its listeners.
 */
static __always_inline void note_netns(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
				       const struct addr *to, __u16 port)
{
	__u32 zero = 0;
	struct state *s;

	if (!is_own(sk) || !is_listener(to, port))
		return;
	s = bpf_map_lookup_elem(&state, &zero);
	if (s)
		s->own_netns = bpf_get_netns_cookie(ctx);
}

/* Whether the records did not fit a moment ago. */
static __always_inline int is_full(void)
{
	__u32 zero = 0;
	struct state *s = bpf_map_lookup_elem(&state, &zero);

	return s && s->full_until && bpf_ktime_get_boot_ns() < s->full_until;
}

/* Free the socket from its device, which has no way to loopback. */
static __always_inline int unbind_device(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	char none[16] = {};

	if (!sk->bound_dev_if)
		return 0;
	return bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTODEVICE, none, sizeof(none));
}

/* Whether a listener of ours is there: REASON_NONE, or what is wrong with it. */
static __always_inline __u8 check(struct bpf_sock_addr *ctx, const struct listener *l, int ipv4)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	__u32 size, *tag;

	if (ipv4) {
		t.ipv4.daddr = l->addr.word[3];
		t.ipv4.dport = bpf_htons(l->port);
		size = sizeof(t.ipv4);
	} else {
		__builtin_memcpy(t.ipv6.daddr, l->addr.word, sizeof(t.ipv6.daddr));
		t.ipv6.dport = bpf_htons(l->port);
		size = sizeof(t.ipv6);
	}
	sk = bpf_sk_lookup_tcp(ctx, &t, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return REASON_LISTENER_GONE;
	tag = bpf_sk_storage_get(&tags, sk, 0, 0);
	bpf_sk_release(sk);
	return tag ? REASON_NONE : REASON_LISTENER_FOREIGN;
}

/*
 * Whether a connect would arrive at a living listener of ours as it stands.
 * Nobody's may: it could have the tuple of another's that was reset and waits to
 * be accepted, and be taken for it. The kernel takes the unspecified address for
 * loopback, and for that of IPv4 where the socket is bound to one.
 */
static __always_inline int reaches_us(struct bpf_sock_addr *ctx, const struct addr *to, __u16 port)
{
	int ipv4 = is_mapped(to), any = ipv4 ? !to->word[3] : is_zero(to);

	for (__u32 i = 0; i < MAX_LISTENERS; i++) {
		struct listener four = listener_ipv4[i], six = listener_ipv6[i];

		if (i < listeners_ipv4 && four.port == port && (any || same(&four.addr, to)) &&
		    check(ctx, &four, 1) == REASON_NONE)
			return 1;
		if (i < listeners_ipv6 && six.port == port && !ipv4 &&
		    check(ctx, &six, 0) == REASON_NONE)
			return 1;
	}
	return 0;
}

/*
 * Whether a socket has a connection to a listener already from the port that
 * this one is bound to. Its owner means another destination with the same port,
 * which is no clash where it thinks to be, but would be one here. Sought is the
 * socket that the listener's answers would find.
 */
static __always_inline int is_taken(struct bpf_sock_addr *ctx, const struct bpf_sock *from,
				    const struct listener *l, int ipv4)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	int connected;

	if (!from->src_port)
		return 0;
	if (ipv4) {
		t.ipv4.saddr = l->addr.word[3];
		t.ipv4.sport = bpf_htons(l->port);
		t.ipv4.daddr = from->src_ip4 ?: bpf_htonl(0x7f000001);
		t.ipv4.dport = bpf_htons(from->src_port);
		sk = bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(t.ipv6.saddr, l->addr.word, sizeof(t.ipv6.saddr));
		t.ipv6.sport = bpf_htons(l->port);
		t.ipv6.daddr[0] = from->src_ip6[0];
		t.ipv6.daddr[1] = from->src_ip6[1];
		t.ipv6.daddr[2] = from->src_ip6[2];
		t.ipv6.daddr[3] = from->src_ip6[3];
		if (!(t.ipv6.daddr[0] | t.ipv6.daddr[1] | t.ipv6.daddr[2] | t.ipv6.daddr[3]))
			t.ipv6.daddr[3] = bpf_htonl(1);
		t.ipv6.dport = bpf_htons(from->src_port);
		sk = bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	connected = sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return connected;
}

/*
 * One of our listeners, by chance, so that source ports last for each of them.
 * Where all are taken the kernel tells the owner so, as it does at any port.
 */
static __always_inline __u8 choose(struct bpf_sock_addr *ctx, const struct bpf_sock *from, int ipv4,
				   struct listener *l)
{
	__u32 n = ipv4 ? listeners_ipv4 : listeners_ipv6;
	__u32 first = bpf_get_prandom_u32();
	__u8 worst = REASON_LISTENER_GONE;

	for (__u32 i = 0; i < MAX_LISTENERS && i < n; i++) {
		__u32 at = ((first + i) % n) & (MAX_LISTENERS - 1);
		struct listener next = ipv4 ? listener_ipv4[at] : listener_ipv6[at];
		__u8 reason = check(ctx, &next, ipv4);

		if (reason == REASON_LISTENER_FOREIGN && worst == REASON_LISTENER_GONE)
			worst = reason;
		if (reason != REASON_NONE)
			continue;
		*l = next;
		worst = reason;
		if (!is_taken(ctx, from, l, ipv4))
			break;
	}
	return worst;
}

/* nftables sends a connection to any of them by chance, so all must be there. */
static __always_inline __u8 check_all(struct bpf_sock_addr *ctx, int ipv4)
{
	__u32 n = ipv4 ? listeners_ipv4 : listeners_ipv6;

	for (__u32 i = 0; i < MAX_LISTENERS && i < n; i++) {
		struct listener l = ipv4 ? listener_ipv4[i] : listener_ipv6[i];
		__u8 reason = check(ctx, &l, ipv4);

		if (reason != REASON_NONE)
			return reason;
	}
	return n ? REASON_NONE : REASON_LISTENER_GONE;
}

/* The source address that the kernel would have chosen, for getsockname. */
static __always_inline void find_source(struct socket *s, struct bpf_sock *sk)
{
	struct route key = {.prefix = 64 + 128};
	struct addr *source;

	if (redirect_mark)
		return; /* the kernel chooses it, and tells the truth */
	if (s->ipv4 ? sk->src_ip4
		    : sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3])
		return; /* bound by its owner: the kernel keeps it and tells the truth */
	key.netns[0] = s->flow.netns >> 32;
	key.netns[1] = s->flow.netns;
	key.destination = s->flow.original;
	source = bpf_map_lookup_elem(&routes, &key);
	if (source)
		s->local = *source;
}

/* Remember a socket that is about to be redirected to l. */
static __always_inline int remember(struct bpf_sock_addr *ctx, struct bpf_sock *sk, int ipv4,
				    const struct addr *original, __u16 port,
				    const struct listener *l)
{
	struct socket *s = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!s)
		return -1;
	identify(&s->flow);
	s->flow.cookie = bpf_get_socket_cookie(ctx);
	s->flow.netns = bpf_get_netns_cookie(ctx);
	s->flow.original = *original;
	s->flow.original_port = port;
	s->flow.verdict = VERDICT_REDIRECT;
	s->tuple.netns = s->flow.netns;
	s->tuple.destination = l->addr;
	s->tuple.destination_port = l->port;
	s->ipv4 = ipv4;
	find_source(s, sk);
	return 0;
}

/* Forget what this socket was when it connected before. */
static __always_inline void forget(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	struct socket *s = bpf_sk_storage_get(&sockets, sk, 0, 0);

	if (!s)
		return;
	withdraw(s);
	bpf_sk_storage_delete(&sockets, sk);
	if (redirect_mark)
		set_mark(ctx, sk, 0);
}

/*
 * The whole way of a TCP connect(); where it ends in VERDICT_REDIRECT, l is set.
 * Everybody's connect() comes here, so what most have in common is asked first.
 */
static __always_inline struct decision connect(struct bpf_sock_addr *ctx, struct bpf_sock *sk,
					       const struct addr *to, __u16 port,
					       struct listener *l)
{
	int ipv4 = is_mapped(to);
	struct facts facts = {.local = is_local(to)};
	struct decision d;

	forget(ctx, sk);
	facts.listener = facts.local && reaches_us(ctx, to, port);
	if (facts.local && !facts.listener)
		return pass(REASON_NONE);
	facts.own = is_own(sk);
	if (!facts.own)
		facts.scope = current_scope();
	facts.captured = facts.scope == SCOPE_INCLUDE && is_captured(port);
	d = decide(&facts);
	if (d.verdict != VERDICT_REDIRECT)
		return d;
	if (is_full())
		return unavailable(REASON_MAP_FULL);
	d.reason = redirect_mark ? check_all(ctx, ipv4) : choose(ctx, sk, ipv4, l);
	if (d.reason != REASON_NONE)
		return unavailable(d.reason);
	if (is_source_routed(sk))
		return refuse(REASON_SOURCE_ROUTE);
	if (unbind_device(ctx, sk))
		return refuse(REASON_BOUND_DEVICE);
	if (remember(ctx, sk, ipv4, to, port, l))
		return has_burden(sk) ? refuse(REASON_MAP_FULL) : unavailable(REASON_MAP_FULL);
	if (redirect_mark && set_mark(ctx, sk, 1))
		return unavailable(REASON_LISTENER_GONE); /* there is no way to it */
	count(COUNTER_REDIRECTED);
	return d;
}

static __always_inline int is_tcp(struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_STREAM && ctx->protocol == IPPROTO_TCP;
}

SEC("cgroup/connect4")
int on_connect4(struct bpf_sock_addr *ctx)
{
	struct addr to = mapped(ctx->user_ip4);
	__u16 port = bpf_ntohs(ctx->user_port);
	struct bpf_sock *sk = ctx->sk;
	struct listener l = {};
	struct decision d;

	if (!sk)
		return ALLOW;
	if (!is_tcp(ctx)) {
		note_netns(ctx, sk, &to, port);
		return ALLOW;
	}
	d = connect(ctx, sk, &to, port, &l);
	if (d.verdict != VERDICT_REDIRECT)
		return conclude(ctx, &to, port, d);
	if (redirect_mark)
		return ALLOW;
	KEEP(ctx);
	ctx->user_ip4 = l.addr.word[3];
	KEEP(ctx);
	ctx->user_port = bpf_htons(l.port);
	return ALLOW;
}

static __always_inline struct addr user_ip6(struct bpf_sock_addr *ctx)
{
	struct addr a;

	a.word[0] = ctx->user_ip6[0];
	a.word[1] = ctx->user_ip6[1];
	a.word[2] = ctx->user_ip6[2];
	a.word[3] = ctx->user_ip6[3];
	return a;
}

static __always_inline void set_user_ip6(struct bpf_sock_addr *ctx, const struct addr *a)
{
	__u32 w0 = a->word[0], w1 = a->word[1], w2 = a->word[2], w3 = a->word[3];

	KEEP(ctx);
	ctx->user_ip6[0] = w0;
	KEEP(ctx);
	ctx->user_ip6[1] = w1;
	KEEP(ctx);
	ctx->user_ip6[2] = w2;
	KEEP(ctx);
	ctx->user_ip6[3] = w3;
}

SEC("cgroup/connect6")
int on_connect6(struct bpf_sock_addr *ctx)
{
	struct addr to = user_ip6(ctx);
	__u16 port = bpf_ntohs(ctx->user_port);
	struct bpf_sock *sk = ctx->sk;
	struct listener l = {};
	struct decision d;

	if (!sk)
		return ALLOW;
	if (!is_tcp(ctx)) {
		note_netns(ctx, sk, &to, port);
		return ALLOW;
	}
	d = connect(ctx, sk, &to, port, &l);
	if (d.verdict != VERDICT_REDIRECT)
		return conclude(ctx, &to, port, d);
	if (redirect_mark)
		return ALLOW;
	set_user_ip6(ctx, &l.addr); /* ::ffff:127.0.0.1 where the destination was mapped */
	KEEP(ctx);
	ctx->user_port = bpf_htons(l.port);
	return ALLOW;
}

/* ---- the SYN ---- */

static __always_inline void note_full(void)
{
	__u32 zero = 0;
	struct state *s = bpf_map_lookup_elem(&state, &zero);

	if (s)
		s->full_until = bpf_ktime_get_boot_ns() + SECOND;
	count(COUNTER_RECORDS_LOST);
}

/* Let user space find the record by the tuple that it will see at accept. */
static __always_inline void publish(struct socket *s)
{
	struct flow *other;

	s->published = !bpf_map_update_elem(&flows, &s->tuple, &s->flow, BPF_NOEXIST);
	if (s->published)
		return;
	other = bpf_map_lookup_elem(&flows, &s->tuple);
	if (!other) { /* there is no room, or it has just been read */
		s->published = !bpf_map_update_elem(&flows, &s->tuple, &s->flow, BPF_NOEXIST);
		if (!s->published)
			note_full();
		return;
	}
	if (redirect_mark && !other->established) {
		/*
		 * conntrack gives a tuple to one connection at a time: it has given up on the
		 * other, which nobody can have accepted and which has to be translated anew.
		 */
		s->published = !bpf_map_update_elem(&flows, &s->tuple, &s->flow, BPF_ANY);
		return;
	}
	/*
	 * A reset connection waits to be accepted under the same tuple, of another
	 * socket or of this one, which may have changed hands. Which of the two user
	 * space will see first cannot be known, so neither gets a record.
	 */
	__sync_fetch_and_add(&other->contested, 1);
	count(COUNTER_RECORDS_CONTESTED);
}

/* From now on the connection may wait to be accepted: publish asks that of a record. */
static __always_inline void note_established(struct socket *s)
{
	struct flow *f;

	s->flow.established = 1;
	if (!redirect_mark)
		return;
	f = record_of(s);
	if (f)
		f->established = 1;
}

SEC("sockops")
int track_tuple(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk;
	struct socket *s;

	if (ops->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return 1;
	sk = ops->sk;
	if (!sk)
		return 1;
	s = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!s)
		return 1;
	if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
		note_established(s);
		return 1;
	}
	if (redirect_mark)
		return 1; /* join_nat publishes it */
	if (s->ipv4) {	  /* a mapped socket too: the connection itself is IPv4 */
		s->tuple.source = mapped(ops->local_ip4);
	} else {
		s->tuple.source.word[0] = ops->local_ip6[0];
		s->tuple.source.word[1] = ops->local_ip6[1];
		s->tuple.source.word[2] = ops->local_ip6[2];
		s->tuple.source.word[3] = ops->local_ip6[3];
	}
	s->tuple.source_port = ops->local_port;
	publish(s);
	if (is_mptcp(sk)) {
		struct truth t = {s->flow.original, s->local, s->flow.original_port, {}};

		bpf_map_update_elem(&peers, &s->tuple, &t, BPF_ANY);
	}
	return 1;
}

/* ---- the names it asks for ---- */

/* The tuple of a connected socket. Volatile for the reason that KEEP exists. */
static __always_inline void tuple_of(volatile struct bpf_sock *sk, __u64 netns, int ipv4,
				     struct tuple *t)
{
	__u32 source4 = sk->src_ip4, destination4 = sk->dst_ip4;

	t->netns = netns;
	t->source_port = sk->src_port;
	t->destination_port = bpf_ntohs(sk->dst_port);
	t->source.word[0] = sk->src_ip6[0];
	t->source.word[1] = sk->src_ip6[1];
	t->source.word[2] = sk->src_ip6[2];
	t->source.word[3] = sk->src_ip6[3];
	t->destination.word[0] = sk->dst_ip6[0];
	t->destination.word[1] = sk->dst_ip6[1];
	t->destination.word[2] = sk->dst_ip6[2];
	t->destination.word[3] = sk->dst_ip6[3];
	if (!ipv4)
		return;
	t->source = mapped(source4);
	t->destination = mapped(destination4);
}

/* The truth of a redirected connection of MPTCP, whose subflow is another socket. */
static __always_inline int find_truth(struct bpf_sock_addr *ctx, struct bpf_sock *sk, int ipv4,
				      struct truth *truth)
{
	struct tuple t = {};
	struct truth *known;

	if (ctx->protocol != IPPROTO_MPTCP)
		return 0;
	tuple_of(sk, bpf_get_netns_cookie(ctx), ipv4, &t);
	known = bpf_map_lookup_elem(&peers, &t);
	if (known)
		*truth = *known;
	return known != 0;
}

/*
 * Whom a redirected socket means; port 0 for every other. Every accept() asks for the
 * peer, so one that is not on loopback, where our listeners are, is told as it stands.
 */
static __always_inline __u16 peer_of(struct bpf_sock_addr *ctx, int ipv4, struct addr *peer)
{
	struct bpf_sock *sk = ctx->sk;
	struct truth truth;
	struct socket *s;

	if (!sk || !is_local(peer))
		return 0;
	s = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (s) {
		*peer = s->flow.original;
		return s->flow.original_port;
	}
	if (!find_truth(ctx, sk, ipv4, &truth))
		return 0;
	*peer = truth.peer;
	return truth.peer_port;
}

/* The address that a redirected socket would have; zero for every other. */
static __always_inline struct addr local_of(struct bpf_sock_addr *ctx, int ipv4)
{
	struct bpf_sock *sk = ctx->sk;
	struct truth truth;
	struct socket *s;

	if (!sk)
		return (struct addr){};
	s = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (s)
		return s->local;
	return find_truth(ctx, sk, ipv4, &truth) ? truth.local : (struct addr){};
}

SEC("cgroup/getpeername4")
int tell_peer4(struct bpf_sock_addr *ctx)
{
	struct addr peer = mapped(ctx->user_ip4);
	__u16 port = peer_of(ctx, 1, &peer);

	if (!port)
		return ALLOW;
	KEEP(ctx);
	ctx->user_ip4 = peer.word[3];
	KEEP(ctx);
	ctx->user_port = bpf_htons(port);
	return ALLOW;
}

SEC("cgroup/getpeername6")
int tell_peer6(struct bpf_sock_addr *ctx)
{
	struct addr peer = user_ip6(ctx);
	__u16 port = peer_of(ctx, is_mapped(&peer), &peer);

	if (!port)
		return ALLOW;
	set_user_ip6(ctx, &peer);
	KEEP(ctx);
	ctx->user_port = bpf_htons(port);
	return ALLOW;
}

/* Every redirected connection has an end on loopback, unless its owner has chosen another. */
SEC("cgroup/getsockname4")
int tell_local4(struct bpf_sock_addr *ctx)
{
	struct addr local = mapped(ctx->user_ip4);

	if (!is_local(&local))
		return ALLOW;
	local = local_of(ctx, 1);
	if (is_zero(&local))
		return ALLOW;
	KEEP(ctx);
	ctx->user_ip4 = local.word[3];
	return ALLOW;
}

SEC("cgroup/getsockname6")
int tell_local6(struct bpf_sock_addr *ctx)
{
	struct addr local = user_ip6(ctx);

	if (!is_local(&local))
		return ALLOW;
	local = local_of(ctx, is_mapped(&local));
	if (is_zero(&local))
		return ALLOW;
	set_user_ip6(ctx, &local);
	return ALLOW;
}

/* ---- its end ---- */

SEC("cgroup/sock_release")
int on_release(struct bpf_sock *sk)
{
	struct socket *s;

	if (sk->state == BPF_TCP_ESTABLISHED || sk->state == BPF_TCP_CLOSE_WAIT)
		return 1; /* withdraw would find it so; most sockets of the host leave here */
	s = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (s)
		withdraw(s);
	return 1;
}

/* ---- UDP ---- */

/*
 * QUIC is refused at once, so that clients fall back to TCP. Only unconnected
 * sockets come here; the packets of the others meet on_egress. A UDP connect()
 * to 443 must pass: that is how getaddrinfo asks for source addresses, and it
 * would sort them wrongly.
 */
static __always_inline int udp(struct bpf_sock_addr *ctx, const struct addr *to)
{
	__u16 port = bpf_ntohs(ctx->user_port);
	struct bpf_sock *sk = ctx->sk;

	if (!refuse_quic || port != HTTPS || ctx->type != SOCK_DGRAM || !sk || is_local(to))
		return ALLOW;
	if (current_scope() != SCOPE_INCLUDE || !is_captured(port) || is_own(sk))
		return ALLOW;
	return conclude(ctx, to, port, (struct decision){VERDICT_DENY, REASON_QUIC_REFUSED});
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct addr to = mapped(ctx->user_ip4);

	return udp(ctx, &to);
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct addr to = user_ip6(ctx);

	return udp(ctx, &to);
}

/* ---- packets ---- */

/*
 * on_egress alone is not at the root: it stands at the cgroups in scope, so
 * that the packets of all others cost nothing. What it sees are packets of
 * sockets that were made there.
 */

/* The scope of the cgroup in which a packet's socket was made. */
static __always_inline __u32 socket_scope(struct __sk_buff *skb)
{
	__u32 scope = SCOPE_NONE;

	for (int level = 0; level < MAX_DEPTH; level++) {
		__u64 id = bpf_skb_ancestor_cgroup_id(skb, level);
		__u32 *said;

		if (!id)
			break;
		said = scope_of(id);
		if (said)
			scope = *said;
	}
	return scope;
}

static __always_inline struct addr destination_of(struct __sk_buff *skb)
{
	struct addr a = {};
	__u32 ip = 0;

	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		bpf_skb_load_bytes(skb, offsetof(struct ipv6hdr, daddr), &a, sizeof(a));
		return a;
	}
	bpf_skb_load_bytes(skb, offsetof(struct iphdr, daddr), &ip, sizeof(ip));
	return mapped(ip);
}

/* The UDP or TCP destination port; 0 where an extension or IPsec stands before it. */
static __always_inline __u16 port_of(struct __sk_buff *skb)
{
	__u32 at = sizeof(struct ipv6hdr);
	__u8 protocol = 0, first = 0;
	__u16 port = 0;

	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		bpf_skb_load_bytes(skb, offsetof(struct ipv6hdr, nexthdr), &protocol, 1);
	} else {
		bpf_skb_load_bytes(skb, 0, &first, 1);
		bpf_skb_load_bytes(skb, offsetof(struct iphdr, protocol), &protocol, 1);
		at = (first & 0xf) * 4;
	}
	if (protocol != IPPROTO_UDP && protocol != IPPROTO_UDPLITE && protocol != IPPROTO_TCP)
		return 0;
	bpf_skb_load_bytes(skb, at + offsetof(struct udphdr, dest), &port, sizeof(port));
	return bpf_ntohs(port);
}

/*
 * QUIC of a connected socket. Both are asked: the socket may be connected anew
 * while the packet is on its way.
 */
static __always_inline int is_quic(struct __sk_buff *skb, struct bpf_sock *sk)
{
	return bpf_ntohs(sk->dst_port) == HTTPS || port_of(skb) == HTTPS;
}

/* Where a socket is connected to. Volatile for the reason that KEEP exists. */
static __always_inline struct addr connected_to(volatile struct bpf_sock *sk)
{
	__u32 ipv4 = sk->dst_ip4;
	struct addr a;

	a.word[0] = sk->dst_ip6[0];
	a.word[1] = sk->dst_ip6[1];
	a.word[2] = sk->dst_ip6[2];
	a.word[3] = sk->dst_ip6[3];
	return sk->family == AF_INET ? mapped(ipv4) : a;
}

/* Whether a TCP connection is one to loopback, as every redirected one is. */
static __always_inline int ends_on_loopback(struct bpf_sock *sk)
{
	struct addr to = connected_to(sk);

	return is_local(&to) && to.word[3]; /* a listener, which answers too, has no peer */
}

/*
 * Whether this is the SYN of a connection that the connect hooks would have led
 * to loopback, or refused: somebody has detached them. Fail open lets it pass, as
 * it does where we are dead. With backend nft it is join_nat's where they have
 * seen it.
 */
static __always_inline int is_unseen(struct bpf_sock *sk)
{
	if (fail_open || sk->state != BPF_TCP_SYN_SENT || !is_captured(bpf_ntohs(sk->dst_port)))
		return 0;
	return !redirect_mark || !bpf_sk_storage_get(&sockets, sk, 0, 0);
}

/* What is wrong with a packet that leaves this host, as far as its socket tells. */
static __always_inline struct decision judge(struct __sk_buff *skb, struct bpf_sock *sk)
{
	if (sk->type == SOCK_STREAM && sk->protocol == IPPROTO_TCP) {
		if (ends_on_loopback(sk))
			return refuse(REASON_STRAYED);
		return is_unseen(sk) ? refuse(REASON_CONNECT_UNSEEN) : pass(REASON_NONE);
	}
	if (sk->type == SOCK_DGRAM &&
	    (sk->protocol == IPPROTO_UDP || sk->protocol == IPPROTO_UDPLITE))
		return refuse_quic && is_quic(skb, sk) && is_captured(HTTPS)
			       ? refuse(REASON_QUIC_REFUSED)
			       : pass(REASON_NONE);
	return refuse_raw ? refuse(REASON_RAW_SOCKET) : pass(REASON_RAW_SOCKET);
}

#define OUTSIDER 1U /* in noted, beside the bits of reasons, of which none is 0 */

/*
 * Whether who connects a socket that was made in scope is not in scope himself:
 * the connect hooks go by him. He is the current task while he sends the SYN; for
 * one that a timer sends again holds what was found then.
 */
static __always_inline int is_outsider(struct bpf_sock *sk)
{
	__u32 *seen = bpf_sk_storage_get(&noted, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!seen)
		return 0;
	if (is_sent_by_call(sk)) {
		*seen &= ~OUTSIDER;
		if (traced_scope((void *)bpf_get_current_task()) != SCOPE_INCLUDE)
			*seen |= OUTSIDER;
	}
	return *seen & OUTSIDER;
}

/* Whether this is the first time that a socket is reported for a reason. */
static __always_inline int is_news(struct bpf_sock *sk, __u8 reason)
{
	__u32 *seen = bpf_sk_storage_get(&noted, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	__u32 bit = 1U << (reason & (REASON_END - 1));

	if (!seen)
		return 1;
	if (*seen & bit)
		return 0;
	*seen |= bit;
	return 1;
}

static __always_inline void report_packet(struct __sk_buff *skb, struct bpf_sock *sk,
					  struct decision d)
{
	struct addr to = destination_of(skb);
	struct event *e;

	count_verdict(d);
	if (!is_news(sk, d.reason))
		return;
	e = begin(&to, port_of(skb), d);
	if (!e)
		return;
	e->flow.cookie = bpf_get_socket_cookie(skb);
	identify_sender(&e->flow, sk, bpf_skb_cgroup_id(skb));
	bpf_ringbuf_submit(e, 0);
}

/* The caller sees EPERM from send(), except TCP, which tries again in vain. */
SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct decision d;

	if (!sk || skb->ifindex == LOOPBACK)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return ALLOW;
	d = judge(skb, sk);
	if (d.reason == REASON_NONE || socket_scope(skb) != SCOPE_INCLUDE)
		return ALLOW;
	if (own_mark && (sk->mark & own_mark) == own_mark && bpf_skb_cgroup_id(skb) == own_cgroup)
		return ALLOW;
	if (d.reason == REASON_CONNECT_UNSEEN && is_outsider(sk))
		return ALLOW;
	report_packet(skb, sk, d);
	return d.verdict == VERDICT_DENY ? REFUSE : ALLOW;
}

/* Publish a connection under the tuple that its SYN has after NAT. */
static __always_inline void join(struct socket *s, const struct packet *p)
{
	if (s->flow.established)
		return; /* a late copy */
	if (s->published && same_tuple(&s->tuple, &p->tuple) && record_of(s))
		return; /* sent again */
	withdraw(s);
	s->published = 0;
	__builtin_memcpy(&s->tuple, &p->tuple, sizeof(s->tuple));
	s->tuple.netns = s->flow.netns;
	publish(s);
}

/* Report the first packet of a connection that cannot go on, by its record. */
static __always_inline void report_stray(struct bpf_sock *sk, const struct socket *s, __u8 reason)
{
	struct decision d = refuse(reason);
	struct event *e;

	count_verdict(d);
	if (!is_news(sk, d.reason))
		return;
	e = begin(&s->flow.original, s->flow.original_port, d);
	if (!e)
		return;
	e->flow = s->flow;
	e->flow.original = connected_to(sk);
	e->flow.original_port = bpf_ntohs(sk->dst_port);
	e->flow.verdict = d.verdict;
	e->flow.reason = d.reason;
	bpf_ringbuf_submit(e, 0);
}

static __always_inline struct addr source_of(struct bpf_sock *sk)
{
	struct addr a;

	if (sk->family == AF_INET)
		return mapped(sk->src_ip4);
	a.word[0] = sk->src_ip6[0];
	a.word[1] = sk->src_ip6[1];
	a.word[2] = sk->src_ip6[2];
	a.word[3] = sk->src_ip6[3];
	return a;
}

/*
 * Whether an answer of ours has kept our own address, because nothing gave it
 * the one that its reader knows. It would be answered by a reset, and the reader
 * would wait in vain; dropped, it is sent again, when the table may be back.
 */
static __always_inline int is_bare_answer(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct packet p = {};
	struct addr own;

	if (skb->ifindex != LOOPBACK || sk->protocol != IPPROTO_TCP)
		return 0;
	own = source_of(sk);
	if (!is_local(&own) || !is_listener(&own, sk->src_port))
		return 0;
	read_packet(skb, &p);
	return same(&p.tuple.source, &own) && !is_local(&p.tuple.destination);
}

/*
 * Whether a connection is the one of its record. It is another where the connect
 * hook was detached and the socket connected anew.
 */
static __always_inline int is_recorded(struct bpf_sock *sk, const struct socket *s)
{
	struct addr to = connected_to(sk);

	return same(&to, &s->flow.original) && bpf_ntohs(sk->dst_port) == s->flow.original_port;
}

/*
 * Attached for backend nft alone, at the root: a socket may have been made
 * before its process came into the scope. Every packet of a redirected
 * connection must go to loopback, and the first to a listener of ours. One that
 * does not, because nothing redirected it, is dropped; TCP sends it again, when
 * the table may be back.
 */
SEC("cgroup_skb/egress")
int join_nat(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct packet p = {};
	struct socket *s;

	if (!sk)
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return ALLOW;
	s = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!s)
		return is_bare_answer(skb, sk) ? REFUSE : ALLOW;
	read_packet(skb, &p);
	if (p.syn && !is_recorded(sk, s)) {
		report_stray(sk, s, REASON_CONNECT_UNSEEN);
		return REFUSE;
	}
	if (!is_local(&p.tuple.destination) || is_zero(&p.tuple.destination) ||
	    (p.syn && !is_listener(&p.tuple.destination, p.tuple.destination_port))) {
		report_stray(sk, s, REASON_STRAYED);
		return REFUSE;
	}
	if (p.syn)
		join(s, &p);
	return ALLOW;
}

/* ---- bind ---- */

static __always_inline int is_our_port(__u16 port)
{
	for (__u32 i = 0; i < MAX_LISTENERS; i++) {
		if (i < listeners_ipv4 && listener_ipv4[i].port == port)
			return 1;
		if (i < listeners_ipv6 && listener_ipv6[i].port == port)
			return 1;
	}
	return 0;
}

/*
 * Nobody but us stands where our listeners do, be they open or not: whoever
 * did while we are dead would keep us from coming back. Every bind of the host
 * comes here; what is not a stream on loopback, or on all addresses, leaves at
 * once. Who is in scope is told of.
 */
static __always_inline int guard(struct bpf_sock_addr *ctx, const struct addr *at)
{
	struct decision d = {VERDICT_DENY, REASON_BIND_REFUSED};
	__u16 port = bpf_ntohs(ctx->user_port);
	struct bpf_sock *sk = ctx->sk;

	if (!port || ctx->type != SOCK_STREAM || !is_local(at) || !is_our_port(port))
		return ALLOW;
	if (sk && is_own(sk))
		return ALLOW;
	if (current_scope() == SCOPE_INCLUDE)
		return conclude(ctx, at, port, d);
	count_verdict(d);
	return REFUSE;
}

SEC("cgroup/bind4")
int on_bind4(struct bpf_sock_addr *ctx)
{
	struct addr at = mapped(ctx->user_ip4);

	return guard(ctx, &at);
}

SEC("cgroup/bind6")
int on_bind6(struct bpf_sock_addr *ctx)
{
	struct addr at = user_ip6(ctx);

	return guard(ctx, &at);
}

/* ---- processes ---- */

static __always_inline int report_process(__u32 kind)
{
	struct event *e;

	if (traced_scope((void *)bpf_get_current_task()) != SCOPE_INCLUDE)
		return 0;
	e = event_of(kind);
	if (!e)
		return 0;
	identify(&e->flow);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/*
 * A process has come into scope: what was connected before, and it holds, is for
 * user space to find.
 */
static __always_inline int report_join(struct task_struct *task)
{
	struct event *e;

	if (traced_scope(task) != SCOPE_INCLUDE)
		return 0;
	e = event_of(EVENT_JOIN);
	if (!e)
		return 0;
	e->flow.at = bpf_ktime_get_boot_ns();
	e->flow.cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	introduce(&e->flow, task);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/*
 * A process may be born into another cgroup than its parent's, by clone3, and is
 * not moved then. One that has its parent's memory, as of vfork, is about to
 * execute: until then it holds what is closed for who it will be, and belongs to
 * its parent, so on_exec reports it. A thread has that memory too, and the
 * descriptors of its process. The arguments are the parent and the child.
 */
SEC("raw_tp/sched_process_fork")
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	struct css_set *from = BPF_CORE_READ(parent, cgroups), *to = BPF_CORE_READ(child, cgroups);

	if (from == to || BPF_CORE_READ(from, dfl_cgrp) == BPF_CORE_READ(to, dfl_cgrp) ||
	    BPF_CORE_READ(parent, mm) == BPF_CORE_READ(child, mm))
		return 0;
	return report_join(child);
}

SEC("raw_tp/sched_process_exec")
int on_exec(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	report_process(EVENT_EXEC);
	return is_born_elsewhere(task) ? report_join(task) : 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(void *ctx)
{
	return is_group_dead() ? report_process(EVENT_EXIT) : 0;
}

/*
 * A process has been moved to another cgroup. The arguments are the cgroup, its
 * path and the task.
 */
SEC("raw_tp/cgroup_attach_task")
int on_join(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[2];

	if (BPF_CORE_READ(task, cgroups, dfl_cgrp) != (void *)ctx->args[0])
		return 0; /* another hierarchy, of cgroup v1 */
	return report_join(task);
}

/* ---- cgroups ---- */

static __always_inline int is_slice(struct cgroup *cgroup)
{
	const char ending[8] = ".slice";
	const char *name = BPF_CORE_READ(cgroup, kn, name);
	char end[8] = {}, whole[256];
	long size = bpf_probe_read_kernel_str(whole, sizeof(whole), name);

	if (size < (long)sizeof(ending) || bpf_probe_read_kernel(end, 6, name + size - 7))
		return 0;
	return *(__u64 *)end == *(__u64 *)ending;
}

/* Whether there are slices alone above a cgroup, as above the units of the system manager. */
static __always_inline int is_among_slices(struct cgroup *cgroup)
{
	for (int level = 0; level < MAX_DEPTH; level++) {
		struct cgroup *above = BPF_CORE_READ(cgroup, self.parent, cgroup);

		if (!above)
			return level > 0;
		if (level > 0 && !is_slice(cgroup))
			return 0;
		cgroup = above;
	}
	return 0;
}

/* What was said of a cgroup by its name, of any length that user space may say. */
static __always_inline __u32 *said_of(const char *text)
{
	struct name name = {};

	bpf_probe_read_kernel_str(name.text, sizeof(name.text), text);
	return bpf_map_lookup_elem(&awaited, &name);
}

/*
 * A cgroup has been made, and nobody can be in it before this returns: what its
 * name says of it holds from the first process on, whether user space runs or
 * not. The arguments are the cgroup and its path.
 */
SEC("raw_tp/cgroup_mkdir")
int on_mkdir(struct bpf_raw_tracepoint_args *ctx)
{
	struct cgroup *cgroup = (void *)ctx->args[0];
	struct event *e;
	__u32 *said, scope, low;
	__u8 one = 1;
	__u64 id;

	if (BPF_CORE_READ(cgroup, root, hierarchy_id))
		return 0; /* of cgroup v1 */
	said = said_of((void *)ctx->args[1]);
	if (!said) {
		said = said_of(BPF_CORE_READ(cgroup, kn, name));
		if (!said || !is_among_slices(cgroup))
			return 0;
	}
	id = BPF_CORE_READ(cgroup, kn, id);
	scope = *said;
	low = id & (SIEVE - 1);
	bpf_map_update_elem(&sieve, &low, &one, BPF_ANY);
	if (bpf_map_update_elem(&scopes, &id, &scope, BPF_ANY))
		count(REASON_MAP_FULL); /* it is not captured until user space has looked */
	e = event_of(EVENT_CGROUP);
	if (!e)
		return 0;
	e->flow.at = bpf_ktime_get_boot_ns();
	e->flow.cgroup = id;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
