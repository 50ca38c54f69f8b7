/* A socket of libpgm: options, addresses, and messages in and out. Called by openpgm.c alone.
 *
 * One thread, a socket that never blocks. libpgm does nothing by itself: its timers run, its NAKs leave and its repairs are sent only
 * while somebody calls receive, so every wait is a loop around `serve` or `receive`.
 *
 * Debian's build copies messages by instructions that want their octets aligned, and does not see to it: a sender dies unless its message lies
 * where the copy happens to suit (`place`), and with FEC it dies anyhow. Guards: what it cannot survive it is not given. */
#define _GNU_SOURCE
#include "openpgm.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* What the copy wants, and where a message that goes in fragments must begin, counted from there: its fragments have 20 more octets of options
 * in front of them than a whole message. */
#define ALIGNMENT 16
#define FRAGMENTED_AT 4
/* Octets in front of a fragment: of IP, of UDP, of PGM with its options. */
#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define UDP_HEADER 8
#define FRAGMENT_HEADER 44
/* The longest sleep, so that a signal that came just before it is seen. */
#define NAP_NS 20000000

static const char *why(pgm_error_t *error)
{
	return error && error->message ? error->message : "libpgm does not say why";
}

static void set(struct peer *peer, int option, const void *value, size_t octets, const char *what)
{
	if (!pgm_setsockopt(peer->sock, IPPROTO_PGM, option, value, (socklen_t)octets))
		fail(ENDED_BADLY, "libpgm refuses %s", what);
}

static void set_int(struct peer *peer, int option, int64_t value, const char *what)
{
	const int number = (int)value;

	set(peer, option, &number, sizeof(number), what);
}

/* `A,B` or `A` for both; how many there were. */
static int read_list(const char *name, const char *text, int64_t *to, int count)
{
	int have = 0;

	while (have < count) {
		char *end;

		to[have++] = strtoll(text, &end, 10);
		if (end == text || (*end && *end != ','))
			fail(ENDED_USAGE, "%s wants whole numbers with commas between, not `%s`", name, text);
		if (!*end)
			return have;
		text = end + 1;
	}
	fail(ENDED_USAGE, "%s takes at most %d numbers", name, count);
}

static void set_udp(struct peer *peer)
{
	int64_t ports[2];

	/* libpgm binds the multicast port alone: with two different ones its sender never hears a NAK. */
	if (read_list("--udp", peer->settings->udp, ports, 2) == 1)
		ports[1] = ports[0];
	set_int(peer, PGM_UDP_ENCAP_MCAST_PORT, ports[0], "the multicast port of --udp");
	set_int(peer, PGM_UDP_ENCAP_UCAST_PORT, ports[1], "the unicast port of --udp");
}

static void set_sending(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	/* Microseconds: close together first, so that a lost tail is noticed at once, then ever further apart. */
	const int heartbeats_us[] = { 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 5000000, 10000000, 30000000 };

	set_int(peer, PGM_TXW_SQNS, settings->window, "--window");
	/* Octets of IP; its bucket refills by the millisecond. None by default: then the peer is measured at what it can do. */
	if (settings->rate > 0 && settings->rate < settings->mtu)
		fail(ENDED_USAGE, "--rate: libpgm aborts below a packet a second: at least %lld", (long long)settings->mtu);
	if (settings->rate > 0)
		set_int(peer, PGM_TXW_MAX_RTE, settings->rate, "--rate");
	/* While data flows an SPM tells nothing that data does not; often enough for who joins late. */
	set_int(peer, PGM_AMBIENT_SPM, 500000, "the interval of ambient SPMs");
	set(peer, PGM_HEARTBEAT_SPM, heartbeats_us, sizeof(heartbeats_us), "the intervals of heartbeat SPMs");
}

static void set_receiving(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	/* Milliseconds. Its own examples wait 50, 2000 and 2000 and ZeroMQ 50, 200 and 200: made for campuses. Its timers walk lists, and
	 * repairs of another OpenPGM trickle, so that a back-off far below these only asks for the same packet again. */
	int64_t nak_ms[3] = { 5, 50, 50 };

	if (settings->nak && read_list("--nak", settings->nak, nak_ms, 3) != 3)
		fail(ENDED_USAGE, "--nak wants three numbers, such as 50,200,200");
	set_int(peer, PGM_RXW_SQNS, settings->window, "--window");
	set_int(peer, PGM_NAK_BO_IVL, nak_ms[0] * 1000, "the back-off of --nak");
	set_int(peer, PGM_NAK_RPT_IVL, nak_ms[1] * 1000, "the repeat interval of --nak");
	set_int(peer, PGM_NAK_RDATA_IVL, nak_ms[2] * 1000, "the repair interval of --nak");
	/* Patience is cheap where intervals are short: 50 of 50 ms are 2.5 s. */
	set_int(peer, PGM_NAK_DATA_RETRIES, 50, "NAK_DATA_RETRIES");
	set_int(peer, PGM_NAK_NCF_RETRIES, 50, "NAK_NCF_RETRIES");
	set_int(peer, PGM_PEER_EXPIRY, 300 * 1000000, "the expiry of peers");
	set_int(peer, PGM_SPMR_EXPIRY, 250000, "the expiry of SPMRs");
}

/* Kernel buffers for a burst of some ten milliseconds. Not through libpgm: as root the limit of the machine need not hold. */
static void widen(struct peer *peer, int which, int option, int forced)
{
	const int octets = 16 << 20;
	socklen_t length = sizeof(int);
	int socket;

	if (!pgm_getsockopt(peer->sock, IPPROTO_PGM, which, &socket, &length))
		return;
	if (setsockopt(socket, SOL_SOCKET, forced, &octets, sizeof(octets)) != 0)
		(void)setsockopt(socket, SOL_SOCKET, option, &octets, sizeof(octets));
}

/* `IFACE;GROUP` with the interface's address in place of its name: libpgm asks the resolver for names first, and there may be none. */
static const char *by_address(const char *network, char *to, size_t room)
{
	const size_t name_length = strcspn(network, ";");
	const int family = strchr(network + name_length, ':') ? AF_INET6 : AF_INET;
	struct ifaddrs *all, *one;
	char text[NI_MAXHOST];

	if (getifaddrs(&all) != 0)
		return network;
	for (one = all; one; one = one->ifa_next)
		if (one->ifa_addr && one->ifa_addr->sa_family == family && strlen(one->ifa_name) == name_length &&
		    strncmp(one->ifa_name, network, name_length) == 0)
			break;
	if (one && getnameinfo(one->ifa_addr, family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in), text,
			       sizeof(text), NULL, 0, NI_NUMERICHOST) == 0) {
		snprintf(to, room, "%s%s", text, network + name_length);
		network = to;
	}
	freeifaddrs(all);
	return network;
}

static void join(struct peer *peer, const struct pgm_addrinfo_t *where)
{
	/* A sender joins too: libpgm hears no NAK otherwise. */
	for (uint32_t at = 0; at < where->ai_recv_addrs_len; at++)
		set(peer, PGM_JOIN_GROUP, &where->ai_recv_addrs[at], sizeof(struct group_req), "to join the group");
	set(peer, PGM_SEND_GROUP, &where->ai_send_addrs[0], sizeof(struct group_req), "to send to the group");
}

static void bind_to(struct peer *peer, const struct pgm_addrinfo_t *where)
{
	const uint64_t unique[] = { day_ns(), (uint64_t)getpid() };
	struct pgm_interface_req_t interface = { .ir_interface = where->ai_recv_addrs[0].gsr_interface };
	struct pgm_sockaddr_t address = { .sa_port = (uint16_t)peer->settings->port, .sa_addr.sport = DEFAULT_DATA_SOURCE_PORT };
	pgm_error_t *error = NULL;

	/* Not from the host's name: namespaces share it, and a sender that comes back shall be another one. */
	if (!pgm_gsi_create_from_data(&address.sa_addr.gsi, (const uint8_t *)unique, sizeof(unique)))
		fail(ENDED_BADLY, "libpgm makes no GSI");
	memcpy(&interface.ir_address, &where->ai_send_addrs[0].gsr_addr, sizeof(interface.ir_address));
	if (!pgm_bind3(peer->sock, &address, sizeof(address), &interface, sizeof(interface), &interface, sizeof(interface), &error))
		fail(ENDED_BADLY, "binding to %s: %s", peer->settings->network, why(error));
}

/* Lowers a sender's MTU until fragments are a multiple of ALIGNMENT, where messages may need some: each but the last then begins as the
 * first. A receiver's stays: libpgm drops what exceeds it. */
static int64_t choose_mtu(struct peer *peer, bool sends, bool is_ipv6)
{
	const struct settings *settings = peer->settings;
	const int64_t headers = (is_ipv6 ? IPV6_HEADER : IPV4_HEADER) + (settings->udp ? UDP_HEADER : 0) + FRAGMENT_HEADER;
	int64_t mtu = settings->mtu;

	if (sends && (settings->answers || (int64_t)settings->sizes.max > mtu - headers))
		mtu -= (mtu - headers) % ALIGNMENT;
	if (mtu <= headers || mtu > UINT16_MAX)
		fail(ENDED_USAGE, "--mtu is %lld to %u", (long long)headers + ALIGNMENT, UINT16_MAX);
	peer->mtu = (uint32_t)mtu;
	peer->fragment = (uint32_t)(mtu - headers);
	return mtu;
}

/* Where a message of this length is written, so that Debian's libpgm survives to copy it. */
uint8_t *place(const struct peer *peer, uint32_t length)
{
	return peer->buffer + (length > peer->single ? FRAGMENTED_AT : 0);
}

/* What libpgm's bucket never lets pass. */
static void check_rate(const struct peer *peer)
{
	const int64_t rate = peer->settings->rate;
	const uint32_t longest = peer->settings->sizes.max;
	const uint32_t packets = longest > peer->single ? (longest + peer->fragment - 1) / peer->fragment : 1;
	const int64_t octets = (int64_t)longest + (int64_t)packets * (peer->mtu - peer->fragment);
	/* It holds a second's worth, or from so many packets a second on a millisecond's, and a message goes as a whole or not at all. */
	const int64_t bucket = rate > 1000 * (int64_t)peer->mtu ? rate / 1000 : rate;

	if (rate > 0 && bucket < octets)
		fail(ENDED_USAGE, "--rate: libpgm's bucket would never let messages of %u octets pass: at least %lld", longest,
		     (long long)octets * 1000);
}

static void prepare_sending(struct peer *peer)
{
	const uint32_t longest = peer->fragment * PGM_MAX_FRAGMENTS < PGM_MAX_APDU ? peer->fragment * PGM_MAX_FRAGMENTS : PGM_MAX_APDU;
	socklen_t length = sizeof(int);
	int single = 0;

	if (!pgm_getsockopt(peer->sock, IPPROTO_PGM, PGM_MSSS, &single, &length))
		fail(ENDED_BADLY, "libpgm does not say what fits a packet");
	peer->single = (uint32_t)single;
	if (peer->settings->sizes.min == 0)
		fail(ENDED_USAGE, "--size: libpgm cannot tell an empty message from none: at least 1");
	if (peer->settings->sizes.max > longest)
		fail(ENDED_USAGE, "--size: libpgm sends at most %u octets at this --mtu (%d fragments)", longest, PGM_MAX_FRAGMENTS);
	check_rate(peer);
	peer->buffer = aligned_alloc(ALIGNMENT, PGM_MAX_APDU + ALIGNMENT + 1);
	if (!peer->buffer)
		fail(ENDED_BADLY, "no memory for a message");
}

void peer_open(struct peer *peer, const struct settings *settings, bool sends, bool receives)
{
	struct pgm_addrinfo_t *where = NULL;
	pgm_error_t *error = NULL;
	char network[2 * NI_MAXHOST];

	peer->settings = settings;
	/* The clock of the system costs no calibration at start; the other one is wrong where /proc/cpuinfo is. */
	setenv("PGM_TIMER", "GTOD", 0);
	if (!pgm_init(&error))
		fail(ENDED_BADLY, "starting libpgm: %s", why(error));
	if (!pgm_getaddrinfo(by_address(settings->network, network, sizeof(network)), NULL, &where, &error))
		fail(ENDED_BADLY, "--network %s: %s", settings->network, why(error));
	if (!pgm_socket(&peer->sock, where->ai_send_addrs[0].gsr_group.ss_family, SOCK_SEQPACKET,
			settings->udp ? IPPROTO_UDP : IPPROTO_PGM, &error))
		fail(ENDED_BADLY, "a socket (protocol 113 needs root; --udp does not): %s", why(error));
	if (settings->udp)
		set_udp(peer);
	set_int(peer, PGM_MTU, choose_mtu(peer, sends, where->ai_send_addrs[0].gsr_group.ss_family == AF_INET6), "--mtu");
	if (!receives)
		set_int(peer, PGM_SEND_ONLY, 1, "to send only");
	if (!sends)
		set_int(peer, PGM_RECV_ONLY, 1, "to receive only");
	if (sends)
		set_sending(peer);
	if (receives)
		set_receiving(peer);
	set_int(peer, PGM_NOBLOCK, 1, "not to block");
	bind_to(peer, where);
	join(peer, where);
	set_int(peer, PGM_MULTICAST_LOOP, 0, "not to hear itself");
	set_int(peer, PGM_MULTICAST_HOPS, 16, "the hops of multicast");
	if (!pgm_connect(peer->sock, &error))
		fail(ENDED_BADLY, "connecting: %s", why(error));
	pgm_freeaddrinfo(where);
	widen(peer, PGM_RECV_SOCK, SO_RCVBUF, SO_RCVBUFFORCE);
	widen(peer, PGM_SEND_SOCK, SO_SNDBUF, SO_SNDBUFFORCE);
	if (sends)
		prepare_sending(peer);
	if (settings->ready)
		complain("ready");
}

/* Looks once; `*octets` came in with NEWS_MESSAGES, from the first of the vectors on. */
enum news receive(struct peer *peer, size_t *octets)
{
	pgm_error_t *error = NULL;
	const int status = pgm_recvmsgv(peer->sock, peer->vectors, VECTORS, 0, octets, &error);

	switch (status) {
	case PGM_IO_STATUS_NORMAL:
		return NEWS_MESSAGES;
	case PGM_IO_STATUS_RESET:
		/* It lost data, says so once, and goes on behind the gap. */
		peer->report.resets++;
		report_event(&peer->report, "reset");
		if (error)
			pgm_error_free(error);
		return NEWS_EVENT;
	case PGM_IO_STATUS_FIN:
		peer->finished++;
		report_event(&peer->report, "fin");
		return NEWS_EVENT;
	case PGM_IO_STATUS_ERROR:
	case PGM_IO_STATUS_EOF:
		fail(ENDED_BADLY, "receiving: %s", why(error));
	default:
		return NEWS_NONE;
	}
}

/* Lets libpgm do its work where no data is wanted: timers, NAKs in, repairs out. */
void serve(struct peer *peer)
{
	size_t octets;

	/* Bounded: data that others send to the group could go on for ever. */
	for (int turn = 0; turn < VECTORS && receive(peer, &octets) != NEWS_NONE; turn++)
		;
}

/* Sleeps until a packet comes or libpgm's time by this option is over, and never long; not at all with --spin. */
void wait_for_news(struct peer *peer, int time_option)
{
	struct pollfd sockets[PGM_BUS_SOCKET_READ_COUNT];
	struct timespec wait = { .tv_nsec = NAP_NS };
	int count = PGM_BUS_SOCKET_READ_COUNT;
	struct timeval due;
	socklen_t length = sizeof(due);

	if (peer->settings->spin)
		return;
	if (pgm_getsockopt(peer->sock, IPPROTO_PGM, time_option, &due, &length) && due.tv_sec == 0 &&
	    due.tv_usec * 1000 < NAP_NS)
		wait.tv_nsec = due.tv_usec * 1000;
	if (pgm_poll_info(peer->sock, sockets, &count, POLLIN) < 0)
		fail(ENDED_BADLY, "libpgm gives nothing to wait for");
	/* EINTR is a signal, which the caller looks for. */
	(void)ppoll(sockets, (nfds_t)count, &wait, NULL);
}

/* Sends one message, however long it takes; false if we were stopped. */
bool send_one(struct peer *peer, const uint8_t *message, uint32_t length)
{
	const uint64_t give_up_ns = steady_ns() + (uint64_t)peer->settings->timeout_s * 1000000000u;

	while (!is_stopped()) {
		size_t sent;

		switch (pgm_send(peer->sock, message, length, &sent)) {
		case PGM_IO_STATUS_NORMAL:
			return true;
		case PGM_IO_STATUS_RATE_LIMITED:
			/* The same octets again when the bucket has filled; what asks for repairs wakes us before. */
			serve(peer);
			wait_for_news(peer, PGM_RATE_REMAIN);
			break;
		case PGM_IO_STATUS_WOULD_BLOCK:
		case PGM_IO_STATUS_CONGESTION:
			/* The socket's buffer is full, and empties in microseconds. */
			serve(peer);
			break;
		default:
			fail(ENDED_BADLY, "sending %u octets: libpgm refuses them (a message may have %d fragments)", length,
			     PGM_MAX_FRAGMENTS);
		}
		if (steady_ns() > give_up_ns)
			fail(ENDED_SILENT, "sending: nothing left for %lld s", (long long)peer->settings->timeout_s);
	}
	return false;
}

/* Hands what came to `each`, message by message. */
void each_message(struct peer *peer, size_t octets,
		  void (*each)(void *to, const pgm_tsi_t *tsi, const struct chunk *chunks, size_t count), void *to)
{
	for (size_t at = 0; at < VECTORS && octets; at++) {
		const struct pgm_msgv_t *vector = &peer->vectors[at];
		struct chunk chunks[PGM_MAX_FRAGMENTS];
		size_t length = 0;

		for (uint32_t piece = 0; piece < vector->msgv_len; piece++) {
			chunks[piece] = (struct chunk){ vector->msgv_skb[piece]->data, vector->msgv_skb[piece]->len };
			length += chunks[piece].length;
		}
		each(to, &vector->msgv_skb[0]->tsi, chunks, vector->msgv_len);
		octets = length < octets ? octets - length : 0;
	}
}
