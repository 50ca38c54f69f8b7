/* The generator: ODATA of one session, as fast as it is taken, without a sender.
 *
 *   BPF_PROG_RUN (live frames) -> this program -> redirect -> the interface's transmit, or a veth's other end
 *
 * The kernel runs it again and again over frames that were filled from one template and come back used: whatever differs from packet to
 * packet is written anew each time, and nothing else is ever touched. The template is built by whoever runs it, Ethernet, IPv4
 * without options and PGM without options; a frame of any other PGM type goes out as it is and is not counted.
 *
 * What it may not send yet costs one drop: the run goes on, and looks again. The loader is generator.rs. */
#include "bpf.h"
#include "packet.h"

/* Set before loading. */
const volatile struct order {
	u64 interval_ps; /* between packets; 0: none */
	u32 interface;   /* where they go */
	u32 window;      /* packets that the trail stays behind */
	u32 ahead;       /* packets that may be sent and not taken; 0: any number */
	u32 zero;
} order;

/* Shared with whoever runs the program and whoever takes the packets, as mapped memory. generator.rs mirrors it. */
struct ledger {
	/* Written here, and before a run begins. */
	u64 sent;
	u64 since_ns;   /* when the pace began */
	u64 since_sent; /* `sent`, then */
	u64 sum;        /* of the template, as its SQN and trail were zero */
	u64 apart[12];
	/* Written by the receiver: lines of its own, so that they travel only when they have news. */
	u64 taken;
	u64 end[15];
};

struct {
	MAP_UINT(type, MAP_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_UINT(map_flags, MAP_MAPPABLE);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct ledger);
} ledger SECTION(".maps");

struct odata {
	u32 sqn;
	u32 trail;
};

#define ODATA 4

inline_always int is_due(struct ledger *book, u64 sent)
{
	if (order.ahead && sent - *(volatile u64 *)&book->taken >= order.ahead)
		return 0;
	if (order.interval_ps && (clock_ns() - book->since_ns) * 1000 < (sent - book->since_sent) * order.interval_ps)
		return 0;
	return 1;
}

inline_always u32 halves(u32 word)
{
	return (word >> 16) + (word & 0xffff);
}

SECTION("xdp")
int generate(struct xdp_md *context)
{
	u8 *at = (u8 *)(u64)context->data;
	const u8 *end = (const u8 *)(u64)context->data_end;
	const u32 zero = 0;
	struct pgm *pgm = (struct pgm *)(at + sizeof(struct ethernet) + sizeof(struct ipv4));
	struct odata *data = (struct odata *)(pgm + 1);
	struct ledger *book;
	u32 sqn, trail, sum;

	if ((const u8 *)(pgm + 1) > end)
		return XDP_ABORTED;
	if (pgm->type != ODATA)
		return redirect(order.interface, 0);
	book = map_lookup(&ledger, &zero);
	if (!book || (const u8 *)(data + 1) > end)
		return XDP_ABORTED;
	sqn = book->sent;
	if (!is_due(book, book->sent))
		return XDP_DROP;
	trail = sqn + 1 - order.window;
	/* RFC 3208 section 5.1.1: the trail begins with the session, and moves when the window is full. */
	if (book->sent < order.window)
		trail = 0;
	data->sqn = network32(sqn);
	data->trail = network32(trail);
	/* A sum of 16-bit words is the same in either order of octets, as long as it is stored as it was loaded (RFC 1071). */
	sum = halves(halves(book->sum + halves(data->sqn) + halves(data->trail)));
	sum = ~sum & 0xffff;
	/* RFC 3208 section 8: a zero would say that there is none. */
	pgm->checksum = sum ? sum : 0xffff;
	book->sent++;
	return redirect(order.interface, 0);
}

char license_text[] SECTION("license") = "MIT";
