/* What the kernel promises to BPF programs, as far as the steering program uses it: stable numbers of its user interface.
 * Written out here so that the build needs clang and nothing else; no kernel headers, no libbpf. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* A map is described by the types of the members of an anonymous struct in section ".maps" (BTF). */
#define SECTION(name) __attribute__((section(name), used))
#define MAP_UINT(name, value) int (*name)[value]
#define MAP_TYPE(name, of) typeof(of) *name

enum map_type {
	MAP_HASH = 1,
	MAP_PERCPU_ARRAY = 6,
	MAP_XSKMAP = 17,
};

enum xdp_action {
	XDP_ABORTED,
	XDP_DROP,
	XDP_PASS,
	XDP_TX,
	XDP_REDIRECT,
};

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

#define inline_always static inline __attribute__((always_inline))
#define network16(x) __builtin_bswap16(x)
#define network32(x) __builtin_bswap32(x)
