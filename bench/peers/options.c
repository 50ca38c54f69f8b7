/* Options: `--name value` into the fields of a struct. Guards: what is not understood ends the program, and is never guessed. */
#include "common.h"

#include <stdlib.h>
#include <string.h>

static void print_help(const char *program, const struct role *roles, const struct option *options)
{
	printf("%s ROLE --option value ...\n\n", program);
	for (; roles->name; roles++)
		printf("  %-16s %s\n", roles->name, roles->help);
	putchar('\n');
	for (; options->name; options++)
		printf("  %-16s %s\n", options->name, options->help);
	printf("\nOne JSON object at the end. Status: 0 well, 1 error, 2 usage, 3 lost or corrupt, 4 nothing came.\n");
}

/* Digits with a suffix; up to `*end`. */
static int64_t read_number(const char *name, const char *text, char **end)
{
	const double number = strtod(text, end);
	double scale = 1;

	switch (**end) {
	case 'k':
		scale = 1e3;
		break;
	case 'M':
		scale = 1e6;
		break;
	case 'G':
		scale = 1e9;
		break;
	default:
		break;
	}
	if (scale > 1)
		++*end;
	/* Written so that what is no number is refused too. */
	if (*end == text || !(number * scale >= -1 && number * scale <= 1e15))
		fail(ENDED_USAGE, "%s wants a number such as 1000, 50k or 1M, not `%s`", name, text);
	return (int64_t)(number * scale);
}

static void read_value(const struct option *option, const char *text)
{
	char *end;

	switch (option->kind) {
	case OPTION_FLAG:
		break;
	case OPTION_TEXT:
		*(const char **)option->to = text;
		break;
	case OPTION_TEXTS: {
		struct texts *texts = option->to;

		if (texts->count == TEXTS_MAX)
			fail(ENDED_USAGE, "%s may be given %d times", option->name, TEXTS_MAX);
		texts->text[texts->count++] = text;
		break;
	}
	case OPTION_NUMBER:
		*(int64_t *)option->to = read_number(option->name, text, &end);
		if (*end)
			fail(ENDED_USAGE, "%s wants a number, not `%s`", option->name, text);
		break;
	case OPTION_SIZES: {
		int64_t min = read_number(option->name, text, &end);
		int64_t max = *end == '-' ? read_number(option->name, end + 1, &end) : min;

		if (*end || min < 0 || max < min || max > MESSAGE_MAX)
			fail(ENDED_USAGE, "%s wants octets such as 64, or a range such as 16-1400, at most %u; not `%s`",
			     option->name, MESSAGE_MAX, text);
		*(struct sizes *)option->to = (struct sizes){ .min = (uint32_t)min, .max = (uint32_t)max };
		break;
	}
	}
}

size_t read_options(int count, char **words, const struct role *roles, const struct option *options)
{
	size_t role = 0;

	for (int at = 1; at < count; at++) {
		if (strcmp(words[at], "--help") == 0 || strcmp(words[at], "-h") == 0) {
			print_help(words[0], roles, options);
			exit(ENDED_WELL);
		}
	}
	while (roles[role].name && (count < 2 || strcmp(roles[role].name, words[1]) != 0))
		role++;
	if (!roles[role].name)
		fail(ENDED_USAGE, "the first word says what to do; --help lists what there is");
	for (int at = 2; at < count; at++) {
		const struct option *option = options;

		while (option->name && strcmp(option->name, words[at]) != 0)
			option++;
		if (!option->name)
			fail(ENDED_USAGE, "does not know `%s`; --help lists all options", words[at]);
		if (option->kind == OPTION_FLAG) {
			*(bool *)option->to = true;
			continue;
		}
		if (++at == count)
			fail(ENDED_USAGE, "%s wants a value", option->name);
		read_value(option, words[at]);
	}
	return role;
}
