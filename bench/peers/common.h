/* What the peers' programs share: options, self-checking messages, latencies, the report.
 *
 *   openpgm.c  zeromq.c  norm.c        one program for each library, nothing but that library in it (openpgm_socket.c: its socket)
 *   options.c                          `--option value` into a struct, numbers with k, M, G
 *   messages.c                         makes and checks messages exactly as `pgmx send` and `pgmx recv --verify` do
 *   report.c                           latencies, events, and the JSON object at the end
 *   process.c                          clocks, signals, pinning, exit
 *
 * Guards: whatever one program prints can be held against what another one prints, `pgmx --json` included. */
#ifndef PEERS_COMMON_H
#define PEERS_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* How a program ends. */
enum ending {
	ENDED_WELL = 0,
	ENDED_BADLY = 1,
	ENDED_USAGE = 2,
	ENDED_LOST = 3,   /* something was lost, damaged, doubled or out of order */
	ENDED_SILENT = 4, /* nothing came for --timeout, and nothing is known to be lost */
};

/* --- process.c ---------------------------------------------------------------------------------------------------- */

/* Names the program in what it says to people, and lets Ctrl-C and SIGTERM set `is_stopped` instead of ending it. */
void begin(const char *program);
/* Whether somebody wants us to end. */
bool is_stopped(void);
/* One line to people. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and the end. */
_Noreturn void fail(enum ending ending, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Nanoseconds, steady. */
uint64_t steady_ns(void);
/* Nanoseconds since 1970. */
uint64_t day_ns(void);
/* Sleeps until then by `steady_ns`, or until a signal. */
void sleep_until_ns(uint64_t when_ns);
/* Pins the calling thread, and with it those that it will start; a core below 0 pins nothing. */
void pin(int64_t core);
/* Memory or the end. */
void *allocate(size_t octets);

/* --- options.c ---------------------------------------------------------------------------------------------------- */

/* Octets of a message, both ends included. */
struct sizes {
	uint32_t min;
	uint32_t max;
};

/* The longest message that is made or taken. */
#define MESSAGE_MAX (1u << 24)

enum option_kind {
	OPTION_FLAG,   /* bool */
	OPTION_TEXT,   /* const char * */
	OPTION_NUMBER, /* int64_t, suffixes k, M and G */
	OPTION_SIZES,  /* struct sizes: N or MIN-MAX */
	OPTION_TEXTS,  /* struct texts: may be given again */
};

/* What is given more than once. */
#define TEXTS_MAX 16
struct texts {
	const char *text[TEXTS_MAX];
	size_t count;
};

struct option {
	const char *name; /* with its dashes */
	enum option_kind kind;
	void *to;
	const char *help;
};

/* What a program is for, one line each. */
struct role {
	const char *name;
	const char *help;
};

/* Reads `PROGRAM ROLE --option value ...`; both tables end with a NULL name. Returns which role it is; anything that makes no
 * sense ends the program with status 2, and `--help` with the page and status 0. */
size_t read_options(int count, char **words, const struct role *roles, const struct option *options);

/* --- report.c ----------------------------------------------------------------------------------------------------- */

/* Latencies in buckets that are 1/64 of their value wide, so that a percentile is at most 1.6 % off. */
#define LATENCY_BUCKETS ((64 - 6) * 64 + 64)
struct latency {
	uint64_t count;
	uint64_t max_ns;
	uint64_t buckets[LATENCY_BUCKETS];
};

void latency_record(struct latency *latency, uint64_t ns);

/* What the library told of a session. */
#define EVENTS_MAX 256
struct event {
	const char *what;
	uint64_t at_message;
};

/* What the program says at its end. */
struct report {
	uint64_t messages;
	uint64_t bytes;
	uint64_t lost;
	uint64_t corrupt;
	uint64_t duplicates;
	uint64_t out_of_order;
	uint64_t resets;
	uint64_t sessions;
	bool is_begun;
	uint64_t first_number;
	uint64_t first_ns;
	uint64_t last_ns;
	struct latency latency;
	struct event events[EVENTS_MAX];
	size_t event_count;
};

/* A message was sent or taken in at this steady time. */
static inline void report_message(struct report *report, uint64_t octets, uint64_t now_ns)
{
	if (report->messages++ == 0)
		report->first_ns = now_ns;
	report->last_ns = now_ns;
	report->bytes += octets;
}

/* The library told something; the first EVENTS_MAX are kept. */
void report_event(struct report *report, const char *what);
/* Whether something was lost, damaged, doubled or out of order. */
bool report_is_bad(const struct report *report);
/* One JSON object on standard output. */
void report_print(const struct report *report);

/* --- messages.c --------------------------------------------------------------------------------------------------- */

/* The octets of messages are cut from this. */
#define MESSAGE_BLOCK 4096
struct pattern {
	uint8_t octets[2 * MESSAGE_BLOCK];
};

/* Makes messages, numbered from 0. */
struct generator {
	struct pattern pattern;
	struct sizes sizes;
	uint64_t number;
};

void generator_begin(struct generator *generator, struct sizes sizes);
/* Octets of the next message. */
uint32_t generator_length(const struct generator *generator);
/* Writes the next message and counts it as sent. */
void generator_write(struct generator *generator, uint8_t *to, uint32_t length, uint64_t published_ns);

/* Some of the message that is being checked. */
struct chunk {
	const uint8_t *octets;
	size_t length;
};

/* What is known of a session's messages. */
#define SESSIONS_MAX 64
struct session {
	uint64_t key; /* which one it is; whatever the library tells them apart by */
	uint64_t expected;
	uint64_t newest_ns; /* when its newest message was published */
	uint64_t *remembered; /* a bit for each of the last numbers: whether it came */
	bool is_begun;
};

/* Numbers that are remembered, so that one that comes late is told from one that comes twice. A power of two. */
#define NUMBERS_REMEMBERED (1u << 20)

/* Checks messages. */
struct checker {
	struct pattern pattern;
	struct report *report;
	const struct texts *wanted; /* beginnings of messages that come; none: all come */
	bool is_late;               /* what was before the first message is not missed */
	bool is_one_sender;         /* the library tells no sessions apart: a number 0 that is newer begins another one */
	struct session sessions[SESSIONS_MAX];
	size_t session_count;
	size_t current;
};

void checker_begin(struct checker *checker, struct report *report, const struct texts *wanted, bool is_late,
		   bool is_one_sender);
/* A message of the session `key`, in chunks, came at these times. */
void checker_take(struct checker *checker, uint64_t key, const struct chunk *chunks, size_t count, uint64_t day,
		  uint64_t steady);
/* Messages that are accounted for, of all sessions; with `is_late` those before the first one too. */
uint64_t checker_seen(const struct checker *checker);
/* How many of a sender's first messages are wanted. */
uint64_t checker_wanted(const struct checker *checker, uint64_t of);
/* No more will come: what is missing of `of` is lost. */
void checker_finish(struct checker *checker, uint64_t of);

#endif
