/* What the program shares with its loader: verdicts, options and maps. lib.rs, config.rs and keys.rs mirror them. */
#pragma once

#include "bpf.h"

enum verdict {
	OTHER,     /* not PGM in the encapsulation asked for */
	VLAN,      /* not on our VLAN */
	SHORT,     /* cut off before the end of the PGM header */
	FRAGMENT,  /* IP fragment: cannot be reassembled here */
	UNCLAIMED, /* PGM, but not for us */
	FOREIGN,   /* for us, but its source is not allowed */
	FLOOD,     /* for us, but its source sent too many of the kind: the one verdict that drops */
	NO_SOCKET, /* ours, but no socket on this queue */
	STEERED,   /* ours, handed over */
	VERDICTS,
};

/* Set before loading, so that they are constants to the verifier: what is switched off is not even in the program. */
#define PORTS_MAX 4
const volatile struct options {
	u64 slice_ns;             /* how long `upstream_packets` last */
	u32 upstream_packets;     /* what a source may send upstream in a slice; 0: anything */
	u32 vlans;                /* VLAN numbers, 12 bits each, the outermost highest; 0: frames carry none */
	u16 udp_ports[PORTS_MAX]; /* in network order, in front of the zeroes; all 0: PGM is right behind IP */
	u32 sources_listed;       /* whether `sources` decides */
	u32 zero;
} options;

inline_always int is_port_of_ours(u16 port)
{
	int found = 0;

#pragma unroll
	for (int i = 0; i < PORTS_MAX; i++)
		found |= options.udp_ports[i] == port;
	return found && port;
}

/* Keys hold addresses and ports as on the wire; IPv4 leaves three words zero. */
struct host {
	u32 version; /* 4 or 6 */
	u32 address[4];
};

struct endpoint {
	struct host host;
	u16 port;
	u16 zero;
};

struct prefix {
	u32 bits; /* those of `version` counted too, which are always compared */
	struct host host;
};

struct meter {
	u64 since_ns;
	u64 packets;
};

struct {
	MAP_UINT(type, MAP_XSKMAP);
	MAP_UINT(max_entries, 256);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} sockets SECTION(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, struct endpoint);
	MAP_TYPE(value, u8);
} groups SECTION(".maps");

struct {
	MAP_UINT(type, MAP_HASH);
	MAP_UINT(max_entries, 1024);
	MAP_TYPE(key, struct endpoint);
	MAP_TYPE(value, u8);
} locals SECTION(".maps");

struct {
	MAP_UINT(type, MAP_LPM_TRIE);
	MAP_UINT(max_entries, 1024);
	MAP_UINT(map_flags, MAP_NO_PREALLOC);
	MAP_TYPE(key, struct prefix);
	MAP_TYPE(value, u8);
} sources SECTION(".maps");

struct {
	MAP_UINT(type, MAP_LRU_HASH);
	MAP_UINT(max_entries, 4096);
	MAP_TYPE(key, struct host);
	MAP_TYPE(value, struct meter);
} meters SECTION(".maps");

struct {
	MAP_UINT(type, MAP_PERCPU_ARRAY);
	MAP_UINT(max_entries, VERDICTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} verdicts SECTION(".maps");
