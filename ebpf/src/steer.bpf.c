/* The steering program: which frames an AF_XDP socket of ours gets. Everything else passes untouched.
 *
 *   Ethernet -> VLAN tags -> IPv4 or IPv6 -> PGM, or UDP to a port of ours -> PGM
 *     multicast: (group, data port) in `groups`      unicast: (address, destination port) in `locals`
 *     claimed, its source allowed, no flood -> the socket of the queue it came in on; no socket there -> pass
 *
 * IGMP, ARP, and groups and ports that nobody claimed here are none of our business: they pass, so that another user of
 * PGM on the same host keeps working. What the loader shares with us is in maps.h. */
#include "maps.h"
#include "packet.h"

/* What is known of a packet; `at` is the first octet not read yet. */
struct packet {
	const u8 *at;
	const u8 *end;
	struct endpoint to;
	struct prefix from;
	int to_group;
};

/* The next octets of the packet, or none when it ends before. */
inline_always const void *take(struct packet *packet, u32 octets)
{
	const u8 *at = packet->at;

	if (at + octets > packet->end)
		return 0;
	packet->at = at + octets;
	return at;
}

inline_always enum verdict read_ipv4(struct packet *packet, u8 wanted)
{
	const struct ipv4 *ip = take(packet, sizeof(*ip));
	u32 header;

	if (!ip)
		return SHORT;
	if (ip->version_length >> 4 != 4 || ip->protocol != wanted)
		return OTHER;
	/* More fragments, or not the first: the rest of the packet is elsewhere. */
	if (ip->fragment & network16(0x3fff))
		return FRAGMENT;
	header = (ip->version_length & 0xf) * 4;
	if (header < sizeof(*ip) || !take(packet, header - sizeof(*ip)))
		return SHORT;
	packet->from.host.version = packet->to.host.version = 4;
	packet->from.host.address[0] = ip->source;
	packet->to.host.address[0] = ip->destination;
	packet->to_group = (ip->destination & network32(0xf0000000)) == network32(0xe0000000);
	return STEERED;
}

inline_always enum verdict read_ipv6(struct packet *packet, u8 wanted)
{
	const struct ipv6 *ip = take(packet, sizeof(*ip));
	const struct extension *extension;
	u8 next;

	if (!ip)
		return SHORT;
	if (ip->version_class >> 4 != 6)
		return OTHER;
	next = ip->next;
	/* As many as the engine's own parser looks through: each kind once, and options for the destination twice. */
	for (int i = 0; i < 4; i++) {
		if (!is_extension(next))
			break;
		extension = take(packet, sizeof(*extension));
		if (!extension)
			return SHORT;
		/* On its way elsewhere: this destination is a stop, which the kernel serves. */
		if (next == ROUTING && extension->segments_left)
			return OTHER;
		next = extension->next;
		if (!take(packet, extension->length * 8))
			return SHORT;
	}
	/* One that is whole ("atomic") too: nobody should send it any more (RFC 8021), and the kernel puts it right. */
	if (next == FRAGMENT_HEADER)
		return FRAGMENT;
	if (next != wanted)
		return OTHER;
	packet->from.host.version = packet->to.host.version = 6;
	__builtin_memcpy(packet->from.host.address, ip->source, sizeof(ip->source));
	__builtin_memcpy(packet->to.host.address, ip->destination, sizeof(ip->destination));
	packet->to_group = (ip->destination[0] & network32(0xff000000)) == network32(0xff000000);
	return STEERED;
}

/* A source that sends more than its share in a slice is silenced to the slice's end. Processors that count at once may
 * let a packet too many pass; a source that changes its address has as many shares as addresses. */
inline_always int is_flood(const struct host *from)
{
	struct meter *meter = map_lookup(&meters, from);
	struct meter first = { .since_ns = clock_ns(), .packets = 1 };

	if (!meter) {
		map_update(&meters, from, &first, 0);
		return 0;
	}
	if (first.since_ns - meter->since_ns >= options.slice_ns) {
		*meter = first;
		return 0;
	}
	__sync_fetch_and_add(&meter->packets, 1);
	return meter->packets > options.upstream_packets;
}

/* Whose it is: behind IP, the same for both versions.
 * A group is claimed with its data port, whichever way the packet goes: receivers hear each other's NAKs. A unicast packet
 * is claimed by the port it is sent to. */
inline_always enum verdict judge(struct packet *packet)
{
	const struct udp *udp;
	const struct pgm *pgm;
	u16 from, to, upstream;

	if (options.udp_ports[0]) {
		udp = take(packet, sizeof(*udp));
		if (!udp)
			return SHORT;
		if (!is_port_of_ours(udp->destination_port))
			return OTHER;
	}
	pgm = take(packet, sizeof(*pgm));
	if (!pgm)
		return SHORT;
	/* Both ports are read first, and seen to be: the verifier follows no address that was computed by choice. */
	from = *(const volatile u16 *)&pgm->source_port;
	to = *(const volatile u16 *)&pgm->destination_port;
	upstream = is_upstream(pgm->type);
	packet->to.port = packet->to_group && upstream ? from : to;
	if (packet->to_group ? !map_lookup(&groups, &packet->to) : !map_lookup(&locals, &packet->to))
		return UNCLAIMED;
	packet->from.bits = 8 * sizeof(packet->from.host);
	if (options.sources_listed && !map_lookup(&sources, &packet->from))
		return FOREIGN;
	if (options.upstream_packets && upstream && is_flood(&packet->from.host))
		return FLOOD;
	return STEERED;
}

inline_always enum verdict read_packet(struct packet *packet)
{
	const u8 wanted = options.udp_ports[0] ? UDP : PGM;
	const struct ethernet *ethernet = take(packet, sizeof(*ethernet));
	const struct vlan *tag;
	enum verdict verdict = OTHER;
	u32 carried = 0, number;
	u16 type;

	if (!ethernet)
		return SHORT;
	type = ethernet->type;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (type != TYPE_VLAN && type != TYPE_SERVICE_VLAN)
			break;
		tag = take(packet, sizeof(*tag));
		if (!tag)
			return SHORT;
		/* Number 0 is a priority without a VLAN (802.1Q): it says nothing about where the frame belongs. */
		number = network16(tag->tag) & 0xfff;
		carried = number ? carried << 12 | number : carried;
		type = tag->type;
	}
	if (carried != options.vlans)
		return VLAN;
	if (type == TYPE_IPV4)
		verdict = read_ipv4(packet, wanted);
	else if (type == TYPE_IPV6)
		verdict = read_ipv6(packet, wanted);
	return verdict == STEERED ? judge(packet) : verdict;
}

SECTION("xdp")
int steer(struct xdp_md *context)
{
	struct packet packet = {
		.at = (const void *)(u64)context->data,
		.end = (const void *)(u64)context->data_end,
	};
	u32 verdict = read_packet(&packet);
	int action = verdict == FLOOD ? XDP_DROP : XDP_PASS;
	u64 *count;

	if (verdict == STEERED) {
		action = redirect_map(&sockets, context->rx_queue_index, XDP_PASS);
		if (action != XDP_REDIRECT)
			verdict = NO_SOCKET;
	}
	count = map_lookup(&verdicts, &verdict);
	if (count)
		*count += 1;
	return action;
}

char license_text[] SECTION("license") = "MIT";
