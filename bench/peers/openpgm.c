/* OpenPGM (libpgm 5.3) as a sender, a receiver and both ends of a ping, on its public interface alone: the roles. */
#include "openpgm.h"

#include <stdlib.h>
#include <string.h>

/* Messages between two looks at what receivers ask for: a look costs system calls, and a NAK that waits for 16 messages waits 0.1 ms. */
#define MESSAGES_BETWEEN_LOOKS 16
/* All sessions have ended: what is still on its way may take this long. */
#define AFTERMATH_NS 500000000u
/* A ping that is not answered by then never will be. */
#define ANSWER_WITHIN_NS 1000000000u

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

static uint64_t key_of(const pgm_tsi_t *tsi)
{
	uint64_t key = 0;

	memcpy(&key, tsi, sizeof(*tsi));
	return key;
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
	settings.answers = role == PONG;
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
