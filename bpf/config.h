/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What user space sets before it loads the programs. The verifier sees these
 * as constants, so a switch that is off costs nothing. What changes while the
 * programs run (scope, ports, routes) lives in maps.
 */
#pragma once

#include "flow.h"

/* Counts up with every change of a pinned map; pkg/capture refuses others. */
#define LAYOUT_VERSION 7
volatile const __u32 layout_version = LAYOUT_VERSION;

#define MAX_LISTENERS 8	  /* per family; a power of two */
#define MAX_DEPTH     32  /* cgroup levels that the scope looks at, from either end */
#define MAX_TRACED    256 /* and where there is one end alone; what is deeper is in scope */

volatile const __u64 own_cgroup;
volatile const __u32 own_mark;
volatile const __u8 fail_open;
volatile const __u8 refuse_quic;
volatile const __u8 refuse_raw;
volatile const __u8 direct; /* the helper that gives a task to read without copying is there */
volatile const __u32 redirect_mark; /* backend nft: the bit of a redirected socket; 0: rewrite */

volatile const __u32 listeners_ipv4;
volatile const __u32 listeners_ipv6;
volatile const struct listener listener_ipv4[MAX_LISTENERS];
volatile const struct listener listener_ipv6[MAX_LISTENERS];
