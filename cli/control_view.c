/* SPDX-License-Identifier: BSD-3-Clause */
#include "control_view.h"

#include "summary.h"
#include "table.h"
#include "text.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define LABEL "%-11s "

/* Whatever it says, no status is shown with more than this: it is more than a capture can have. */
enum { INTERFACES_MAX = 4096, BUCKETS_MAX = 64 };

/* A member as what it should be: 0, or nothing, where it is not. */
static uint64_t get_count(const json_t *object, const char *name)
{
	json_int_t number = json_integer_value(json_object_get(object, name));
	return number > 0 ? (uint64_t)number : 0;
}

static double get_real(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

static bool is_number(const json_t *object, const char *name)
{
	return json_is_number(json_object_get(object, name));
}

static void get_text(const json_t *object, const char *name, char *text, size_t size)
{
	const char *found = json_string_value(json_object_get(object, name));
	snprintf(text, size, "%s", found != NULL ? found : "");
	text_clean(text, false);
}

/* A number that may be any, rounded. */
static struct text whole(double number)
{
	return text_count(!(number > 0) ? 0 : number < 9e18 ? (uint64_t)(number + 0.5) : (uint64_t)9e18);
}

/* ---- since the first look ---- */

struct rates {
	bool known;
	double seconds;
};

/* What NAME has gained per second. */
static double rate(const struct rates *rates, const json_t *before, const json_t *now, const char *name)
{
	uint64_t first = get_count(before, name);
	uint64_t last = get_count(now, name);
	return rates->known && last > first ? (double)(last - first) / rates->seconds : 0;
}

static struct rates rates_between(const json_t *before, const json_t *now)
{
	double seconds = get_real(now, "elapsed_seconds") - get_real(before, "elapsed_seconds");
	return (struct rates){ .known = before != NULL && seconds > 0.001, .seconds = seconds };
}

/* ---- the lines ---- */

static void print_moment(FILE *out, json_int_t seconds)
{
	char words[64] = "?";
	struct tm broken;
	time_t moment = (time_t)seconds;
	if (localtime_r(&moment, &broken) == NULL ||
	    strftime(words, sizeof(words), "%Y-%m-%d %H:%M:%S %z", &broken) == 0)
		snprintf(words, sizeof(words), "?");
	fputs(words, out);
}

static void print_state(FILE *out, const json_t *now)
{
	char state[32];
	char reason[32];
	char version[32];
	char simulated[32];
	get_text(now, "state", state, sizeof(state));
	get_text(now, "stop_reason", reason, sizeof(reason));
	get_text(now, "version", version, sizeof(version));
	get_text(now, "simulate", simulated, sizeof(simulated));
	bool stopping = json_is_true(json_object_get(now, "stopping"));
	fprintf(out, LABEL "%s", "state", stopping ? "stopping" : state);
	if (reason[0] != '\0')
		fprintf(out, " (%s)", reason);
	fputs(", began ", out);
	print_moment(out, json_integer_value(json_object_get(now, "started")));
	fprintf(out, ", %s ago\n", text_duration(get_real(now, "elapsed_seconds")).s);
	fprintf(out, LABEL "%" PRIu64 ", wirehaul %s\n", "process", get_count(now, "pid"), version);
	if (simulated[0] != '\0')
		fprintf(out, LABEL "%s: nothing of it is traffic on a disk\n", "SIMULATION", simulated);
}

static void print_output(FILE *out, const json_t *now)
{
	char path[1024];
	get_text(now, "output", path, sizeof(path));
	if (path[0] != '\0')
		fprintf(out, LABEL "%s\n", "output", strcmp(path, "-") == 0 ? "standard output" : path);
	get_text(now, "current_file", path, sizeof(path));
	if (path[0] != '\0' && strcmp(path, "-") != 0)
		fprintf(out, LABEL "%s\n", "file", path);
	fprintf(out, LABEL "%s begun, %s; %s of packets\n", "files", text_count(get_count(now, "files")).s,
		text_bytes(get_count(now, "bytes_on_disk")).s, text_bytes(get_count(now, "bytes_captured")).s);
	if (get_count(now, "files_deleted") > 0 && json_is_null(json_object_get(now, "simulate")))
		fprintf(out, LABEL "%s of the oldest deleted to make room\n", "",
			text_count(get_count(now, "files_deleted")).s);
	if (get_count(now, "files_left") > 0)
		fprintf(out, LABEL "%s of the files that should have made room could NOT BE REMOVED\n", "",
			text_count(get_count(now, "files_left")).s);
}

static void print_rates(FILE *out, const struct rates *rates, const json_t *before, const json_t *now, uint64_t wall_ns)
{
	if (rates->known)
		fprintf(
		    out, LABEL "%s frames/s, %s; %s to the files; %s dropped/s\n", "now",
		    whole(rate(rates, before, now, "frames_received")).s,
		    text_scaled(8 * rate(rates, before, now, "bytes_captured"), "bit/s").s,
		    text_scaled(rate(rates, before, now, "bytes_on_disk"), "B/s").s,
		    whole(rate(rates, before, now, "frames_dropped") + rate(rates, before, now, "frames_dropped_nic"))
			.s);
	uint64_t last_ns = get_count(now, "last_frame_ns");
	if (last_ns == 0)
		fprintf(out, LABEL "none yet\n", "last frame");
	else if (wall_ns < last_ns + 60000000000U)
		fprintf(out, LABEL "%.1f s ago\n", "last frame",
			wall_ns > last_ns ? (double)(wall_ns - last_ns) / 1e9 : 0.0);
	else
		fprintf(out, LABEL "%s ago\n", "last frame", text_duration((double)(wall_ns - last_ns) / 1e9).s);
}

/* "50 % within 128 us", from the counts of writes by how long they took. */
static void print_share(FILE *out, const json_t *limits, const json_t *counts, double percent, double total)
{
	double reached = 0;
	for (size_t i = 0; i < BUCKETS_MAX && i < json_array_size(counts); i++) {
		const json_t *limit = json_array_get(limits, i);
		double count = json_number_value(json_array_get(counts, i));
		reached += count > 0 ? count : 0;
		if (reached < total * percent / 100)
			continue;
		json_int_t us = json_integer_value(limit);
		if (us > 0)
			fprintf(out, "%g %% within %s, ", percent, text_latency((uint64_t)us).s);
		return;
	}
}

static void print_writes(FILE *out, const json_t *now)
{
	static const double shares[] = { 50, 99, 99.9 };
	const json_t *limits = json_object_get(now, "write_latency_limits_us");
	const json_t *counts = json_object_get(now, "write_latency_counts");
	double total = 0;
	for (size_t i = 0; i < BUCKETS_MAX && i < json_array_size(counts); i++) {
		double count = json_number_value(json_array_get(counts, i));
		total += count > 0 ? count : 0;
	}
	fprintf(out, LABEL, "writes");
	for (size_t i = 0; total > 0 && i < sizeof(shares) / sizeof(shares[0]); i++)
		print_share(out, limits, counts, shares[i], total);
	if (total > 0)
		fprintf(out, "slowest %s; ", text_latency(get_count(now, "write_latency_max_us")).s);
	fprintf(out, "%s so far, %s failed\n", whole(total).s, text_count(get_count(now, "write_errors")).s);
}

static void print_machine(FILE *out, const struct rates *rates, const json_t *before, const json_t *now)
{
	fprintf(out, LABEL "%.0f %% full, %.0f %% at most\n", "ring", get_real(now, "ring_fill_percent"),
		get_real(now, "ring_fill_max_percent"));
	print_writes(out, now);
	if (is_number(now, "free_percent")) {
		uint64_t left = get_count(now, "free_bytes_to_limit");
		double filling = rate(rates, before, now, "bytes_on_disk");
		fprintf(out, LABEL "%.1f %% free, %s to the limit", "disk", get_real(now, "free_percent"),
			text_bytes(left).s);
		if (filling > 0)
			fprintf(out, ", which is %s at this rate", text_duration((double)left / filling).s);
		fputc('\n', out);
	}
	fprintf(out, LABEL "%s\n", "marks", text_count(get_count(now, "marks")).s);
}

/* ---- the adapters ---- */

/* The interface of BEFORE that is at the same place; places do not change while a capture runs. */
static const json_t *earlier(const json_t *before, size_t at)
{
	return json_array_get(json_object_get(before, "interfaces"), at);
}

static void add_interface(struct table *table, const struct rates *rates, const json_t *before, const json_t *one)
{
	char name[64];
	get_text(one, "name", name, sizeof(name));
	table_add(table, "%s%s", name, json_is_true(json_object_get(one, "present")) ? "" : " (gone)");
	table_add(table, "%s", text_count(get_count(one, "received")).s);
	table_add(table, "%s", text_count(get_count(one, "written")).s);
	table_add(table, "%s", text_count(get_count(one, "dropped")).s);
	table_add(table, "%s", text_count(get_count(one, "dropped_nic")).s);
	table_add(table, "%s", text_count(get_count(one, "truncated")).s);
	table_add(table, "%s", is_number(one, "filtered") ? text_count(get_count(one, "filtered")).s : "-");
	if (rates->known)
		table_add(table, "%s", whole(rate(rates, before, one, "received")).s);
}

static void print_interfaces(FILE *out, const struct rates *rates, const json_t *before, const json_t *now)
{
	static const char *const head[] = { "adapter",   "received",  "written",  "dropped",
					    "NIC drops", "truncated", "filtered", "frames/s" };
	const json_t *interfaces = json_object_get(now, "interfaces");
	struct table table = { .columns = sizeof(head) / sizeof(head[0]) - (rates->known ? 0 : 1), .right = true };
	for (size_t i = 0; i < table.columns; i++)
		table_add(&table, "%s", head[i]);
	for (size_t i = 0; i < INTERFACES_MAX && i < json_array_size(interfaces); i++)
		add_interface(&table, rates, earlier(before, i), json_array_get(interfaces, i));
	fputc('\n', out);
	table_print(&table, out);
}

/* What the command would say of drops at the end. */
static void print_missing(FILE *out, const json_t *now)
{
	char simulated[32];
	get_text(now, "simulate", simulated, sizeof(simulated));
	const struct wh_statistics sum = {
		.frames_received = get_count(now, "frames_received"),
		.frames_dropped = get_count(now, "frames_dropped"),
		.frames_dropped_nic = get_count(now, "frames_dropped_nic"),
		.write_latency_max_us = get_count(now, "write_latency_max_us"),
		.simulate = strcmp(simulated, wh_simulation_name(WH_SIMULATE_NO_DISK)) == 0 ? WH_SIMULATE_NO_DISK
											    : WH_SIMULATE_NOTHING,
	};
	struct wh_message message;
	if (summary_explain_drops(&sum, &message))
		fprintf(out, "\n%s\n", message.text);
}

void control_view_print(FILE *out, const json_t *before, const json_t *now, uint64_t wall_ns)
{
	const struct rates rates = rates_between(before, now);
	print_state(out, now);
	print_output(out, now);
	print_rates(out, &rates, before, now, wall_ns);
	print_machine(out, &rates, before, now);
	print_interfaces(out, &rates, before, now);
	print_missing(out, now);
}
