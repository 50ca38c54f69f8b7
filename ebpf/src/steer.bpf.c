/* The steering program: which frames an AF_XDP socket of ours gets. Everything else passes untouched.
 *
 *   Ethernet -> up to two VLAN tags -> IPv4 (options allowed, no fragments) -> protocol 113 -> PGM ports
 *     multicast: (group, data port) in `groups`      unicast: (address, destination port) in `locals`
 *     claimed -> the socket of the queue it came in on; no socket there -> pass
 *
 * IGMP, ARP, and groups and ports that nobody claimed here are none of our business: they pass, so that another user of
 * protocol 113 on the same host keeps working. The loader (lib.rs) owns the maps; `VERDICTS` there mirrors `enum verdict`. */
#include "bpf.h"

enum verdict {
	OTHER,     /* not PGM over IPv4 */
	SHORT,     /* cut off before the PGM ports */
	FRAGMENT,  /* IP fragment: cannot be reassembled here */
	UNCLAIMED, /* PGM, but not for us */
	NO_SOCKET, /* ours, but no socket on this queue */
	STEERED,   /* ours, handed over */
	VERDICTS,
};

/* An address and a port, both as on the wire; the padding is zero. */
struct endpoint {
	u32 address;
	u16 port;
	u16 zero;
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
	MAP_UINT(type, MAP_PERCPU_ARRAY);
	MAP_UINT(max_entries, VERDICTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} verdicts SECTION(".maps");

#define wire_format __attribute__((packed, aligned(2)))

struct ethernet {
	u8 destination[6];
	u8 source[6];
	u16 type;
} wire_format;

struct vlan {
	u16 tag;
	u16 type;
} wire_format;

struct ipv4 {
	u8 version_ihl;
	u8 tos;
	u16 length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 destination;
} wire_format;

struct pgm {
	u16 source_port;
	u16 destination_port;
	u8 type;
} wire_format;

#define TYPE_IPV4 network16(0x0800)
#define TYPE_VLAN network16(0x8100)
#define TYPE_SERVICE_VLAN network16(0x88a8)
#define PROTOCOL_PGM 113
#define VLAN_MAX 2

inline_always int pass(u32 verdict)
{
	u64 *count = map_lookup(&verdicts, &verdict);

	if (count)
		*count += 1;
	return XDP_PASS;
}

/* POLR, NAK, NNAK, SPMR and ACK go towards the source, their ports swapped; all others come from it. */
inline_always int is_upstream(u8 type)
{
	const u32 upstream = 1 << 0x2 | 1 << 0x8 | 1 << 0x9 | 1 << 0xc | 1 << 0xd;

	return upstream >> (type & 0xf) & 1;
}

/* A group is claimed with its data port, whichever way the packet goes: receivers hear each other's NAKs. A unicast packet
 * is claimed by the port it is sent to. */
inline_always int is_claimed(const struct ipv4 *ip, const struct pgm *pgm)
{
	/* Both ports are read first, and seen to be: the verifier follows no address that was computed by choice. */
	u16 from = *(const volatile u16 *)&pgm->source_port;
	u16 to = *(const volatile u16 *)&pgm->destination_port;
	struct endpoint key = { .address = ip->destination, .port = to };

	if ((ip->destination & network32(0xf0000000)) != network32(0xe0000000))
		return map_lookup(&locals, &key) != 0;
	if (is_upstream(pgm->type))
		key.port = from;
	return map_lookup(&groups, &key) != 0;
}

inline_always int steer_ipv4(struct xdp_md *context, const u8 *at, const u8 *end)
{
	const struct ipv4 *ip = (const void *)at;
	const struct pgm *pgm;
	u32 header;
	long action;

	if (at + sizeof(*ip) > end || ip->protocol != PROTOCOL_PGM)
		return pass(OTHER);
	/* More fragments, or not the first: the rest of the packet is elsewhere. */
	if (ip->fragment & network16(0x3fff))
		return pass(FRAGMENT);
	header = (ip->version_ihl & 0xf) * 4;
	pgm = (const void *)(at + header);
	if (header < sizeof(*ip) || (const u8 *)(pgm + 1) > end)
		return pass(SHORT);
	if (!is_claimed(ip, pgm))
		return pass(UNCLAIMED);
	action = redirect_map(&sockets, context->rx_queue_index, XDP_PASS);
	pass(action == XDP_REDIRECT ? STEERED : NO_SOCKET);
	return action;
}

SECTION("xdp")
int steer(struct xdp_md *context)
{
	const u8 *at = (const void *)(u64)context->data;
	const u8 *end = (const void *)(u64)context->data_end;
	const struct ethernet *ethernet = (const void *)at;
	u16 type;

	at += sizeof(*ethernet);
	if (at > end)
		return pass(OTHER);
	type = ethernet->type;
#pragma unroll
	for (int i = 0; i < VLAN_MAX; i++) {
		const struct vlan *vlan = (const void *)at;

		if (type != TYPE_VLAN && type != TYPE_SERVICE_VLAN)
			break;
		at += sizeof(*vlan);
		if (at > end)
			return pass(OTHER);
		type = vlan->type;
	}
	if (type == TYPE_IPV4)
		return steer_ipv4(context, at, end);
	return pass(OTHER);
}

char license_text[] SECTION("license") = "MIT";
