/* SPDX-License-Identifier: BSD-3-Clause */
#include "harness.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ringbuf/clock.h"

enum { REPETITIONS_MOST = 1000, SETTING_UP_MOST = 5, NAME_WIDTH = 34, STATUS_SKIPPED = 77 };
enum statistic { MEAN, MEDIAN, STDDEV, CV, LEAST, STATISTICS };

static const char *const statistic_names[STATISTICS] = { "mean", "median", "stddev", "cv", "min" };

#if defined(NDEBUG)
static const char build_type[] = "release";
#else
static const char build_type[] = "debug";
#endif

struct orders {
	const char *program;
	regex_t filter;
	bool filtered, json, list;
	double min_seconds;
	unsigned repetitions;
};

/* One repetition; times are ns per item. */
struct repetition {
	double real, cpu;
	uint64_t items;
};

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

static double middle(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), compare);
	return count % 2 != 0 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Sorts VALUES. */
static void summarise(double *values, unsigned count, double statistics[STATISTICS])
{
	double sum = 0, squares = 0;
	for (unsigned i = 0; i < count; i++)
		sum += values[i];
	double mean = sum / count;
	for (unsigned i = 0; i < count; i++)
		squares += (values[i] - mean) * (values[i] - mean);
	statistics[MEAN] = mean;
	statistics[MEDIAN] = middle(values, count);
	statistics[STDDEV] = count > 1 ? sqrt(squares / (count - 1)) : 0;
	statistics[CV] = mean > 0 ? statistics[STDDEV] / mean : 0;
	statistics[LEAST] = values[0];
}

/* Median distance from the median, in percent. */
static double spread_pct(double *values, unsigned count, double median)
{
	for (unsigned i = 0; i < count; i++)
		values[i] = fabs(values[i] - median);
	return median > 0 ? 100 * middle(values, count) / median : 0;
}

/* How many iterations fill the time. Setting up counts too, but for less, or a case that must throw its input away
 * after each iteration would take minutes. */
static uint64_t calibrate(const struct wh_bench_case *each, double min_seconds)
{
	uint64_t iterations = 1;
	for (;;) {
		uint64_t start_ns = wh_ns_monotonic();
		double taken = (double)each->run(each, iterations).ns / 1e9;
		double whole = (double)(wh_ns_monotonic() - start_ns) / 1e9 / SETTING_UP_MOST;
		if (whole > taken)
			taken = whole;
		if (taken >= min_seconds)
			return iterations;
		double factor = taken > 0 ? min_seconds * 1.2 / taken : 10;
		if (factor > 10)
			factor = 10;
		uint64_t more = (uint64_t)((double)iterations * factor);
		iterations = more > iterations ? more : iterations + 1;
	}
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return wh_ns_from_timespec(&now);
}

static struct repetition measure(const struct wh_bench_case *each, uint64_t iterations)
{
	uint64_t start_cpu_ns = thread_cpu_ns(), start_ns = wh_ns_monotonic();
	struct wh_bench_sample sample = each->run(each, iterations);
	double whole_ns = (double)(wh_ns_monotonic() - start_ns);
	double share = (double)(thread_cpu_ns() - start_cpu_ns) / whole_ns;
	double items = (double)sample.items, ns = (double)sample.ns;
	double cpu_ns = sample.cpu_ns != 0 ? (double)sample.cpu_ns : ns * share;
	return (struct repetition){ .real = ns / items, .cpu = cpu_ns / items, .items = sample.items };
}

/* ---- what is printed ---- */

static void counters_find(const struct wh_bench_case *each, double real, struct wh_bench_counter *counters)
{
	memset(counters, 0, WH_BENCH_COUNTERS * sizeof(*counters));
	if (each->describe != NULL)
		each->describe(each, real, counters);
}

/* Three digits and what they are multiplied by. */
static void human_print(const char *name, double value, const char *unit)
{
	static const char *const prefixes[] = { "", "k", "M", "G", "T" };
	size_t prefix = 0;
	for (; value >= 1000 && prefix + 1 < sizeof(prefixes) / sizeof(prefixes[0]); prefix++)
		value /= 1000;
	printf(" %s=%.4g%s%s", name, value, prefixes[prefix], unit);
}

static void string_print(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar((unsigned char)*text < ' ' ? '?' : *text);
	}
	putchar('"');
}

static void head_print(const struct orders *orders)
{
	if (!orders->json) {
		char line[120];
		memset(line, '-', sizeof(line));
		printf("%.*s\n%-*s %12s %15s %12s UserCounters...\n%.*s\n", (int)sizeof(line), line, NAME_WIDTH,
		       "Benchmark", "Time", "CPU", "Iterations", (int)sizeof(line), line);
		return;
	}
	char date[40] = "", host[256] = "";
	double load[3] = { 0 };
	time_t now = time(NULL);
	struct tm local;
	if (localtime_r(&now, &local) != NULL)
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S%z", &local);
	gethostname(host, sizeof(host) - 1);
	getloadavg(load, 3);
	printf("{\n  \"context\": {\"date\": \"%s\", \"host_name\": ", date);
	string_print(host);
	printf(", \"executable\": ");
	string_print(orders->program);
	printf(", \"num_cpus\": %ld, \"load_avg\": [%.2f, %.2f, %.2f], \"library_build_type\": \"%s\", "
	       "\"min_time\": %g},\n  \"benchmarks\": [",
	       sysconf(_SC_NPROCESSORS_ONLN), load[0], load[1], load[2], build_type, orders->min_seconds);
}

/* The name and what a repetition and a statistic have in common; SUFFIX is the statistic's name or empty. */
static void json_begin(const struct wh_bench_case *each, const char *suffix, unsigned repetitions, bool *first)
{
	printf("%s\n    {\"name\": \"%s%s%s\", \"run_name\": \"%s\", \"run_type\": \"%s\", \"repetitions\": %u, "
	       "\"threads\": 1, ",
	       *first ? "" : ",", each->name, *suffix == '\0' ? "" : "_", suffix, each->name,
	       *suffix == '\0' ? "iteration" : "aggregate", repetitions);
	*first = false;
}

static void json_times(uint64_t iterations, double real, double cpu)
{
	printf("\"iterations\": %llu, \"real_time\": %.6g, \"cpu_time\": %.6g, \"time_unit\": \"ns\"",
	       (unsigned long long)iterations, real, cpu);
}

static void json_end(const struct wh_bench_case *each, double real)
{
	struct wh_bench_counter counters[WH_BENCH_COUNTERS];
	counters_find(each, real, counters);
	printf(", \"items_per_second\": %.6g", 1e9 / real);
	for (int i = 0; i < WH_BENCH_COUNTERS && counters[i].name != NULL; i++)
		printf(", \"%s\": %.6g", counters[i].name, counters[i].value);
	printf(", \"label\": \"per %s\"}", each->item);
}

static void json_print(const struct wh_bench_case *each, const struct repetition *done, unsigned repetitions,
		       const double real[STATISTICS], const double cpu[STATISTICS], double spread, bool *first)
{
	for (unsigned i = 0; i < repetitions; i++) {
		json_begin(each, "", repetitions, first);
		printf("\"repetition_index\": %u, ", i);
		json_times(done[i].items, done[i].real, done[i].cpu);
		json_end(each, done[i].real);
	}
	for (int i = 0; i < STATISTICS && repetitions > 1; i++) {
		json_begin(each, statistic_names[i], repetitions, first);
		printf("\"aggregate_name\": \"%s\", \"aggregate_unit\": \"%s\", ", statistic_names[i],
		       i == CV ? "percentage" : "time");
		json_times(repetitions, real[i], cpu[i]);
		if (i == MEDIAN)
			printf(", \"spread_pct\": %.4g", spread);
		if (i == STDDEV || i == CV) /* nothing follows from these */
			printf("}");
		else
			json_end(each, real[i]);
	}
}

static void text_print(const struct wh_bench_case *each, const struct repetition *done, unsigned repetitions,
		       const double real[STATISTICS], const double cpu[STATISTICS], double spread)
{
	struct wh_bench_counter counters[WH_BENCH_COUNTERS];
	counters_find(each, real[MEDIAN], counters);
	printf("%-*s %9.2f ns %12.2f ns %12llu", NAME_WIDTH, each->name, real[MEDIAN], cpu[MEDIAN],
	       (unsigned long long)done[0].items);
	if (repetitions > 1)
		printf(" spread=%.1f%% min=%.2f", spread, real[LEAST]);
	human_print("items_per_second", 1e9 / real[MEDIAN], "/s");
	for (int i = 0; i < WH_BENCH_COUNTERS && counters[i].name != NULL; i++)
		human_print(counters[i].name, counters[i].value, "");
	printf(" per %s\n", each->item);
}

static void print(const struct orders *orders, const struct wh_bench_case *each, const struct repetition *done,
		  bool *first)
{
	double values[REPETITIONS_MOST], real[STATISTICS], cpu[STATISTICS];
	for (unsigned i = 0; i < orders->repetitions; i++)
		values[i] = done[i].cpu;
	summarise(values, orders->repetitions, cpu);
	for (unsigned i = 0; i < orders->repetitions; i++)
		values[i] = done[i].real;
	summarise(values, orders->repetitions, real);
	double spread = spread_pct(values, orders->repetitions, real[MEDIAN]);
	if (orders->json)
		json_print(each, done, orders->repetitions, real, cpu, spread, first);
	else
		text_print(each, done, orders->repetitions, real, cpu, spread);
	fflush(stdout);
}

/* ---- what is run ---- */

/* Cases that take turns: the first COUNT of CHOSEN. */
static bool run_together(const struct orders *orders, const struct wh_bench_case *const *chosen, size_t count,
			 bool *first)
{
	uint64_t *iterations = calloc(count, sizeof(*iterations));
	struct repetition *done = calloc(count * orders->repetitions, sizeof(*done));
	bool sound = iterations != NULL && done != NULL;
	for (size_t i = 0; sound && i < count; i++)
		iterations[i] = calibrate(chosen[i], orders->min_seconds);
	for (unsigned turn = 0; sound && turn < orders->repetitions; turn++)
		for (size_t i = 0; i < count; i++)
			done[i * orders->repetitions + turn] = measure(chosen[i], iterations[i]);
	for (size_t i = 0; sound && i < count; i++)
		print(orders, chosen[i], &done[i * orders->repetitions], first);
	free(iterations);
	free(done);
	return sound;
}

static bool run_all(const struct orders *orders, const struct wh_bench_case *const *chosen, size_t count)
{
	bool first = true;
	size_t together;
	head_print(orders);
	for (size_t i = 0; i < count; i += together) {
		together = 1;
		while (chosen[i]->turns != 0 && i + together < count && chosen[i + together]->turns == chosen[i]->turns)
			together++;
		if (!run_together(orders, &chosen[i], together, &first)) {
			fprintf(stderr, "%s: out of memory\n", orders->program);
			return false;
		}
	}
	if (orders->json)
		printf("\n  ]\n}\n");
	return true;
}

/* Puts the cases that are asked for and can be run into CHOSEN, and says which cannot. Returns how many there are. */
static size_t choose(const struct orders *orders, const struct wh_bench_case *cases, size_t count,
		     const struct wh_bench_case **chosen, bool *left_out)
{
	const char *said = NULL;
	size_t found = 0;
	for (size_t i = 0; i < count; i++) {
		if (orders->filtered && regexec(&orders->filter, cases[i].name, 0, NULL, 0) != 0)
			continue;
		if (cases[i].left_out == NULL)
			chosen[found++] = &cases[i];
		else if (said == NULL || strcmp(said, cases[i].left_out) != 0)
			fprintf(stderr, "skipped: %s\n", said = cases[i].left_out);
	}
	*left_out = said != NULL;
	return found;
}

static void usage(const char *program)
{
	printf("usage: %s [--filter REGEX] [--min-time SECONDS] [--repetitions N] [--json] [--list]\n"
	       "  --filter REGEX      only the cases whose name it matches (extended regular expression)\n"
	       "  --min-time SECONDS  how long a repetition runs at least (0.05)\n"
	       "  --repetitions N     how many of them there are (5)\n"
	       "  --json              one JSON object, as Google Benchmark writes it, instead of the table\n"
	       "  --list              only the names\n",
	       program);
}

static bool seconds_parse(const char *text, double *seconds)
{
	char *end;
	*seconds = strtod(text, &end);
	return end != text && *end == '\0' && *seconds > 0 && *seconds <= 60;
}

static bool repetitions_parse(const char *text, unsigned *repetitions)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	*repetitions = (unsigned)value;
	return *text >= '0' && *text <= '9' && *end == '\0' && value >= 1 && value <= REPETITIONS_MOST;
}

static bool filter_parse(const char *text, struct orders *orders)
{
	if (orders->filtered)
		regfree(&orders->filter);
	orders->filtered = regcomp(&orders->filter, text, REG_EXTENDED | REG_NOSUB) == 0;
	return orders->filtered;
}

/* 0: go on; else the exit status plus 1. */
static int parse(int argc, char **argv, struct orders *orders)
{
	static const struct option options[] = {
		{ "filter", required_argument, NULL, 'f' },
		{ "min-time", required_argument, NULL, 't' },
		{ "repetitions", required_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *wanted = NULL;
	int option;
	while (wanted == NULL && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'f' && !filter_parse(optarg, orders))
			wanted = "--filter takes an extended regular expression";
		else if (option == 't' && !seconds_parse(optarg, &orders->min_seconds))
			wanted = "--min-time takes seconds, more than 0 and at most 60";
		else if (option == 'r' && !repetitions_parse(optarg, &orders->repetitions))
			wanted = "--repetitions takes a number from 1 to 1000";
		else if (option == 'j')
			orders->json = true;
		else if (option == 'l')
			orders->list = true;
		else if (option == 'h') {
			usage(orders->program);
			return 1;
		} else if (option == '?') { /* getopt_long() has said why */
			return 3;
		}
	}
	if (wanted == NULL && optind == argc)
		return 0;
	fprintf(stderr, "%s: %s, not \"%s\"\n", orders->program, wanted != NULL ? wanted : "there are options only",
		wanted != NULL ? optarg : argv[optind]);
	return 3;
}

int wh_bench_main(int argc, char **argv, const struct wh_bench_case *cases, size_t count)
{
	struct orders orders = { .program = program_invocation_short_name, .min_seconds = 0.05, .repetitions = 5 };
	argv[0] = program_invocation_short_name; /* for what getopt_long() says */
	int stop = parse(argc, argv, &orders);
	int status = stop != 0 ? stop - 1 : 1;
	const struct wh_bench_case **chosen = stop == 0 ? calloc(count, sizeof(const struct wh_bench_case *)) : NULL;
	if (chosen != NULL) {
		bool left_out;
		size_t found = choose(&orders, cases, count, chosen, &left_out);
		status = 0;
		for (size_t i = 0; orders.list && i < found; i++)
			printf("%s\n", chosen[i]->name);
		if (found == 0 && !left_out)
			fprintf(stderr, "%s: no case has such a name (--list has them)\n", orders.program);
		if (found == 0)
			status = left_out ? STATUS_SKIPPED : 2;
		else if (!orders.list)
			status = run_all(&orders, chosen, found) ? 0 : 1;
	}
	free(chosen);
	if (orders.filtered)
		regfree(&orders.filter);
	return status;
}
