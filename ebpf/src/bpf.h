/* What the kernel promises to BPF programs, as far as our programs use it: stable numbers of its user interface.
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
	MAP_ARRAY = 2,
	MAP_PERCPU_ARRAY = 6,
	MAP_LRU_HASH = 9,
	MAP_LPM_TRIE = 11,
	MAP_XSKMAP = 17,
};

/* A trie is given its memory entry by entry; the kernel wants to be told that we know. */
#define MAP_NO_PREALLOC 1
/* An array that processes may map. */
#define MAP_MAPPABLE 1024

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
static long (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const clock_ns)(void) = (void *)5;
static long (*const redirect)(u32 interface, u64 flags) = (void *)23;
static long (*const redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

#define inline_always static inline __attribute__((always_inline))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define network16(x) __builtin_bswap16(x)
#define network32(x) __builtin_bswap32(x)
#else
#define network16(x) (x)
#define network32(x) (x)
#endif
