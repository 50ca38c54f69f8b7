/* The packet formats that stand in front of PGM, and its own first header, as they are on the wire. */
#pragma once

#include "bpf.h"

/* Drivers place the Ethernet header two octets off a multiple of four, and tags and options come in fours: behind it u32
 * fields lie where their type says, so that one instruction reads them. The Ethernet header itself has none. */

struct ethernet {
	u8 destination[6];
	u8 source[6];
	u16 type;
};

struct vlan {
	u16 tag; /* priority, drop eligibility, 12 bits of VLAN number */
	u16 type;
};

struct ipv4 {
	u8 version_length; /* the length counts four octets */
	u8 tos;
	u16 length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 destination;
};

struct ipv6 {
	u8 version_class;
	u8 class_flow[3];
	u16 length;
	u8 next;
	u8 hops;
	u32 source[4];
	u32 destination[4];
};

/* Hop-by-hop options, destination options and routing begin alike. */
struct extension {
	u8 next;
	u8 length; /* counts eight octets, the first eight left out */
	u8 kind;
	u8 segments_left; /* of a routing header */
	u32 data;
};

struct udp {
	u16 source_port;
	u16 destination_port;
	u16 length;
	u16 checksum;
};

struct pgm {
	u16 source_port;
	u16 destination_port;
	u8 type;
	u8 options;
	u16 checksum;
	u8 gsi[6];
	u16 length;
};

#define TYPE_IPV4 network16(0x0800)
#define TYPE_IPV6 network16(0x86dd)
#define TYPE_VLAN network16(0x8100)
#define TYPE_SERVICE_VLAN network16(0x88a8)

enum protocol {
	HOP_BY_HOP = 0,
	UDP = 17,
	ROUTING = 43,
	FRAGMENT_HEADER = 44,
	DESTINATION = 60,
	PGM = 113,
};

/* Headers that may stand between IPv6 and what it carries, of the form of `struct extension`. */
inline_always int is_extension(u8 next)
{
	const u64 extensions = 1ull << HOP_BY_HOP | 1ull << ROUTING | 1ull << DESTINATION;

	return next < 64 && extensions >> next & 1;
}

/* POLR, NAK, NNAK, SPMR and ACK go towards the source, their ports swapped; all others come from it. */
inline_always int is_upstream(u8 type)
{
	const u32 upstream = 1 << 0x2 | 1 << 0x8 | 1 << 0x9 | 1 << 0xc | 1 << 0xd;

	return upstream >> (type & 0xf) & 1;
}
