/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Who the current task is. Only the fields we read are declared; CO-RE finds
 * them in the running kernel's own layout, so no vmlinux.h is needed.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "maps.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
};

struct mm_struct {
	struct file *exe_file;
};

struct kernfs_node {
	__u64 id;
	const char *name; /* the last part of the path */
};

struct cgroup;

struct cgroup_root {
	int hierarchy_id; /* 0: cgroup v2 */
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef struct {
	__u32 val;
} kernel_id;

struct cred {
	kernel_id euid;
	kernel_id egid;
};

typedef struct {
	int counter;
} atomic;

struct signal_struct {
	atomic live;
};

struct task_struct {
	int tgid;
	char comm[16];
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	__u64 start_boottime;
	__u64 self_exec_id;   /* counts what it has executed */
	__u64 parent_exec_id; /* the same of its parent, when it was born */
	const struct cred *cred;
	struct css_set *cgroups;
	struct signal_struct *signal;
};

struct ip_options {
	unsigned char srr;
};

struct ip_options_rcu {
	struct ip_options opt;
};

struct ipv6_txoptions {
	void *srcrt; /* the routing header */
};

struct ipv6_pinfo {
	struct ipv6_txoptions *opt;
};

typedef struct {
	int owned; /* by a system call */
} socket_lock_t;

struct sock {
	socket_lock_t sk_lock;
	atomic sk_omem_alloc; /* bytes beside the socket, of which each has but so many */
};

struct inet_sock {
	struct sock sk;
	struct ip_options_rcu *inet_opt;
	struct ipv6_pinfo *pinet6;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	_Bool is_mptcp;
};

#pragma clang attribute pop

static __always_inline void describe(struct flow *f, struct task_struct *task)
{
	struct inode *exe = BPF_CORE_READ(task, mm, exe_file, f_inode);

	f->start = BPF_CORE_READ(task, group_leader, start_boottime);
	f->uid = BPF_CORE_READ(task, cred, euid.val);
	f->gid = BPF_CORE_READ(task, cred, egid.val);
	f->exe_inode = BPF_CORE_READ(exe, i_ino);
	f->exe_dev = BPF_CORE_READ(exe, i_sb, s_dev);
}

/*
 * All of the caller, as a task that the verifier knows for one: its fields are
 * loads then, where there is a helper to call for each otherwise, and a
 * connect() feels that.
 */
static __always_inline void identify_directly(struct flow *f, struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	struct file *file = mm ? mm->exe_file : 0;
	struct inode *exe = file ? file->f_inode : 0;
	const struct cred *cred = task->cred;
	__u64 *comm = (__u64 *)f->comm, *said = (__u64 *)task->comm;

	f->cgroup = task->cgroups->dfl_cgrp->kn->id;
	f->pid = task->tgid;
	comm[0] = said[0];
	comm[1] = said[1];
	f->start = task->group_leader->start_boottime;
	f->uid = cred->euid.val;
	f->gid = cred->egid.val;
	if (!exe)
		return;
	f->exe_inode = exe->i_ino;
	f->exe_dev = exe->i_sb->s_dev;
}

/* Fill in the caller. An executable that cannot be read stays zero. */
static __always_inline void identify(struct flow *f)
{
	f->at = bpf_ktime_get_boot_ns();
	if (direct) {
		identify_directly(f, bpf_get_current_task_btf());
		return;
	}
	f->pid = bpf_get_current_pid_tgid() >> 32;
	f->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(f->comm, sizeof(f->comm));
	describe(f, (void *)bpf_get_current_task());
}

/* Fill in a task, by what every program may ask. */
static __always_inline void introduce(struct flow *f, struct task_struct *task)
{
	f->pid = BPF_CORE_READ(task, tgid);
	BPF_CORE_READ_INTO(&f->comm, task, comm);
	describe(f, task);
}

/*
 * Whether a packet is sent by a system call, so that the current task is who sends
 * it. One of TCP holds the lock of its socket then; what a timer or an answer sends
 * goes out within whatever runs. Nothing but system calls sends by other sockets.
 */
static __always_inline int is_sent_by_call(struct bpf_sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	return !tcp || tcp->inet_conn.icsk_inet.sk.sk_lock.owned;
}

/*
 * Fill in who sends a packet, by what a program of packets may ask. Where the
 * current task's cgroup is not the one that the socket was made in, it may be
 * a thread of the kernel, which sends for somebody: nothing is said then.
 */
static __always_inline void identify_sender(struct flow *f, struct bpf_sock *sk, __u64 cgroup)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	f->at = bpf_ktime_get_boot_ns();
	f->cgroup = cgroup;
	if (!is_sent_by_call(sk) || BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id) != cgroup)
		return;
	introduce(f, task);
}

/* What was said of a cgroup; null where nothing was. */
static __always_inline __u32 *scope_of(__u64 id)
{
	__u32 low = id & (SIEVE - 1);
	__u8 *any = bpf_map_lookup_elem(&sieve, &low);

	return any && *any ? bpf_map_lookup_elem(&scopes, &id) : 0;
}

/*
 * The scope of a task that the verifier knows for one: from its cgroup up, the
 * first one said wins. False where that is so deep that the root was not reached.
 */
static __always_inline int direct_scope(struct task_struct *task, __u32 *scope)
{
	struct cgroup *cgroup = task->cgroups->dfl_cgrp;

	for (int level = 0; level < MAX_DEPTH && cgroup; level++) {
		__u32 *said = scope_of(cgroup->kn->id);
		struct cgroup_subsys_state *parent = cgroup->self.parent;

		if (said) {
			*scope = *said;
			return 1;
		}
		cgroup = parent ? parent->cgroup : 0;
	}
	return !cgroup;
}

/*
 * The scope of the current task: from the root down, the last one said wins. Who may
 * make cgroups in his own can be as deep as he likes, and stays in scope.
 */
static __always_inline __u32 current_scope(void)
{
	__u32 scope = SCOPE_NONE;

	if (direct && direct_scope(bpf_get_current_task_btf(), &scope))
		return scope;
	for (int level = 0; level < MAX_DEPTH; level++) {
		__u64 id = bpf_get_current_ancestor_cgroup_id(level);
		__u32 *said;

		if (!id)
			break;
		said = scope_of(id);
		if (said)
			scope = *said;
	}
	return scope;
}

/*
 * The same for tracing programs, which have no ancestor helper before 5.15:
 * from the task's cgroup up, the first one said wins.
 */
static __always_inline __u32 traced_scope(struct task_struct *task)
{
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);

	for (int level = 0; level < MAX_TRACED && cgroup; level++) {
		__u32 *said = scope_of(BPF_CORE_READ(cgroup, kn, id));

		if (said)
			return *said;
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
	return cgroup ? SCOPE_INCLUDE : SCOPE_NONE;
}

/*
 * Whether a task executes for the first time, and its parent is not in scope: if it
 * is itself, it may be so by birth.
 */
static __always_inline int is_born_elsewhere(struct task_struct *task)
{
	return BPF_CORE_READ(task, self_exec_id) == BPF_CORE_READ(task, parent_exec_id) + 1 &&
	       traced_scope(BPF_CORE_READ(task, real_parent)) != SCOPE_INCLUDE;
}

/* Whether no thread of this process is left. Two that exit at once may both say so. */
static __always_inline int is_group_dead(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, signal, live.counter) == 0;
}

/*
 * Whether a socket asks for its packets to go by another address than their
 * destination: IPv6 lets everybody do so. The routing header decides then where
 * a packet goes, and a destination on loopback is only what stands at its end.
 */
static __always_inline int is_source_routed(struct bpf_sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct ip_options_rcu *ipv4;
	struct ipv6_pinfo *ipv6;

	if (!tcp)
		return 0;
	ipv4 = tcp->inet_conn.icsk_inet.inet_opt;
	if (ipv4 && ipv4->opt.srr)
		return 1;
	if (!bpf_core_field_exists(tcp->inet_conn.icsk_inet.pinet6))
		return 0;
	ipv6 = tcp->inet_conn.icsk_inet.pinet6;
	return ipv6 && ipv6->opt && ipv6->opt->srcrt;
}

/*
 * Whether a socket has anything beside it, as a filter. Its owner may have it as much
 * as there can be, so that nothing of ours fits.
 */
static __always_inline int has_burden(struct bpf_sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	return tcp && tcp->inet_conn.icsk_inet.sk.sk_omem_alloc.counter > 0;
}

/* Whether a TCP socket is a subflow of MPTCP. */
static __always_inline int is_mptcp(struct bpf_sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	return tcp && bpf_core_field_exists(tcp->is_mptcp) && tcp->is_mptcp;
}
