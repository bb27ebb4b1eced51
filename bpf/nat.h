/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Backend nft: the connect hook marks the socket, and our nftables table
 * redirects what is marked. conntrack may give the connection another source
 * port on the way, so its record is published where the packet shows the tuple
 * that the listener will see: at egress, after NAT. There too stands the fence,
 * which needs no nftables: a packet of a redirected connection that was not
 * redirected does not leave.
 */
#pragma once

#include <asm/socket.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include "decide.h"
#include "maps.h"

#define TCP_FLAGS_AT 13 /* in the header */
#define TCP_SYN	     0x02
#define TCP_ACK	     0x10

/* Set or clear our bit of a socket's mark. The others are its owner's. */
static __always_inline int set_mark(struct bpf_sock_addr *ctx, struct bpf_sock *sk, int on)
{
	__u32 mark = on ? sk->mark | redirect_mark : sk->mark & ~redirect_mark;

	return bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

/* A packet as far as the join looks at it. */
struct packet {
	struct tuple tuple;
	__u8 syn; /* it opens a connection */
	__u8 zero[7];
};

static __always_inline int read_ipv4(struct __sk_buff *skb, struct tuple *t)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return 0;
	t->source = mapped(ip.saddr);
	t->destination = mapped(ip.daddr);
	return ip.protocol == IPPROTO_TCP ? ip.ihl * 4 : 0;
}

static __always_inline int read_ipv6(struct __sk_buff *skb, struct tuple *t)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return 0;
	__builtin_memcpy(&t->source, &ip.saddr, sizeof(t->source));
	__builtin_memcpy(&t->destination, &ip.daddr, sizeof(t->destination));
	return ip.nexthdr == IPPROTO_TCP ? sizeof(ip) : 0;
}

/* Read a packet. What cannot be read stays zero, which is no destination of ours. */
static __always_inline void read_packet(struct __sk_buff *skb, struct packet *p)
{
	__u16 ports[2];
	__u8 flags;
	int at = skb->protocol == bpf_htons(ETH_P_IPV6) ? read_ipv6(skb, &p->tuple)
							: read_ipv4(skb, &p->tuple);

	if (!at || bpf_skb_load_bytes(skb, at, ports, sizeof(ports)) ||
	    bpf_skb_load_bytes(skb, at + TCP_FLAGS_AT, &flags, sizeof(flags)))
		return;
	p->tuple.source_port = bpf_ntohs(ports[0]);
	p->tuple.destination_port = bpf_ntohs(ports[1]);
	p->syn = (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline int same_tuple(const struct tuple *a, const struct tuple *b)
{
	return a->source_port == b->source_port && a->destination_port == b->destination_port &&
	       same(&a->source, &b->source) && same(&a->destination, &b->destination);
}
