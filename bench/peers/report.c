/* Latencies, events, and the one JSON object that a program says. */
#include "common.h"

/* Values below 64 have a bucket each, then 64 buckets for each power of two. */
static size_t bucket_of(uint64_t ns)
{
	unsigned shift;

	if (ns < 64)
		return (size_t)ns;
	shift = 63u - (unsigned)__builtin_clzll(ns) - 6;
	return (size_t)(shift + 1) * 64 + (size_t)((ns >> shift) - 64);
}

/* The middle of a bucket. */
static uint64_t value_of(size_t bucket)
{
	uint64_t shift;

	if (bucket < 64)
		return bucket;
	shift = bucket / 64 - 1;
	return ((uint64_t)(bucket % 64 + 64) << shift) + (((uint64_t)1 << shift) >> 1);
}

void latency_record(struct latency *latency, uint64_t ns)
{
	latency->buckets[bucket_of(ns)]++;
	latency->count++;
	if (ns > latency->max_ns)
		latency->max_ns = ns;
}

/* Not above the largest that was seen. */
static uint64_t percentile(const struct latency *latency, double share)
{
	const uint64_t rank = (uint64_t)((double)latency->count * share);
	uint64_t below = 0;

	for (size_t bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
		below += latency->buckets[bucket];
		if (below > rank)
			return value_of(bucket) < latency->max_ns ? value_of(bucket) : latency->max_ns;
	}
	return latency->max_ns;
}

void report_event(struct report *report, const char *what)
{
	if (report->event_count < EVENTS_MAX)
		report->events[report->event_count++] = (struct event){ what, report->messages };
}

bool report_is_bad(const struct report *report)
{
	return report->lost || report->corrupt || report->duplicates || report->out_of_order;
}

static void print_number(const char *key, uint64_t number)
{
	printf("\"%s\":%llu,", key, (unsigned long long)number);
}

void report_print(const struct report *report)
{
	const double seconds = (double)(report->last_ns - report->first_ns) / 1e9;
	const struct latency *latency = &report->latency;

	putchar('{');
	print_number("messages", report->messages);
	print_number("bytes", report->bytes);
	printf("\"seconds\":%.9f,", seconds);
	if (seconds > 0)
		printf("\"messages_per_s\":%.1f,", (double)report->messages / seconds);
	else
		printf("\"messages_per_s\":null,");
	print_number("lost", report->lost);
	print_number("corrupt", report->corrupt);
	print_number("duplicates", report->duplicates);
	print_number("out_of_order", report->out_of_order);
	print_number("resets", report->resets);
	print_number("sessions", report->sessions);
	if (report->is_begun)
		print_number("first_number", report->first_number);
	else
		printf("\"first_number\":null,");
	if (latency->count) {
		printf("\"latency_ns\":{");
		print_number("p50", percentile(latency, 0.5));
		print_number("p90", percentile(latency, 0.9));
		print_number("p99", percentile(latency, 0.99));
		print_number("p999", percentile(latency, 0.999));
		printf("\"max\":%llu},", (unsigned long long)latency->max_ns);
	} else {
		printf("\"latency_ns\":null,");
	}
	printf("\"events\":[");
	for (size_t at = 0; at < report->event_count; at++)
		printf("%s{\"what\":\"%s\",\"at_message\":%llu}", at ? "," : "", report->events[at].what,
		       (unsigned long long)report->events[at].at_message);
	printf("]}\n");
	fflush(stdout);
}
