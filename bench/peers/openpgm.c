/* OpenPGM (libpgm 5.3) as a sender, a receiver and both ends of a ping, on its public interface alone.
 *
 * One thread, a socket that never blocks. libpgm does nothing by itself: its timers run, its NAKs leave and its repairs are sent only
 * while somebody calls receive, so every wait here is a loop around `serve` or `receive`.
 *
 * Debian's build copies messages by instructions that want their octets aligned, and does not see to it: a sender dies unless its message lies
 * where the copy happens to suit (`place`), and with FEC it dies anyhow. Guards: what it cannot survive it is not given. */
#define _GNU_SOURCE
#include "common.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <pgm/pgm.h>

/* What the copy wants, and where a message that goes in fragments must begin, counted from there: its fragments have 20 more octets of options
 * in front of them than a whole message. */
#define ALIGNMENT 16
#define FRAGMENTED_AT 4
/* Octets in front of a fragment: of IP, of UDP, of PGM with its options. */
#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define UDP_HEADER 8
#define FRAGMENT_HEADER 44
/* Messages between two looks at what receivers ask for: a look costs system calls, and a NAK that waits for 16 messages waits 0.1 ms. */
#define MESSAGES_BETWEEN_LOOKS 16
/* Messages that one call of receive may bring. */
#define VECTORS 64
/* All sessions have ended: what is still on its way may take this long. */
#define AFTERMATH_NS 500000000u
/* A ping that is not answered by then never will be. */
#define ANSWER_WITHIN_NS 1000000000u
/* The longest sleep, so that a signal that came just before it is seen. */
#define NAP_NS 20000000

struct settings {
	const char *network;
	int64_t port;
	const char *udp;
	int64_t count;
	struct sizes sizes;
	int64_t rate;
	int64_t pace;
	int64_t window;
	const char *nak;
	int64_t mtu;
	bool spin;
	int64_t core;
	int64_t timeout_s;
	int64_t linger_ms;
	bool late;
	int64_t seconds;
	bool ready;
};

struct peer {
	const struct settings *settings;
	pgm_sock_t *sock;
	struct report report;
	struct pgm_msgv_t vectors[VECTORS];
	uint8_t *buffer;   /* aligned, with room for the largest message */
	uint32_t single;   /* octets that fit a packet */
	uint32_t fragment; /* octets of a fragment */
	uint64_t finished; /* sessions that said FIN */
};

/* What a look at the network brought. */
enum news {
	NEWS_NONE,
	NEWS_MESSAGES,
	NEWS_EVENT,
};

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
	/* Milliseconds: close together first, so that a lost tail is noticed at once, then ever further apart. */
	const int heartbeats_us[] = { 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 5000000, 10000000, 30000000 };

	set_int(peer, PGM_TXW_SQNS, settings->window, "--window");
	/* Octets of IP; its bucket refills by the millisecond. None by default: then the peer is measured at what it can do. */
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

/* Lowers the MTU until fragments are a multiple of ALIGNMENT, where messages may need some: each but the last then begins as the first. */
static int64_t choose_mtu(struct peer *peer, bool is_ipv6)
{
	const struct settings *settings = peer->settings;
	const int64_t headers = (is_ipv6 ? IPV6_HEADER : IPV4_HEADER) + (settings->udp ? UDP_HEADER : 0) + FRAGMENT_HEADER;
	int64_t mtu = settings->mtu;

	if ((int64_t)settings->sizes.max > mtu - headers)
		mtu -= (mtu - headers) % ALIGNMENT;
	peer->fragment = (uint32_t)(mtu - headers);
	return mtu;
}

/* Where a message of this length is written, so that Debian's libpgm survives to copy it. */
static uint8_t *place(const struct peer *peer, uint32_t length)
{
	return peer->buffer + (length > peer->single ? FRAGMENTED_AT : 0);
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
	peer->buffer = aligned_alloc(ALIGNMENT, PGM_MAX_APDU + ALIGNMENT + 1);
	if (!peer->buffer)
		fail(ENDED_BADLY, "no memory for a message");
}

static void peer_open(struct peer *peer, const struct settings *settings, bool sends, bool receives)
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
	set_int(peer, PGM_MTU, choose_mtu(peer, where->ai_send_addrs[0].gsr_group.ss_family == AF_INET6), "--mtu");
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

static uint64_t key_of(const pgm_tsi_t *tsi)
{
	uint64_t key = 0;

	memcpy(&key, tsi, sizeof(*tsi));
	return key;
}

/* Looks once; `*octets` came in with NEWS_MESSAGES, from the first of the vectors on. */
static enum news receive(struct peer *peer, size_t *octets)
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
static void serve(struct peer *peer)
{
	size_t octets;

	/* Bounded: data that others send to the group could go on for ever. */
	for (int turn = 0; turn < VECTORS && receive(peer, &octets) != NEWS_NONE; turn++)
		;
}

/* Sleeps until a packet comes or libpgm's time by this option is over, and never long; not at all with --spin. */
static void wait_for_news(struct peer *peer, int time_option)
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
static bool send_one(struct peer *peer, const uint8_t *message, uint32_t length)
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

static enum ending run_send(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t count = settings->count > 0 ? (uint64_t)settings->count : UINT64_MAX;
	struct generator *generator = allocate(sizeof(*generator));
	const uint64_t begun_ns = steady_ns();
	uint64_t linger_until_ns;

	generator_begin(generator, settings->sizes);
	while (generator->number < count && !is_stopped()) {
		const uint32_t length = generator_length(generator);
		uint8_t *message = place(peer, length);

		if (settings->seconds > 0 && steady_ns() - begun_ns > (uint64_t)settings->seconds * 1000000000u)
			break;
		if (settings->pace > 0) {
			const uint64_t due_ns =
				begun_ns + (uint64_t)((double)generator->number * 1e9 / (double)settings->pace);

			/* Too exact for a sleep: the time between two messages is for libpgm. */
			while (steady_ns() < due_ns && !is_stopped())
				serve(peer);
		} else if (generator->number % MESSAGES_BETWEEN_LOOKS == 0) {
			serve(peer);
		}
		generator_write(generator, message, length, day_ns());
		if (!send_one(peer, message, length))
			break;
		report_message(&peer->report, length, steady_ns());
	}
	/* Repairs and heartbeats leave from here only. */
	linger_until_ns = steady_ns() + (uint64_t)settings->linger_ms * 1000000u;
	while (steady_ns() < linger_until_ns) {
		serve(peer);
		wait_for_news(peer, PGM_TIME_REMAIN);
		/* Stopped while it sends or lingers: one more look, then FIN. */
		if (is_stopped())
			break;
	}
	peer->report.sessions = 1;
	free(generator);
	return ENDED_WELL;
}

/* Hands what came to `each`, message by message. */
static void each_message(struct peer *peer, size_t octets,
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

struct listener {
	struct checker checker;
	struct report *report;
	uint64_t day;
	uint64_t steady;
};

static void take(void *to, const pgm_tsi_t *tsi, const struct chunk *chunks, size_t count)
{
	struct listener *listener = to;
	const uint64_t sessions = listener->report->sessions;

	checker_take(&listener->checker, key_of(tsi), chunks, count, listener->day, listener->steady);
	if (listener->report->sessions > sessions)
		report_event(listener->report, "open");
}

static enum ending run_recv(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t count = settings->count > 0 ? (uint64_t)settings->count : 0;
	const uint64_t timeout_ns = (uint64_t)settings->timeout_s * 1000000000u;
	const uint64_t linger_ns = settings->linger_ms > 0 ? (uint64_t)settings->linger_ms * 1000000u : 0;
	struct listener *listener = allocate(sizeof(*listener));
	struct report *report = &peer->report;
	const uint64_t begun_ns = steady_ns();
	uint64_t news_ns = begun_ns;
	bool is_silent = false;

	listener->report = report;
	checker_begin(&listener->checker, report, NULL, settings->late, false);
	while (!is_stopped()) {
		size_t octets;
		const enum news news = receive(peer, &octets);
		const bool is_complete = count && checker_seen(&listener->checker) >= count;
		const bool is_finished = report->sessions && peer->finished >= report->sessions;
		const uint64_t now_ns = steady_ns();

		if (news == NEWS_MESSAGES) {
			listener->day = day_ns();
			listener->steady = now_ns;
			each_message(peer, octets, take, listener);
		}
		if (news != NEWS_NONE) {
			news_ns = now_ns;
			continue;
		}
		/* All is here: repairs and ends that come behind it are waited for as long as asked to. */
		if (is_complete && (is_finished || now_ns - news_ns >= linger_ns))
			break;
		if (!count && is_finished && now_ns - news_ns >= AFTERMATH_NS)
			break;
		if (settings->seconds > 0 && now_ns - begun_ns > (uint64_t)settings->seconds * 1000000000u)
			break;
		if (now_ns - news_ns >= timeout_ns) {
			/* libpgm tells of no FIN: without a count silence is the only end that there is. */
			is_silent = count ? !is_complete : report->messages == 0;
			break;
		}
		wait_for_news(peer, PGM_TIME_REMAIN);
	}
	/* Ended by the clock or by hand, nothing was promised. */
	if (report->messages && settings->seconds <= 0 && !is_stopped())
		checker_finish(&listener->checker, count);
	free(listener);
	return report_is_bad(report) ? ENDED_LOST : is_silent ? ENDED_SILENT : ENDED_WELL;
}

/* The answer to a ping, or the ping to be answered; `octets` has room for the longest. */
struct copy {
	uint8_t *octets;
	uint32_t length;
};

static void copy_message(void *to, const pgm_tsi_t *tsi, const struct chunk *chunks, size_t count)
{
	struct copy *copy = to;

	(void)tsi;
	copy->length = 0;
	for (size_t at = 0; at < count; at++) {
		/* At most PGM_MAX_FRAGMENTS of less than 64 KiB: it fits. */
		memcpy(copy->octets + copy->length, chunks[at].octets, chunks[at].length);
		copy->length += (uint32_t)chunks[at].length;
	}
}

static enum ending run_ping(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t count = settings->count > 0 ? (uint64_t)settings->count : UINT64_MAX;
	const uint64_t give_up_ns = steady_ns() + (uint64_t)settings->timeout_s * 1000000000u;
	struct generator *generator = allocate(sizeof(*generator));
	struct copy answer = { .octets = allocate(PGM_MAX_FRAGMENTS << 16) };
	struct report *report = &peer->report;
	const uint64_t begun_ns = steady_ns();
	bool is_silent = false;

	generator_begin(generator, settings->sizes);
	while (report->messages + report->lost < count && !is_stopped()) {
		const uint32_t length = generator_length(generator);
		uint8_t *message = place(peer, length);
		uint64_t sent_ns, now_ns;
		bool is_answered = false;

		if (settings->seconds > 0 && steady_ns() - begun_ns > (uint64_t)settings->seconds * 1000000000u)
			break;
		generator_write(generator, message, length, day_ns());
		sent_ns = now_ns = steady_ns();
		if (!send_one(peer, message, length))
			break;
		/* Until the first answer others may not be there yet: ask again soon. */
		while (!is_answered && !is_stopped() && now_ns - sent_ns < (report->messages ? ANSWER_WITHIN_NS : ANSWER_WITHIN_NS / 10)) {
			size_t octets;

			if (receive(peer, &octets) == NEWS_MESSAGES) {
				each_message(peer, octets, copy_message, &answer);
				is_answered = answer.length == length && memcmp(answer.octets, message, length) == 0;
			} else {
				wait_for_news(peer, PGM_TIME_REMAIN);
			}
			now_ns = steady_ns();
		}
		if (is_answered) {
			report_message(report, length, now_ns);
			latency_record(&report->latency, now_ns - sent_ns);
		} else if (report->messages) {
			report->lost++;
		} else if (now_ns > give_up_ns) {
			is_silent = true;
			break;
		}
	}
	report->sessions = 1;
	free(answer.octets);
	free(generator);
	return report_is_bad(report) ? ENDED_LOST : is_silent ? ENDED_SILENT : ENDED_WELL;
}

static enum ending run_pong(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t count = settings->count > 0 ? (uint64_t)settings->count : UINT64_MAX;
	const uint64_t timeout_ns = (uint64_t)settings->timeout_s * 1000000000u;
	struct copy ping = { .octets = allocate(PGM_MAX_FRAGMENTS << 16) };
	struct report *report = &peer->report;
	uint64_t news_ns = steady_ns();
	bool is_silent = false;

	while (report->messages < count && !is_stopped() && !(report->messages && peer->finished)) {
		size_t octets;

		if (receive(peer, &octets) == NEWS_MESSAGES) {
			each_message(peer, octets, copy_message, &ping);
			news_ns = steady_ns();
			if (ping.length > PGM_MAX_APDU)
				fail(ENDED_BADLY, "a ping of %u octets is more than libpgm sends", ping.length);
			memcpy(place(peer, ping.length), ping.octets, ping.length);
			if (!send_one(peer, place(peer, ping.length), ping.length))
				break;
			report_message(report, ping.length, news_ns);
			continue;
		}
		if (steady_ns() - news_ns >= timeout_ns) {
			is_silent = report->messages == 0;
			break;
		}
		wait_for_news(peer, PGM_TIME_REMAIN);
	}
	report->sessions = report->messages ? 1 : 0;
	free(ping.octets);
	return is_silent ? ENDED_SILENT : ENDED_WELL;
}

enum { SEND, RECV, PING, PONG };

static const struct role roles[] = {
	[SEND] = { "send", "publishes messages that check themselves" },
	[RECV] = { "recv", "checks them" },
	[PING] = { "ping", "sends one at a time and waits until it comes back" },
	[PONG] = { "pong", "sends back what comes" },
	{ NULL, NULL },
};

int main(int count, char **words)
{
	struct settings settings = {
		.port = 7500,
		.sizes = { 64, 64 },
		.window = 32768,
		.mtu = 1500,
		.core = -1,
		.timeout_s = 10,
		.linger_ms = -1,
	};
	const struct option options[] = {
		{ "--network", OPTION_TEXT, &settings.network, "IFACE;GROUP: an interface's name or address, and the group" },
		{ "--port", OPTION_NUMBER, &settings.port, "the data-destination port (7500)" },
		{ "--udp", OPTION_TEXT, &settings.udp, "PORT, or MULTICAST,UNICAST: PGM in UDP" },
		{ "--count", OPTION_NUMBER, &settings.count, "messages of the sender; recv without it ends when nothing comes for --timeout" },
		{ "--size", OPTION_SIZES, &settings.sizes, "octets, or MIN-MAX (64); at most 16 fragments" },
		{ "--rate", OPTION_NUMBER, &settings.rate, "octets of IP per second, repairs included (none)" },
		{ "--pace", OPTION_NUMBER, &settings.pace, "messages per second, each at its time (none)" },
		{ "--window", OPTION_NUMBER, &settings.window, "sequence numbers that are kept (32768)" },
		{ "--nak", OPTION_TEXT, &settings.nak, "back-off, repeat and repair interval in ms (5,50,50)" },
		{ "--mtu", OPTION_NUMBER, &settings.mtu, "octets of the largest packet of IP (1500)" },
		{ "--spin", OPTION_FLAG, &settings.spin, "never sleep" },
		{ "--core", OPTION_NUMBER, &settings.core, "the core to run on" },
		{ "--timeout", OPTION_NUMBER, &settings.timeout_s, "seconds without any progress that end it (10)" },
		{ "--linger", OPTION_NUMBER, &settings.linger_ms, "ms that it goes on behind the last message: send serves NAKs (1000), recv (0)" },
		{ "--late", OPTION_FLAG, &settings.late, "what was before the first message heard is not missed" },
		{ "--seconds", OPTION_NUMBER, &settings.seconds, "ends after so many" },
		{ "--ready", OPTION_FLAG, &settings.ready, "says `ready` on standard error once it listens" },
		{ NULL, OPTION_FLAG, NULL, NULL },
	};
	struct peer *peer = allocate(sizeof(*peer));
	enum ending ending = ENDED_WELL;
	size_t role;

	begin("openpgm");
	role = read_options(count, words, roles, options);
	if (!settings.network)
		fail(ENDED_USAGE, "--network is missing, such as --network 'eth0;239.192.0.1'");
	if (settings.port < 0 || settings.port > 65535 || settings.window < 1 || settings.window > 1 << 20 || settings.timeout_s < 1)
		fail(ENDED_USAGE, "--port is 0 to 65535, --window 1 to 1048576, --timeout at least 1");
	if (settings.linger_ms < 0)
		settings.linger_ms = role == RECV ? 0 : 1000;
	pin(settings.core);
	peer_open(peer, &settings, role != RECV, role != SEND);
	switch (role) {
	case SEND:
		ending = run_send(peer);
		break;
	case RECV:
		ending = run_recv(peer);
		break;
	case PING:
		ending = run_ping(peer);
		break;
	default:
		ending = run_pong(peer);
		break;
	}
	report_print(&peer->report);
	/* With `true` it sends its three FINs, back to back, and is gone: what is asked for later is never answered. */
	pgm_close(peer->sock, true);
	pgm_shutdown();
	free(peer->buffer);
	free(peer);
	return ending;
}
