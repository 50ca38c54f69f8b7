/* NORM (libnorm 1.5) as a sender and a receiver, on its public interface alone: a peer to measure beside, which no PGM engine talks to.
 *
 * Messages go as a stream, each behind its length in 4 octets, little-endian: that is what NORM does best, 22 messages of 64 octets to a
 * segment. libnorm does the work on a thread of its own and tells of losses as a stream that is broken. Guards: the sender never writes
 * over what a receiver may still ask for without counting it. */
#define _GNU_SOURCE
#include "common.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Two prototypes of the header are C++ only; neither is called here. */
#define NormGetRxBindAddress(session, address, length, port) NormGetRxBindAddressForCxx(void)
#define NormStreamGetVacancy(stream, wanted) NormStreamGetVacancyForCxx(void)
#include <normApi.h>
#undef NormGetRxBindAddress
#undef NormStreamGetVacancy

#define PREFIX 4
/* Octets of a segment: with NORM's 36 of headers, UDP and IP it fills an Ethernet frame. */
#define SEGMENT 1400
/* Segments of a block, and parity kept ready for it. Repairs by retransmission alone, as PGM does: none. */
#define BLOCK_SEGMENTS 64
#define BLOCK_PARITY 0
/* What is kept for repairs, which is what waits to be sent as well: more of it is more latency at full speed. */
#define BUFFER (16 << 20)
/* Kernel buffers for a burst of some ten milliseconds. */
#define SOCKET_BUFFER (16 << 20)
#define NAP_MS 20

struct settings {
	const char *group;
	int64_t port;
	const char *interface;
	int64_t count;
	struct sizes sizes;
	int64_t rate;
	int64_t pace;
	int64_t core;
	int64_t timeout_s;
	int64_t linger_ms;
	bool late;
	int64_t seconds;
	bool ready;
};

struct peer {
	const struct settings *settings;
	NormInstanceHandle instance;
	NormSessionHandle session;
	struct report report;
};

static void peer_open(struct peer *peer, const struct settings *settings, bool sends)
{
	peer->settings = settings;
	/* Before libnorm's thread is made, which inherits it. */
	pin(settings->core);
	peer->instance = NormCreateInstance(false);
	if (peer->instance == NORM_INSTANCE_INVALID)
		fail(ENDED_BADLY, "libnorm makes no instance");
	peer->session = NormCreateSession(peer->instance, settings->group, (UINT16)settings->port, (NormNodeId)getpid());
	if (peer->session == NORM_SESSION_INVALID)
		fail(ENDED_BADLY, "--group %s --port %lld: libnorm makes no session", settings->group, (long long)settings->port);
	if (settings->interface && !NormSetMulticastInterface(peer->session, settings->interface))
		fail(ENDED_BADLY, "--interface %s: libnorm refuses it", settings->interface);
	NormSetTTL(peer->session, 16);
	NormSetRxPortReuse(peer->session, true, NULL, NULL, 0);
	/* A round trip of 100 ms is what it begins with, and what all its timers are made of; these cables are shorter. */
	NormSetGrttEstimate(peer->session, 0.001);
	NormSetGrttMax(peer->session, 0.01);
	/* Few receivers, each alone with its losses: no time is lost by waiting for the others' NACKs. */
	NormSetGroupSize(peer->session, 10);
	NormSetBackoffFactor(peer->session, 0.0);
	if (sends) {
		/* Bits per second. Without congestion control: it is what is measured that shall set the limit. */
		NormSetTxRate(peer->session, settings->rate > 0 ? (double)settings->rate * 8 : 10e9);
		NormSetCongestionControl(peer->session, false, false);
		/* Round trips that what was asked for is held back from being written over; 2 by default, and with an estimate of 1 ms that is
		 * over before a receiver that was kept waiting for its core has asked for all that it missed. */
		NormSetFlowControl(peer->session, 20.0);
		/* A stream is one object; its cache must be as large as its buffer. */
		NormSetTxCacheBounds(peer->session, BUFFER, 1, 1024);
		if (!NormStartSender(peer->session, (NormSessionId)getpid(), BUFFER, SEGMENT, BLOCK_SEGMENTS, BLOCK_PARITY, 0))
			fail(ENDED_BADLY, "libnorm starts no sender");
		(void)NormSetTxSocketBuffer(peer->session, SOCKET_BUFFER);
	} else {
		/* To the sender alone, as PGM's NAKs go. */
		NormSetDefaultUnicastNack(peer->session, true);
		/* From the beginning, whenever we heard of it; a late one takes what comes. */
		NormSetDefaultSyncPolicy(peer->session, settings->late ? NORM_SYNC_CURRENT : NORM_SYNC_STREAM);
		NormSetRxCacheLimit(peer->session, 4096);
		if (!NormStartReceiver(peer->session, BUFFER))
			fail(ENDED_BADLY, "libnorm starts no receiver");
		(void)NormSetRxSocketBuffer(peer->session, SOCKET_BUFFER);
		/* Memory for a sender is else made, page by page, while its first packets overflow the socket. */
		(void)NormPreallocateRemoteSender(peer->session, BUFFER, SEGMENT, BLOCK_SEGMENTS, BLOCK_PARITY, BUFFER);
	}
	if (settings->ready)
		complain("ready");
}

/* Waits until libnorm has something to tell, or NAP_MS are over; false if it has not. */
static bool next_event(struct peer *peer, NormEvent *event, int at_most_ms)
{
	struct pollfd told = { .fd = NormGetDescriptor(peer->instance), .events = POLLIN };

	if (poll(&told, 1, at_most_ms) <= 0)
		return false;
	return NormGetNextEvent(peer->instance, event, false);
}

/* Writes all of it, however long that takes; false if we were stopped. */
static bool write_all(struct peer *peer, NormObjectHandle stream, const uint8_t *octets, size_t length)
{
	const uint64_t give_up_ns = steady_ns() + (uint64_t)peer->settings->timeout_s * 1000000000u;

	while (length) {
		const unsigned written = NormStreamWrite(stream, (const char *)octets, (unsigned)length);
		NormEvent event;

		octets += written;
		length -= written;
		if (length == 0 || written)
			continue;
		/* Full: it says when there is room again. */
		next_event(peer, &event, NAP_MS);
		if (is_stopped())
			return false;
		if (steady_ns() > give_up_ns)
			fail(ENDED_SILENT, "sending: nothing left for %lld s", (long long)peer->settings->timeout_s);
	}
	return true;
}

static enum ending run_send(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t count = settings->count > 0 ? (uint64_t)settings->count : UINT64_MAX;
	struct generator *generator = allocate(sizeof(*generator));
	uint8_t *message = allocate(PREFIX + settings->sizes.max);
	const NormObjectHandle stream = NormStreamOpen(peer->session, BUFFER, NULL, 0);
	const uint64_t begun_ns = steady_ns();
	const uint64_t timeout_ns = (uint64_t)settings->timeout_s * 1000000000u;
	uint64_t linger_until_ns;
	bool has_left = false;
	NormEvent event;

	if (stream == NORM_OBJECT_INVALID)
		fail(ENDED_BADLY, "libnorm opens no stream");
	/* A full buffer is refused then, and not written over. */
	NormStreamSetPushEnable(stream, false);
	generator_begin(generator, settings->sizes);
	while (generator->number < count && !is_stopped()) {
		const uint32_t length = generator_length(generator);

		if (settings->seconds > 0 && steady_ns() - begun_ns > (uint64_t)settings->seconds * 1000000000u)
			break;
		if (settings->pace > 0)
			sleep_until_ns(begun_ns + (uint64_t)((double)generator->number * 1e9 / (double)settings->pace));
		for (int octet = 0; octet < PREFIX; octet++)
			message[octet] = (uint8_t)(length >> (8 * octet));
		generator_write(generator, message + PREFIX, length, day_ns());
		if (!write_all(peer, stream, message, PREFIX + length))
			break;
		/* Where a receiver may begin; and what is paced leaves at once. */
		NormStreamMarkEom(stream);
		if (settings->pace > 0)
			NormStreamFlush(stream, false, NORM_FLUSH_PASSIVE);
		report_message(&peer->report, length, steady_ns());
	}
	/* What is written waits in the buffer; it has left when libnorm says so. */
	NormStreamFlush(stream, true, NORM_FLUSH_ACTIVE);
	for (uint64_t begun = steady_ns(); !has_left && !is_stopped() && steady_ns() - begun < timeout_ns;)
		has_left = next_event(peer, &event, NAP_MS) && event.type == NORM_TX_FLUSH_COMPLETED;
	peer->report.last_ns = steady_ns();
	linger_until_ns = steady_ns() + (uint64_t)settings->linger_ms * 1000000u;
	while (steady_ns() < linger_until_ns && !is_stopped())
		next_event(peer, &event, NAP_MS);
	NormStreamClose(stream, true);
	peer->report.sessions = 1;
	free(message);
	free(generator);
	return ENDED_WELL;
}

/* A stream on its way in. */
struct intake {
	struct checker checker;
	NormObjectHandle stream;
	bool is_in_step; /* we know where the next message begins */
	size_t have;
	uint8_t *octets; /* a message and its length, as far as it is here */
};

/* Reads octets until there are `wanted`; false if there are no more now, or the stream broke. */
static bool read_to(struct peer *peer, struct intake *intake, size_t wanted)
{
	while (intake->have < wanted) {
		unsigned octets = (unsigned)(wanted - intake->have);

		if (!NormStreamRead(intake->stream, (char *)intake->octets + intake->have, &octets)) {
			/* Some of it will never come: on from the next message that has a mark. */
			peer->report.resets++;
			report_event(&peer->report, "reset");
			intake->is_in_step = false;
			intake->have = 0;
			return false;
		}
		if (octets == 0)
			return false;
		intake->have += octets;
	}
	return true;
}

static void read_messages(struct peer *peer, struct intake *intake)
{
	for (;;) {
		uint32_t length = 0;

		if (!intake->is_in_step && !NormStreamSeekMsgStart(intake->stream))
			return;
		intake->is_in_step = true;
		if (!read_to(peer, intake, PREFIX)) {
			if (intake->is_in_step)
				return;
			continue;
		}
		for (int octet = 0; octet < PREFIX; octet++)
			length |= (uint32_t)intake->octets[octet] << (8 * octet);
		if (length > MESSAGE_MAX)
			fail(ENDED_LOST, "a message of %u octets: the stream is out of step", length);
		if (!read_to(peer, intake, PREFIX + length)) {
			if (intake->is_in_step)
				return;
			continue;
		}
		checker_take(&intake->checker, 0, &(struct chunk){ intake->octets + PREFIX, length }, 1, day_ns(), steady_ns());
		intake->have = 0;
	}
}

static enum ending run_recv(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t count = settings->count > 0 ? (uint64_t)settings->count : 0;
	const uint64_t timeout_ns = (uint64_t)settings->timeout_s * 1000000000u;
	struct intake *intake = allocate(sizeof(*intake));
	struct report *report = &peer->report;
	const uint64_t begun_ns = steady_ns();
	uint64_t news_ns = begun_ns;
	bool is_silent = false;
	bool is_over = false;

	intake->octets = allocate(PREFIX + MESSAGE_MAX);
	checker_begin(&intake->checker, report, NULL, settings->late, true);
	while (!is_stopped() && !is_over && !(count && checker_seen(&intake->checker) >= count)) {
		const uint64_t before = report->messages;
		NormEvent event;

		if (next_event(peer, &event, NAP_MS)) {
			switch (event.type) {
			case NORM_RX_OBJECT_NEW:
			case NORM_RX_OBJECT_UPDATED:
				if (NormObjectGetType(event.object) != NORM_OBJECT_STREAM)
					break;
				if (intake->stream != event.object) {
					intake->stream = event.object;
					intake->is_in_step = false;
					intake->have = 0;
					report_event(report, "open");
				}
				read_messages(peer, intake);
				break;
			case NORM_RX_OBJECT_COMPLETED:
			case NORM_RX_OBJECT_ABORTED:
				report_event(report, event.type == NORM_RX_OBJECT_COMPLETED ? "fin" : "aborted");
				is_over = !count;
				break;
			default:
				break;
			}
		}
		if (report->messages != before)
			news_ns = steady_ns();
		if (settings->seconds > 0 && steady_ns() - begun_ns > (uint64_t)settings->seconds * 1000000000u)
			break;
		if (steady_ns() - news_ns >= timeout_ns) {
			is_silent = count || report->messages == 0;
			break;
		}
	}
	if (report->messages && settings->seconds <= 0 && !is_stopped())
		checker_finish(&intake->checker, count);
	free(intake->octets);
	free(intake);
	return report_is_bad(report) ? ENDED_LOST : is_silent ? ENDED_SILENT : ENDED_WELL;
}

enum { SEND, RECV };

static const struct role roles[] = {
	[SEND] = { "send", "publishes messages that check themselves, as a stream" },
	[RECV] = { "recv", "checks them" },
	{ NULL, NULL },
};

int main(int count, char **words)
{
	struct settings settings = {
		.port = 6003,
		.sizes = { 64, 64 },
		.core = -1,
		.timeout_s = 10,
		.linger_ms = 1000,
	};
	const struct option options[] = {
		{ "--group", OPTION_TEXT, &settings.group, "the group's address" },
		{ "--port", OPTION_NUMBER, &settings.port, "the UDP port (6003)" },
		{ "--interface", OPTION_TEXT, &settings.interface, "the interface's name" },
		{ "--count", OPTION_NUMBER, &settings.count, "messages of the sender" },
		{ "--size", OPTION_SIZES, &settings.sizes, "octets, or MIN-MAX (64)" },
		{ "--rate", OPTION_NUMBER, &settings.rate, "octets per second (as fast as it can)" },
		{ "--pace", OPTION_NUMBER, &settings.pace, "messages per second, each at its time (none)" },
		{ "--core", OPTION_NUMBER, &settings.core, "the core to run on, libnorm's thread too" },
		{ "--timeout", OPTION_NUMBER, &settings.timeout_s, "seconds without any progress that end it (10)" },
		{ "--linger", OPTION_NUMBER, &settings.linger_ms, "ms that send answers NACKs behind its last message (1000)" },
		{ "--late", OPTION_FLAG, &settings.late, "what was before the first message heard is not missed" },
		{ "--seconds", OPTION_NUMBER, &settings.seconds, "ends after so many" },
		{ "--ready", OPTION_FLAG, &settings.ready, "says `ready` on standard error once it listens" },
		{ NULL, OPTION_FLAG, NULL, NULL },
	};
	struct peer *peer = allocate(sizeof(*peer));
	enum ending ending;
	size_t role;

	begin("norm");
	role = read_options(count, words, roles, options);
	if (!settings.group)
		fail(ENDED_USAGE, "--group is missing, such as --group 239.192.0.1");
	if (settings.port < 1 || settings.port > 65535 || settings.timeout_s < 1 || settings.linger_ms < 0)
		fail(ENDED_USAGE, "--port is 1 to 65535, --timeout at least 1");
	peer_open(peer, &settings, role == SEND);
	ending = role == SEND ? run_send(peer) : run_recv(peer);
	report_print(&peer->report);
	NormDestroySession(peer->session);
	NormDestroyInstance(peer->instance);
	free(peer);
	return ending;
}
