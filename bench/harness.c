/* SPDX-License-Identifier: BSD-3-Clause */
#include "harness.h"

#include <getopt.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ringbuf/clock.h"

enum { REPETITIONS_MOST = 1000, SETTING_UP_MOST = 5 };

struct orders {
	regex_t filter;
	bool filtered, json, list;
	double min_seconds;
	unsigned repetitions;
};

/* Of one case, ns per item. */
struct outcome {
	double median, least, most, deviation_pct;
	uint64_t items;
	struct wh_bench_counter counters[WH_BENCH_COUNTERS];
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

static struct outcome measure(const struct wh_bench_case *each, const struct orders *orders)
{
	double values[REPETITIONS_MOST], distances[REPETITIONS_MOST];
	struct outcome outcome = { 0 };
	uint64_t iterations = calibrate(each, orders->min_seconds);
	for (unsigned i = 0; i < orders->repetitions; i++) {
		struct wh_bench_sample sample = each->run(each, iterations);
		outcome.items = sample.items;
		values[i] = (double)sample.ns / (double)sample.items;
	}
	outcome.median = middle(values, orders->repetitions);
	outcome.least = values[0];
	outcome.most = values[orders->repetitions - 1];
	for (unsigned i = 0; i < orders->repetitions; i++)
		distances[i] = values[i] > outcome.median ? values[i] - outcome.median : outcome.median - values[i];
	outcome.deviation_pct = 100 * middle(distances, orders->repetitions) / outcome.median;
	if (each->describe != NULL)
		each->describe(each, outcome.median, outcome.counters);
	return outcome;
}

static void print_text(const struct wh_bench_case *each, const struct outcome *outcome)
{
	char per[32];
	snprintf(per, sizeof(per), "ns/%s", each->item);
	printf("%-34s %9.2f %-10s %6.1f %% %9.2f %12llu", each->name, outcome->median, per, outcome->deviation_pct,
	       outcome->least, (unsigned long long)outcome->items);
	for (int i = 0; i < WH_BENCH_COUNTERS && outcome->counters[i].name != NULL; i++)
		printf(" %s=%.4g", outcome->counters[i].name, outcome->counters[i].value);
	printf("\n");
	fflush(stdout);
}

static void print_json(const struct wh_bench_case *each, const struct outcome *outcome, const struct orders *orders,
		       bool first)
{
	printf(
	    "%s\n  {\"name\": \"%s\", \"run_type\": \"aggregate\", \"aggregate_name\": \"median\", "
	    "\"repetitions\": %u, \"iterations\": %llu, \"real_time\": %.4f, \"time_unit\": \"ns\", \"per\": \"%s\", "
	    "\"min\": %.4f, \"max\": %.4f, \"deviation_pct\": %.2f",
	    first ? "" : ",", each->name, orders->repetitions, (unsigned long long)outcome->items, outcome->median,
	    each->item, outcome->least, outcome->most, outcome->deviation_pct);
	for (int i = 0; i < WH_BENCH_COUNTERS && outcome->counters[i].name != NULL; i++)
		printf(", \"%s\": %.6g", outcome->counters[i].name, outcome->counters[i].value);
	printf("}");
	fflush(stdout);
}

static void usage(FILE *out, const char *program)
{
	fprintf(out,
		"usage: %s [--filter REGEX] [--min-time SECONDS] [--repetitions N] [--json] [--list]\n"
		"  --filter REGEX      only the cases whose name it matches (extended regular expression)\n"
		"  --min-time SECONDS  how long a repetition runs at least (0.05)\n"
		"  --repetitions N     how many of them the median is taken of (5)\n"
		"  --json              one JSON object instead of the table\n"
		"  --list              only the names\n",
		program);
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
	int option;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'f':
			if (orders->filtered)
				regfree(&orders->filter);
			orders->filtered = regcomp(&orders->filter, optarg, REG_EXTENDED | REG_NOSUB) == 0;
			if (!orders->filtered) {
				fprintf(stderr, "%s: not a regular expression: %s\n", argv[0], optarg);
				return 3;
			}
			break;
		case 't':
			orders->min_seconds = strtod(optarg, NULL);
			break;
		case 'r':
			orders->repetitions = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			orders->json = true;
			break;
		case 'l':
			orders->list = true;
			break;
		default:
			usage(option == 'h' ? stdout : stderr, argv[0]);
			return option == 'h' ? 1 : 3;
		}
	}
	if (optind != argc || !(orders->min_seconds > 0 && orders->min_seconds <= 60) || orders->repetitions == 0 ||
	    orders->repetitions > REPETITIONS_MOST) {
		usage(stderr, argv[0]);
		return 3;
	}
	return 0;
}

static void head_print(const struct orders *orders)
{
	if (orders->json) {
		printf("{\"context\": {\"num_cpus\": %ld, \"min_time\": %g, \"repetitions\": %u},\n \"benchmarks\": [",
		       sysconf(_SC_NPROCESSORS_ONLN), orders->min_seconds, orders->repetitions);
		return;
	}
	printf("%-34s %9s %-10s %8s %9s %12s %s\n", "Benchmark", "Median", "", "Spread", "Least", "Items", "Counters");
	for (int i = 0; i < 120; i++)
		putchar('-');
	putchar('\n');
}

int wh_bench_main(int argc, char **argv, const struct wh_bench_case *cases, size_t count)
{
	struct orders orders = { .min_seconds = 0.05, .repetitions = 5 };
	int stop = parse(argc, argv, &orders);
	if (stop != 0)
		return stop - 1;
	if (!orders.list)
		head_print(&orders);
	size_t done = 0;
	for (size_t i = 0; i < count; i++) {
		if (orders.filtered && regexec(&orders.filter, cases[i].name, 0, NULL, 0) != 0)
			continue;
		if (orders.list) {
			printf("%s\n", cases[i].name);
		} else {
			struct outcome outcome = measure(&cases[i], &orders);
			if (orders.json)
				print_json(&cases[i], &outcome, &orders, done == 0);
			else
				print_text(&cases[i], &outcome);
		}
		done++;
	}
	if (orders.json && !orders.list)
		printf("\n ]}\n");
	if (orders.filtered)
		regfree(&orders.filter);
	return done > 0 ? 0 : 1;
}
