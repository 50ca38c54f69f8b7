/* ZeroMQ (libzmq 4.3) over pgm:// and epgm:// as a publisher, a subscriber and both ends of a ping, on its public interface alone.
 *
 * libzmq does the work on a thread of its own and tells nothing of sessions, losses or ends: a gap in the numbers is all that is seen of a
 * loss, and silence all that is seen of an end.
 *
 * A message of several parts is the generated message cut into nearly equal pieces; what is checked is the parts joined. Guards: what
 * ZeroMQ would throw away in silence (a full pipe, a slow reader) waits here instead, as far as its options allow. */
#define _GNU_SOURCE
#include "common.h"

#include <stdlib.h>
#include <string.h>

#include <zmq.h>

/* Parts of a message. */
#define PARTS_MAX 64
/* Packets that the publisher keeps for repair, about: ZeroMQ counts its window in time. */
#define WINDOW_PACKETS 32768
/* Octets of the largest packet of IP. */
#define MTU 1500
/* A wait that a signal may have missed ends by then. */
#define NAP_MS 50
/* A ping that is not answered by then never will be. */
#define ANSWER_WITHIN_MS 1000

struct settings {
	const char *endpoint;
	int64_t count;
	struct sizes sizes;
	int64_t parts;
	int64_t rate_kbit;
	int64_t pace;
	struct texts subscribe;
	int64_t hwm;
	int64_t core;
	int64_t timeout_s;
	int64_t linger_ms;
	bool late;
	int64_t seconds;
	bool ready;
};

struct peer {
	const struct settings *settings;
	void *context;
	void *pub; /* none in a subscriber */
	void *sub; /* none in a publisher */
	struct report report;
};

static void set_int(void *socket, int option, int64_t value, const char *what)
{
	const int number = (int)value;

	if (zmq_setsockopt(socket, option, &number, sizeof(number)) != 0)
		fail(ENDED_BADLY, "libzmq refuses %s: %s", what, zmq_strerror(zmq_errno()));
}

/* What both kinds of sockets take. */
static void set_network(void *socket, const struct settings *settings)
{
	/* Kilobits per second of IP, 100 by default: its bucket is what bounds a publisher, and with the interval it makes the windows. */
	set_int(socket, ZMQ_RATE, settings->rate_kbit, "--rate");
	/* Milliseconds: as long as WINDOW_PACKETS take at that rate. Longer windows only cost memory, which it takes at the start. */
	const int64_t window_ms = (int64_t)WINDOW_PACKETS * MTU * 8 / settings->rate_kbit;
	set_int(socket, ZMQ_RECOVERY_IVL, window_ms < 10 ? 10 : window_ms > 60000 ? 60000 : window_ms, "the recovery interval");
	/* 1 by default: no router is crossed here either, but one would be no reason to fall silent. */
	set_int(socket, ZMQ_MULTICAST_HOPS, 16, "the hops of multicast");
	set_int(socket, ZMQ_MULTICAST_MAXTPDU, MTU, "the size of packets");
	/* A burst that comes while its thread does something else. */
	set_int(socket, ZMQ_RCVBUF, 16 << 20, "the receive buffer");
	set_int(socket, ZMQ_SNDBUF, 16 << 20, "the send buffer");
}

static void *open_pub(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	void *pub = zmq_socket(peer->context, ZMQ_PUB);

	if (!pub)
		fail(ENDED_BADLY, "a PUB socket: %s", zmq_strerror(zmq_errno()));
	set_network(pub, settings);
	set_int(pub, ZMQ_SNDHWM, settings->hwm, "--hwm");
	/* A PUB throws away what its pipe has no room for; like this it waits. */
	set_int(pub, ZMQ_XPUB_NODROP, 1, "to wait where the pipe is full");
	set_int(pub, ZMQ_SNDTIMEO, NAP_MS, "a limit to waits");
	set_int(pub, ZMQ_LINGER, settings->linger_ms, "--linger");
	if (zmq_connect(pub, settings->endpoint) != 0)
		fail(ENDED_BADLY, "--endpoint %s: %s (the interface by its address, such as 'epgm://10.0.0.1;239.192.0.1:7500')",
		     settings->endpoint, zmq_strerror(zmq_errno()));
	return pub;
}

static void *open_sub(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	void *sub = zmq_socket(peer->context, ZMQ_SUB);

	if (!sub)
		fail(ENDED_BADLY, "a SUB socket: %s", zmq_strerror(zmq_errno()));
	set_network(sub, settings);
	/* Any number, unless asked for: where the pipe was full in the midst of a multipart message libzmq 4.3.4 aborts the process
	 * (pgm_receiver.cpp:131), and with whole ones its thread stops reading, so that what the kernel drops must be asked for again. */
	set_int(sub, ZMQ_RCVHWM, settings->hwm, "--hwm");
	set_int(sub, ZMQ_RCVTIMEO, NAP_MS, "a limit to waits");
	set_int(sub, ZMQ_LINGER, 0, "not to linger");
	for (size_t at = 0; at < settings->subscribe.count; at++) {
		const char *beginning = settings->subscribe.text[at];

		if (zmq_setsockopt(sub, ZMQ_SUBSCRIBE, beginning, strlen(beginning)) != 0)
			fail(ENDED_BADLY, "--subscribe: %s", zmq_strerror(zmq_errno()));
	}
	if (settings->subscribe.count == 0 && zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "", 0) != 0)
		fail(ENDED_BADLY, "to subscribe to everything: %s", zmq_strerror(zmq_errno()));
	if (zmq_connect(sub, settings->endpoint) != 0)
		fail(ENDED_BADLY, "--endpoint %s: %s (the interface by its address, such as 'epgm://10.0.0.1;239.192.0.1:7500')",
		     settings->endpoint, zmq_strerror(zmq_errno()));
	return sub;
}

static void peer_open(struct peer *peer, const struct settings *settings, bool publishes, bool subscribes)
{
	peer->settings = settings;
	/* Here and not in libzmq's option for its threads: they inherit it, and both ends of its pipes share a cache. */
	pin(settings->core);
	peer->context = zmq_ctx_new();
	if (!peer->context)
		fail(ENDED_BADLY, "a context: %s", zmq_strerror(zmq_errno()));
	if (subscribes)
		peer->sub = open_sub(peer);
	if (publishes)
		peer->pub = open_pub(peer);
	if (settings->ready)
		complain("ready");
}

/* Where a part begins: `part` of `parts` of so many octets. */
static size_t cut(size_t length, size_t part, size_t parts)
{
	return length * part / parts;
}

/* Publishes a message in its parts; false if we were stopped. */
static bool send_one(struct peer *peer, const uint8_t *message, size_t length)
{
	const size_t parts = (size_t)peer->settings->parts;
	const uint64_t give_up_ns = steady_ns() + (uint64_t)peer->settings->timeout_s * 1000000000u;

	for (size_t part = 0; part < parts;) {
		const size_t from = cut(length, part, parts);
		const size_t to = cut(length, part + 1, parts);

		if (zmq_send(peer->pub, message + from, to - from, part + 1 < parts ? ZMQ_SNDMORE : 0) >= 0) {
			part++;
			continue;
		}
		if (zmq_errno() != EAGAIN && zmq_errno() != EINTR)
			fail(ENDED_BADLY, "publishing: %s", zmq_strerror(zmq_errno()));
		if (steady_ns() > give_up_ns)
			fail(ENDED_SILENT, "publishing: nothing left for %lld s", (long long)peer->settings->timeout_s);
		if (is_stopped() && part == 0)
			return false;
	}
	return true;
}

/* A message in its parts; they are ours until `parts_close`. */
struct parts {
	zmq_msg_t part[PARTS_MAX];
	struct chunk chunks[PARTS_MAX];
	size_t count;
};

static void parts_close(struct parts *parts)
{
	for (size_t at = 0; at < parts->count; at++)
		zmq_msg_close(&parts->part[at]);
	parts->count = 0;
}

/* Takes in a message; false if none has come for NAP_MS, or with `flags` ZMQ_DONTWAIT none is there. */
static bool receive(struct peer *peer, struct parts *parts, int flags)
{
	bool is_more = true;

	parts->count = 0;
	while (is_more) {
		zmq_msg_t *part = &parts->part[parts->count];

		if (parts->count == PARTS_MAX)
			fail(ENDED_BADLY, "a message of more than %d parts", PARTS_MAX);
		zmq_msg_init(part);
		if (zmq_msg_recv(part, peer->sub, flags) < 0) {
			if (zmq_errno() != EAGAIN && zmq_errno() != EINTR)
				fail(ENDED_BADLY, "receiving: %s", zmq_strerror(zmq_errno()));
			zmq_msg_close(part);
			/* Parts come together: only before the first one is there nothing. */
			parts_close(parts);
			return false;
		}
		parts->chunks[parts->count] = (struct chunk){ zmq_msg_data(part), zmq_msg_size(part) };
		parts->count++;
		is_more = zmq_msg_more(part) != 0;
	}
	return true;
}

static enum ending run_pub(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t count = settings->count > 0 ? (uint64_t)settings->count : UINT64_MAX;
	struct generator *generator = allocate(sizeof(*generator));
	uint8_t *message = allocate(settings->sizes.max + 1);
	const uint64_t begun_ns = steady_ns();

	generator_begin(generator, settings->sizes);
	while (generator->number < count && !is_stopped()) {
		const uint32_t length = generator_length(generator);

		if (settings->seconds > 0 && steady_ns() - begun_ns > (uint64_t)settings->seconds * 1000000000u)
			break;
		if (settings->pace > 0)
			sleep_until_ns(begun_ns + (uint64_t)((double)generator->number * 1e9 / (double)settings->pace));
		generator_write(generator, message, length, day_ns());
		if (!send_one(peer, message, length))
			break;
		report_message(&peer->report, length, steady_ns());
	}
	peer->report.sessions = 1;
	free(message);
	free(generator);
	/* zmq_close hands over what waits, zmq_ctx_term waits for it at most ZMQ_LINGER; but then repairs end at once. */
	if (!is_stopped())
		sleep_until_ns(steady_ns() + (uint64_t)settings->linger_ms * 1000000u);
	return ENDED_WELL;
}

static enum ending run_sub(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t timeout_ns = (uint64_t)settings->timeout_s * 1000000000u;
	struct checker *checker = allocate(sizeof(*checker));
	struct parts *parts = allocate(sizeof(*parts));
	struct report *report = &peer->report;
	const uint64_t begun_ns = steady_ns();
	uint64_t news_ns = begun_ns;
	bool is_silent = false;
	uint64_t count;

	checker_begin(checker, report, &settings->subscribe, settings->late, true);
	count = settings->count > 0 ? checker_wanted(checker, (uint64_t)settings->count) : 0;
	while (!is_stopped() && !(count && checker_seen(checker) >= count)) {
		const bool has_come = receive(peer, parts, 0);
		const uint64_t sessions = report->sessions;
		const uint64_t now_ns = steady_ns();

		if (settings->seconds > 0 && now_ns - begun_ns > (uint64_t)settings->seconds * 1000000000u)
			break;
		if (has_come) {
			checker_take(checker, 0, parts->chunks, parts->count, day_ns(), now_ns);
			if (report->sessions > sessions)
				report_event(report, "open");
			parts_close(parts);
			news_ns = now_ns;
		} else if (now_ns - news_ns >= timeout_ns) {
			/* Without a count silence is the only end that there is. */
			is_silent = count || report->messages == 0;
			break;
		}
	}
	if (report->messages && settings->seconds <= 0 && !is_stopped())
		checker_finish(checker, count);
	free(parts);
	free(checker);
	return report_is_bad(report) ? ENDED_LOST : is_silent ? ENDED_SILENT : ENDED_WELL;
}

static enum ending run_ping(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t count = settings->count > 0 ? (uint64_t)settings->count : UINT64_MAX;
	const uint64_t give_up_ns = steady_ns() + (uint64_t)settings->timeout_s * 1000000000u;
	struct generator *generator = allocate(sizeof(*generator));
	struct parts *parts = allocate(sizeof(*parts));
	uint8_t *message = allocate(settings->sizes.max + 1);
	struct report *report = &peer->report;
	const uint64_t begun_ns = steady_ns();
	bool is_silent = false;

	generator_begin(generator, settings->sizes);
	while (report->messages + report->lost < count && !is_stopped()) {
		const uint32_t length = generator_length(generator);
		bool is_answered = false;
		uint64_t sent_ns, now_ns;

		if (settings->seconds > 0 && steady_ns() - begun_ns > (uint64_t)settings->seconds * 1000000000u)
			break;
		generator_write(generator, message, length, day_ns());
		sent_ns = now_ns = steady_ns();
		if (!send_one(peer, message, length))
			break;
		/* Until the first answer others may not be there yet: ask again soon. */
		while (!is_answered && !is_stopped() &&
		       now_ns - sent_ns < (report->messages ? ANSWER_WITHIN_MS : 2 * NAP_MS) * 1000000ull) {
			if (receive(peer, parts, 0)) {
				size_t at = 0;

				is_answered = true;
				for (size_t part = 0; part < parts->count; part++) {
					const struct chunk chunk = parts->chunks[part];

					is_answered = is_answered && chunk.length <= length - at &&
						      memcmp(chunk.octets, message + at, chunk.length) == 0;
					if (!is_answered)
						break;
					at += chunk.length;
				}
				is_answered = is_answered && at == length;
				parts_close(parts);
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
	free(message);
	free(parts);
	free(generator);
	return report_is_bad(report) ? ENDED_LOST : is_silent ? ENDED_SILENT : ENDED_WELL;
}

static enum ending run_pong(struct peer *peer)
{
	const struct settings *settings = peer->settings;
	const uint64_t count = settings->count > 0 ? (uint64_t)settings->count : UINT64_MAX;
	const uint64_t timeout_ns = (uint64_t)settings->timeout_s * 1000000000u;
	struct parts *parts = allocate(sizeof(*parts));
	struct report *report = &peer->report;
	uint64_t news_ns = steady_ns();

	while (report->messages < count && !is_stopped()) {
		uint64_t octets = 0;

		if (!receive(peer, parts, 0)) {
			if (steady_ns() - news_ns >= timeout_ns)
				break;
			continue;
		}
		news_ns = steady_ns();
		for (size_t part = 0; part < parts->count; part++) {
			octets += parts->chunks[part].length;
			while (zmq_msg_send(&parts->part[part], peer->pub, part + 1 < parts->count ? ZMQ_SNDMORE : 0) < 0) {
				if ((zmq_errno() != EAGAIN && zmq_errno() != EINTR) || is_stopped())
					fail(ENDED_BADLY, "answering: %s", zmq_strerror(zmq_errno()));
			}
		}
		parts_close(parts);
		report_message(report, octets, news_ns);
	}
	report->sessions = report->messages ? 1 : 0;
	free(parts);
	return report->messages || is_stopped() ? ENDED_WELL : ENDED_SILENT;
}

/* A beginning that begins another one would count its messages twice. */
static void check_subscriptions(const struct texts *subscribe)
{
	for (size_t one = 0; one < subscribe->count; one++)
		for (size_t other = 0; other < subscribe->count; other++)
			if (one != other && strncmp(subscribe->text[one], subscribe->text[other], strlen(subscribe->text[one])) == 0)
				fail(ENDED_USAGE, "--subscribe `%s` takes in `%s` too: leave the longer one away", subscribe->text[one],
				     subscribe->text[other]);
}

enum { PUB, SUB, PING, PONG };

static const struct role roles[] = {
	[PUB] = { "pub", "publishes messages that check themselves" },
	[SUB] = { "sub", "checks them" },
	[PING] = { "ping", "sends one at a time and waits until it comes back" },
	[PONG] = { "pong", "sends back what comes" },
	{ NULL, NULL },
};

int main(int count, char **words)
{
	struct settings settings = {
		.sizes = { 64, 64 },
		.parts = 1,
		.rate_kbit = 1000000,
		.hwm = -1,
		.core = -1,
		.timeout_s = 10,
		.linger_ms = 1000,
	};
	const struct option options[] = {
		{ "--endpoint", OPTION_TEXT, &settings.endpoint, "pgm://ADDRESS;GROUP:PORT or epgm://ADDRESS;GROUP:PORT" },
		{ "--count", OPTION_NUMBER, &settings.count, "messages of the publisher; sub without it ends when nothing comes for --timeout" },
		{ "--size", OPTION_SIZES, &settings.sizes, "octets, or MIN-MAX (64)" },
		{ "--parts", OPTION_NUMBER, &settings.parts, "parts that each message is cut into (1)" },
		{ "--rate", OPTION_NUMBER, &settings.rate_kbit, "kilobits of IP per second (1M: a gigabit)" },
		{ "--pace", OPTION_NUMBER, &settings.pace, "messages per second, each at its time (none)" },
		{ "--subscribe", OPTION_TEXTS, &settings.subscribe, "only messages that begin so; may be given again" },
		{ "--hwm", OPTION_NUMBER, &settings.hwm, "messages that wait in a pipe; 0: any number (pub 10000, else 0)" },
		{ "--core", OPTION_NUMBER, &settings.core, "the core to run on, libzmq's thread too" },
		{ "--timeout", OPTION_NUMBER, &settings.timeout_s, "seconds without any progress that end it (10)" },
		{ "--linger", OPTION_NUMBER, &settings.linger_ms, "ms that pub answers NAKs behind its last message (1000)" },
		{ "--late", OPTION_FLAG, &settings.late, "what was before the first message heard is not missed" },
		{ "--seconds", OPTION_NUMBER, &settings.seconds, "ends after so many" },
		{ "--ready", OPTION_FLAG, &settings.ready, "says `ready` on standard error once it listens" },
		{ NULL, OPTION_FLAG, NULL, NULL },
	};
	struct peer *peer = allocate(sizeof(*peer));
	enum ending ending = ENDED_WELL;
	size_t role;

	begin("zeromq");
	role = read_options(count, words, roles, options);
	if (!settings.endpoint || !(strncmp(settings.endpoint, "pgm://", 6) == 0 || strncmp(settings.endpoint, "epgm://", 7) == 0))
		fail(ENDED_USAGE, "--endpoint is missing or neither pgm:// nor epgm://, such as --endpoint 'epgm://10.0.0.1;239.192.0.1:7500'");
	if (settings.parts < 1 || settings.parts > PARTS_MAX || settings.rate_kbit < 1 || settings.rate_kbit > 100000000 ||
	    settings.timeout_s < 1 || settings.linger_ms < 0)
		fail(ENDED_USAGE, "--parts is 1 to %d, --rate 1 to 100M, --timeout at least 1", PARTS_MAX);
	if (settings.hwm < 0)
		settings.hwm = role == PUB ? 10000 : 0;
	check_subscriptions(&settings.subscribe);
	peer_open(peer, &settings, role != SUB, role != PUB);
	switch (role) {
	case PUB:
		ending = run_pub(peer);
		break;
	case SUB:
		ending = run_sub(peer);
		break;
	case PING:
		ending = run_ping(peer);
		break;
	default:
		ending = run_pong(peer);
		break;
	}
	report_print(&peer->report);
	if (peer->pub)
		zmq_close(peer->pub);
	if (peer->sub)
		zmq_close(peer->sub);
	zmq_ctx_term(peer->context);
	free(peer);
	return ending;
}
