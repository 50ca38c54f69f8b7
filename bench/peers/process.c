/* Clocks, signals, pinning, the ways to end. */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A signal handler has nowhere else to write to. */
static volatile sig_atomic_t stopped;
static const char *name = "peer";

static void on_signal(int signal)
{
	(void)signal;
	stopped = 1;
}

void begin(const char *program)
{
	/* Without SA_RESTART: whatever waits wakes up. */
	struct sigaction action = { .sa_handler = on_signal };

	name = program;
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool is_stopped(void)
{
	return stopped != 0;
}

static void say(const char *format, va_list arguments)
{
	fprintf(stderr, "%s: ", name);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
}

void complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(format, arguments);
	va_end(arguments);
}

void fail(enum ending ending, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(format, arguments);
	va_end(arguments);
	/* Not exit(): the libraries' threads may be at work, and have nothing to tidy up that the kernel does not. */
	fflush(NULL);
	_Exit(ending);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t steady_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t day_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

void sleep_until_ns(uint64_t when_ns)
{
	struct timespec when = { .tv_sec = (time_t)(when_ns / 1000000000u), .tv_nsec = (long)(when_ns % 1000000000u) };

	/* A signal ends the sleep: the caller looks at `is_stopped`. */
	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}

void pin(int64_t core)
{
	cpu_set_t cores;

	if (core < 0)
		return;
	CPU_ZERO(&cores);
	if (core < CPU_SETSIZE)
		CPU_SET((size_t)core, &cores);
	if (sched_setaffinity(0, sizeof(cores), &cores) != 0)
		fail(ENDED_BADLY, "cannot run on core %lld (%s): name one that this machine has", (long long)core,
		     strerror(errno));
}

void *allocate(size_t octets)
{
	void *memory = calloc(1, octets);

	if (!memory)
		fail(ENDED_BADLY, "no memory for %zu octets", octets);
	return memory;
}
