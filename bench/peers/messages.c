/* Messages that check themselves, octet for octet those of `pgmx send` and `pgmx recv --verify`, so that either end can be pgmx.
 *
 *   octet 0      8           16
 *         number  published   octets of a fixed table, from places that follow from number, time and length
 *
 * Little-endian; a shorter message has as much of that as fits. Guards: what was changed, cut, doubled, swapped or left out is
 * counted, and each by its own name. */
#include "common.h"

#include <string.h>

#define HEAD 16
/* A latency beyond an hour is a clock that is wrong. */
#define LATENCY_MAX_NS 3600000000000u

static uint64_t mix(uint64_t x)
{
	x = ((x ^ (x >> 31)) + 0x9e3779b97f4a7c15u) * 0xd6e8feb86659fd93u;
	return (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
}

static void put_u64(uint8_t *to, uint64_t value)
{
	for (int octet = 0; octet < 8; octet++)
		to[octet] = (uint8_t)(value >> (8 * octet));
}

static uint64_t get_u64(const uint8_t *from)
{
	uint64_t value = 0;

	for (int octet = 0; octet < 8; octet++)
		value |= (uint64_t)from[octet] << (8 * octet);
	return value;
}

static void pattern_begin(struct pattern *pattern)
{
	for (size_t word = 0; word < sizeof(pattern->octets) / 8; word++)
		put_u64(pattern->octets + 8 * word, mix(word));
}

/* What a message's octets follow from. */
struct recipe {
	uint8_t head[HEAD];
	uint64_t seed;
};

static struct recipe recipe_of(uint64_t number, uint64_t published_ns, size_t length)
{
	struct recipe recipe;

	put_u64(recipe.head, number);
	put_u64(recipe.head + 8, published_ns);
	recipe.seed = number * 0x9e3779b97f4a7c15u ^ (published_ns << 32 | published_ns >> 32) ^ length;
	return recipe;
}

/* The octets that belong at `at` and behind, as far as they lie in one piece: how many. */
static size_t recipe_piece(const struct recipe *recipe, const struct pattern *pattern, size_t at, const uint8_t **piece)
{
	size_t block, within;

	if (at < HEAD) {
		*piece = recipe->head + at;
		return HEAD - at;
	}
	block = (at - HEAD) / MESSAGE_BLOCK;
	within = (at - HEAD) % MESSAGE_BLOCK;
	*piece = pattern->octets + (mix(recipe->seed ^ (uint64_t)block << 48) >> 52) + within;
	return MESSAGE_BLOCK - within;
}

void generator_begin(struct generator *generator, struct sizes sizes)
{
	pattern_begin(&generator->pattern);
	generator->sizes = sizes;
	generator->number = 0;
}

uint32_t generator_length(const struct generator *generator)
{
	const struct sizes sizes = generator->sizes;
	const uint64_t among = (uint64_t)sizes.max - sizes.min + 1;

	return sizes.min + (uint32_t)((mix(generator->number) >> 32) * among >> 32);
}

void generator_write(struct generator *generator, uint8_t *to, uint32_t length, uint64_t published_ns)
{
	const struct recipe recipe = recipe_of(generator->number++, published_ns, length);

	for (size_t at = 0; at < length;) {
		const uint8_t *piece;
		size_t octets = recipe_piece(&recipe, &generator->pattern, at, &piece);

		if (octets > length - at)
			octets = length - at;
		memcpy(to + at, piece, octets);
		at += octets;
	}
}

/* --- which numbers are wanted ------------------------------------------------------------------------------------- */

/* A message begins with its number, little-endian: those that begin with some octets are every 256th, every 65,536th ... number. */
struct stride {
	uint64_t first;
	uint64_t step; /* 0 stands for 2^64 */
};

static struct stride stride_of(const char *beginning)
{
	struct stride stride = { .first = 0, .step = 1 };
	size_t octets = strlen(beginning);

	for (size_t at = 0; at < octets && at < 8; at++) {
		stride.first |= (uint64_t)(uint8_t)beginning[at] << (8 * at);
		stride.step <<= 8;
	}
	return stride;
}

/* How many numbers below this one are wanted. */
static uint64_t wanted_below(const struct texts *wanted, uint64_t number)
{
	uint64_t count = 0;

	if (!wanted || wanted->count == 0)
		return number;
	for (size_t at = 0; at < wanted->count; at++) {
		const struct stride stride = stride_of(wanted->text[at]);

		if (number > stride.first)
			count += stride.step ? (number - stride.first - 1) / stride.step + 1 : 1;
	}
	return count;
}

/* The first number from this one on that is wanted. */
static uint64_t wanted_from(const struct texts *wanted, uint64_t number)
{
	uint64_t nearest = UINT64_MAX;

	if (!wanted || wanted->count == 0)
		return number;
	for (size_t at = 0; at < wanted->count; at++) {
		const struct stride stride = stride_of(wanted->text[at]);
		const uint64_t ahead = stride.step ? (stride.first - number) & (stride.step - 1) : stride.first - number;

		if (ahead < nearest - number)
			nearest = number + ahead;
	}
	return nearest;
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

void checker_begin(struct checker *checker, struct report *report, const struct texts *wanted, bool is_late,
		   bool is_one_sender)
{
	memset(checker, 0, sizeof(*checker));
	pattern_begin(&checker->pattern);
	checker->report = report;
	checker->wanted = wanted;
	checker->is_late = is_late;
	checker->is_one_sender = is_one_sender;
}

static struct session *session_add(struct checker *checker, uint64_t key)
{
	struct session *session = &checker->sessions[checker->session_count];

	if (checker->session_count == SESSIONS_MAX)
		fail(ENDED_BADLY, "more than %d sessions: is somebody else on this group and port?", SESSIONS_MAX);
	checker->current = checker->session_count++;
	checker->report->sessions++;
	session->key = key;
	session->expected = wanted_from(checker->wanted, 0);
	session->remembered = allocate(NUMBERS_REMEMBERED / 8);
	return session;
}

static struct session *session_of(struct checker *checker, uint64_t key)
{
	if (checker->session_count && (checker->is_one_sender || checker->sessions[checker->current].key == key))
		return &checker->sessions[checker->current];
	for (size_t at = 0; at < checker->session_count; at++) {
		if (checker->sessions[at].key == key) {
			checker->current = at;
			return &checker->sessions[at];
		}
	}
	return session_add(checker, key);
}

static bool is_remembered(const struct session *session, uint64_t number)
{
	const uint64_t at = number % NUMBERS_REMEMBERED;

	return session->remembered[at / 64] >> (at % 64) & 1;
}

static void remember(struct session *session, uint64_t number, bool has_come)
{
	const uint64_t at = number % NUMBERS_REMEMBERED;

	session->remembered[at / 64] &= ~((uint64_t)1 << (at % 64));
	session->remembered[at / 64] |= (uint64_t)has_come << (at % 64);
}

/* It has come, and those between the expected one and it have not. */
static void session_advance(struct checker *checker, struct session *session, uint64_t number)
{
	uint64_t skipped = number - session->expected;

	if (skipped > NUMBERS_REMEMBERED)
		skipped = NUMBERS_REMEMBERED;
	for (uint64_t before = number - skipped; before < number; before++)
		remember(session, before, false);
	remember(session, number, true);
	session->expected = wanted_from(checker->wanted, number + 1);
	session->is_begun = true;
}

static void copy_head(uint8_t *head, const struct chunk *chunks, size_t count)
{
	size_t have = 0;

	memset(head, 0, HEAD);
	for (size_t at = 0; at < count && have < HEAD; at++) {
		size_t octets = chunks[at].length < HEAD - have ? chunks[at].length : HEAD - have;

		/* An empty chunk may have no address. */
		if (octets)
			memcpy(head + have, chunks[at].octets, octets);
		have += octets;
	}
}

/* What is missing of a short message's number is taken from the expected one: it is the nearest that ends so. */
static uint64_t whole_number(uint64_t number, size_t length, uint64_t expected)
{
	uint64_t modulus, ahead;

	if (length >= 8)
		return number;
	modulus = (uint64_t)1 << (8 * length);
	ahead = (number - expected) & (modulus - 1);
	return ahead <= modulus / 2 || expected + ahead < modulus ? expected + ahead : expected + ahead - modulus;
}

static bool is_sound(const struct pattern *pattern, const struct recipe *recipe, const struct chunk *chunks, size_t count)
{
	size_t at = 0;

	for (size_t one = 0; one < count; one++) {
		const uint8_t *octets = chunks[one].octets;
		size_t left = chunks[one].length;

		while (left) {
			const uint8_t *piece;
			size_t length = recipe_piece(recipe, pattern, at, &piece);

			if (length > left)
				length = left;
			/* Number and time are where the rest follows from: there is nothing to hold them against. */
			if (at >= HEAD && memcmp(octets, piece, length) != 0)
				return false;
			octets += length;
			left -= length;
			at += length;
		}
	}
	return true;
}

/* A sound message that is not the expected one. Whether it counts as delivered. */
static bool judge(struct checker *checker, struct session *session, uint64_t number)
{
	struct report *report = checker->report;

	if (number >= session->expected) {
		if (session->is_begun || !checker->is_late)
			report->lost += wanted_below(checker->wanted, number) - wanted_below(checker->wanted, session->expected);
		session_advance(checker, session, number);
		return true;
	}
	if (session->expected - number > NUMBERS_REMEMBERED || is_remembered(session, number)) {
		report->duplicates++;
		return false;
	}
	/* It was overtaken, and taken for lost; unless it is from before the first one that we heard. */
	remember(session, number, true);
	report->out_of_order++;
	if (report->lost)
		report->lost--;
	return true;
}

void checker_take(struct checker *checker, uint64_t key, const struct chunk *chunks, size_t count, uint64_t day,
		  uint64_t steady)
{
	struct report *report = checker->report;
	struct session *session = session_of(checker, key);
	uint64_t number, published_ns;
	struct recipe recipe;
	uint8_t head[HEAD];
	size_t length = 0;

	for (size_t at = 0; at < count; at++)
		length += chunks[at].length;
	copy_head(head, chunks, count);
	number = whole_number(get_u64(head), length, session->expected);
	published_ns = get_u64(head + 8);
	recipe = recipe_of(number, published_ns, length);
	if (!is_sound(&checker->pattern, &recipe, chunks, count)) {
		/* Its number says nothing: it stands for the one that was expected. */
		report->corrupt++;
		if (session->is_begun)
			session_advance(checker, session, session->expected);
		return;
	}
	/* Its sender began anew, and the library does not say so. */
	if (checker->is_one_sender && length >= HEAD && number < session->expected && published_ns > session->newest_ns &&
	    session->is_begun)
		session = session_add(checker, key);
	if (!report->is_begun) {
		report->is_begun = true;
		report->first_number = number;
	}
	if (number == session->expected)
		session_advance(checker, session, number);
	else if (!judge(checker, session, number))
		return;
	if (published_ns > session->newest_ns)
		session->newest_ns = published_ns;
	report_message(report, length, steady);
	if (length >= HEAD && day - published_ns <= LATENCY_MAX_NS)
		latency_record(&report->latency, day - published_ns);
}

uint64_t checker_seen(const struct checker *checker)
{
	uint64_t seen = 0;

	for (size_t at = 0; at < checker->session_count; at++) {
		/* Nothing sound has come yet: a session then stands at the first number of all. */
		seen += wanted_below(checker->wanted, checker->sessions[at].expected);
	}
	return seen;
}

uint64_t checker_wanted(const struct checker *checker, uint64_t of)
{
	return wanted_below(checker->wanted, of);
}

void checker_finish(struct checker *checker, uint64_t of)
{
	const uint64_t seen = checker_seen(checker);

	if (of > seen)
		checker->report->lost += of - seen;
}
