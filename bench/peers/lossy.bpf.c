/* Loss on a host's way in: an XDP program that drops DROPPED_OF_10000 of 10,000 PGM packets at random, never an SPM.
 *
 *   ip -n HOST link set dev IFACE xdp object lossy-100.o section xdp        1 %
 *   ip -n HOST link set dev IFACE xdp off
 *
 * PGM is protocol 113, or UDP to the ports that OpenPGM (3055, 3056) and our tests' epgm:// endpoints (7500 to 7599) use. SPMs pass, so
 * that what is measured is the repair of data and not how soon a session's end is noticed. All else passes untouched. Formats and
 * promises of the kernel are those of the steering program: build with -I ebpf/src. */
#include "packet.h"

#ifndef DROPPED_OF_10000
#error "say how many of 10,000 packets to drop: -DDROPPED_OF_10000=100"
#endif

#define TYPE_SPM 0

/* A stable number of the kernel's user interface, as those in bpf.h. */
static u32 (*const random_u32)(void) = (void *)7;

inline_always int is_port_of_pgm(u16 port)
{
	return port == 3055 || port == 3056 || (port >= 7500 && port <= 7599);
}

SECTION("xdp") int lossy(struct xdp_md *frame)
{
	const u8 *at = (const u8 *)(long)frame->data;
	const u8 *const end = (const u8 *)(long)frame->data_end;
	const struct ethernet *ethernet = (const void *)at;
	const struct pgm *pgm;
	u8 protocol;

	at += sizeof(*ethernet);
	if (at > end)
		return XDP_PASS;
	if (ethernet->type == TYPE_IPV4) {
		const struct ipv4 *ip = (const void *)at;

		if (at + sizeof(*ip) > end)
			return XDP_PASS;
		/* Of a packet in pieces only the first has a type: the others pass, and the whole is lost with that one. */
		if (ip->fragment & network16(0x1fff))
			return XDP_PASS;
		/* With its options: a router alert is one. */
		at += (ip->version_length & 0xf) * 4;
		protocol = ip->protocol;
	} else if (ethernet->type == TYPE_IPV6) {
		const struct ipv6 *ip = (const void *)at;

		at += sizeof(*ip);
		if (at > end)
			return XDP_PASS;
		protocol = ip->next;
	} else {
		return XDP_PASS;
	}
	if (protocol == UDP) {
		const struct udp *udp = (const void *)at;

		at += sizeof(*udp);
		if (at > end || !is_port_of_pgm(network16(udp->destination_port)))
			return XDP_PASS;
	} else if (protocol != PGM) {
		return XDP_PASS;
	}
	pgm = (const void *)at;
	if (at + sizeof(*pgm) > end || (pgm->type & 0xf) == TYPE_SPM)
		return XDP_PASS;
	return random_u32() % 10000 < DROPPED_OF_10000 ? XDP_DROP : XDP_PASS;
}

/* The kernel lends its random numbers to programs of any licence; loaders want to see one. */
SECTION("license") static const char licence[] = "Dual MIT/GPL";
