/* SPDX-License-Identifier: BSD-3-Clause */
#include "metrics_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A counter of 64 bits, and where it lies in its structure. */
struct counter {
	const char *name;
	size_t offset;
	const char *help;
};

#define OF_INTERFACE(field) offsetof(struct wh_interface_statistics, field)
#define OF_ALL(field)       offsetof(struct wh_statistics, field)
#define LENGTH(array)       (sizeof(array) / sizeof((array)[0]))

static const struct counter interface_counters[] = {
	{ "wirehaul_interface_received_frames_total", OF_INTERFACE(frames_received),
	  "Frames that passed the filter and were offered to the ring." },
	{ "wirehaul_interface_written_frames_total", OF_INTERFACE(frames_written),
	  "Frames whose write has completed." },
	{ "wirehaul_interface_dropped_frames_total", OF_INTERFACE(frames_dropped),
	  "Frames that are lost: the ring was full, or the write failed." },
	{ "wirehaul_interface_nic_dropped_frames_total", OF_INTERFACE(frames_dropped_nic),
	  "Frames that the adapter lost before the kernel saw them." },
	{ "wirehaul_interface_truncated_frames_total", OF_INTERFACE(frames_truncated),
	  "Frames that were cut to the snapshot length or to what a ring block holds." },
	{ "wirehaul_interface_captured_bytes_total", OF_INTERFACE(bytes_captured),
	  "Bytes of frames that were kept, without any overhead of the files." },
};

/* Known of some adapters only. */
static const struct counter filtered_counter = { "wirehaul_interface_filtered_frames_total",
						 OF_INTERFACE(frames_filtered), "Frames that the filter refused." };

static const struct counter counters[] = {
	{ "wirehaul_written_bytes_total", OF_ALL(bytes_on_disk),
	  "Bytes that were given a place in a file, headers and padding included." },
	{ "wirehaul_copied_bytes_total", OF_ALL(bytes_copied),
	  "Bytes of frames that were copied or moved in user space." },
	{ "wirehaul_files_total", OF_ALL(files), "Files that were begun." },
	{ "wirehaul_deleted_files_total", OF_ALL(files_deleted), "Files that were deleted to make room." },
	{ "wirehaul_undeleted_files_total", OF_ALL(files_left), "Files that were to be deleted and could not be." },
	{ "wirehaul_write_errors_total", OF_ALL(write_errors),
	  "Writes that failed, those that were tried again included." },
	{ "wirehaul_marks_total", OF_ALL(marks), "Marks that were set." },
};

static uint64_t counter_read(const struct counter *counter, const void *structure)
{
	uint64_t value;
	memcpy(&value, (const char *)structure + counter->offset, sizeof(value));
	return value;
}

static void counter_raise(const struct counter *counter, void *structure, const void *before)
{
	uint64_t least = counter_read(counter, before);
	if (counter_read(counter, structure) < least)
		memcpy((char *)structure + counter->offset, &least, sizeof(least));
}

static void raise_to(uint64_t *value, uint64_t least)
{
	if (*value < least)
		*value = least;
}

void metrics_keep(struct wh_statistics *now, const struct wh_statistics *before)
{
	for (size_t i = 0; i < LENGTH(counters); i++)
		counter_raise(&counters[i], now, before);
	for (size_t i = 0; i < WH_LATENCY_BUCKETS; i++)
		raise_to(&now->write_counts[i], before->write_counts[i]);
	raise_to(&now->write_latency_us, before->write_latency_us);
	raise_to(&now->cpu_ns, before->cpu_ns);
}

void metrics_keep_interface(struct wh_interface_statistics *now, const struct wh_interface_statistics *before)
{
	for (size_t i = 0; i < LENGTH(interface_counters); i++)
		counter_raise(&interface_counters[i], now, before);
	counter_raise(&filtered_counter, now, before);
	/* A series that stops and comes back would have a hole. */
	if (before->filtered_known)
		now->filtered_known = true;
}

/* ---- text ---- */

static bool is_tail(unsigned char byte)
{
	return byte >= 0x80 && byte <= 0xbf;
}

/*
 * The length of the character at TEXT, if it is well formed (The Unicode Standard, table 3-7) and shows something, or
 * 0. A 0 at the end of TEXT is not a tail, so nothing behind it is read.
 */
static size_t character_length(const unsigned char *text)
{
	unsigned char first = text[0];
	if (first < 0x80)
		return first >= ' ' && first != 0x7f ? 1 : 0;
	if (first < 0xc2 || first > 0xf4 || !is_tail(text[1]))
		return 0;
	if (first < 0xe0)
		return first != 0xc2 || text[1] >= 0xa0 ? 2 : 0; /* U+0080 to U+009F are control characters */
	if (!is_tail(text[2]) || (first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f))
		return 0;
	if (first < 0xf0)
		return 3;
	if (!is_tail(text[3]) || (first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f))
		return 0;
	return 4;
}

/* What stands behind a '\' for BYTE in a label, 0 where it stands for itself. */
static char escape_of(unsigned char byte)
{
	switch (byte) {
	case '"':
		return '"';
	case '\\':
		return '\\';
	case '\n':
		return 'n';
	default:
		return 0;
	}
}

void metrics_label(const char *text, char *label, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	size_t used = 0;
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
		char piece[4];
		size_t length = character_length(at);
		size_t taken = length > 0 ? length : 1;
		if (escape_of(*at) != 0) {
			piece[0] = '\\';
			piece[1] = escape_of(*at);
			length = 2;
		} else if (length > 0) {
			memcpy(piece, at, length);
		} else {
			piece[0] = '/';
			piece[1] = digits[*at >> 4];
			piece[2] = digits[*at & 0xf];
			length = 3;
		}
		if (length >= size - used)
			break;
		memcpy(label + used, piece, length);
		used += length;
		at += taken;
	}
	label[used] = '\0';
}

/* Numbers are put together from whole ones: what printf() makes of a double depends on the locale. */
static void put_seconds(FILE *out, uint64_t ns)
{
	fprintf(out, " %" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000U, ns % 1000000000U);
}

static void put_microseconds(FILE *out, uint64_t us)
{
	fprintf(out, " %" PRIu64 ".%06" PRIu64 "\n", us / 1000000U, us % 1000000U);
}

/* NUMBER, not negative, with three decimals; or +Inf. */
static void put_number(FILE *out, double number)
{
	if (!(number < 1e15)) {
		fputs(" +Inf\n", out);
		return;
	}
	uint64_t thousandths = number > 0 ? (uint64_t)(number * 1e3 + 0.5) : 0;
	fprintf(out, " %" PRIu64 ".%03" PRIu64 "\n", thousandths / 1000U, thousandths % 1000U);
}

/* A percentage as a part of one. */
static void put_ratio(FILE *out, double percent)
{
	uint64_t millionths = 0;
	if (percent > 0)
		millionths = percent < 100 ? (uint64_t)(percent * 1e4 + 0.5) : 1000000;
	put_microseconds(out, millionths);
}

static void put_family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A family of one series without labels, but for its value. */
static void put_gauge(FILE *out, const char *name, const char *help)
{
	put_family(out, name, "gauge", help);
	fputs(name, out);
}

static void put_interface_counter(FILE *out, const struct metrics_view *view, const struct counter *counter)
{
	char label[METRICS_LABEL_MAX];
	put_family(out, counter->name, "counter", counter->help);
	for (size_t i = 0; i < view->interface_count; i++) {
		const struct wh_interface_statistics *one = &view->interfaces[i];
		if (counter == &filtered_counter && !one->filtered_known)
			continue;
		metrics_label(one->name, label, sizeof(label));
		fprintf(out, "%s{interface=\"%s\"} %" PRIu64 "\n", counter->name, label, counter_read(counter, one));
	}
}

static void put_interfaces(FILE *out, const struct metrics_view *view)
{
	char label[METRICS_LABEL_MAX];
	char link_type[METRICS_LABEL_MAX];
	for (size_t i = 0; i < LENGTH(interface_counters); i++)
		put_interface_counter(out, view, &interface_counters[i]);
	put_interface_counter(out, view, &filtered_counter);
	put_family(out, "wirehaul_interface_present", "gauge", "1 while the adapter is there, 0 when it has gone.");
	for (size_t i = 0; i < view->interface_count; i++) {
		metrics_label(view->interfaces[i].name, label, sizeof(label));
		fprintf(out, "wirehaul_interface_present{interface=\"%s\"} %d\n", label, view->interfaces[i].present);
	}
	put_family(out, "wirehaul_interface_info", "gauge", "The link type of the adapter, by libpcap's name for it.");
	for (size_t i = 0; i < view->interface_count; i++) {
		metrics_label(view->interfaces[i].name, label, sizeof(label));
		metrics_label(view->interfaces[i].link_type, link_type, sizeof(link_type));
		fprintf(out, "wirehaul_interface_info{interface=\"%s\",linktype=\"%s\"} 1\n", label, link_type);
	}
}

static void put_capture(FILE *out, const struct wh_statistics *sum)
{
	put_family(out, "wirehaul_build_info", "gauge", "The version of wirehaul.");
	fputs("wirehaul_build_info{version=\"" WIREHAUL_VERSION "\"} 1\n", out);
	put_family(out, "wirehaul_capture_info", "gauge",
		   "What is left out of the capture to measure the rest, or none.");
	fprintf(out, "wirehaul_capture_info{simulation=\"%s\"} 1\n",
		sum->simulate != WH_SIMULATE_NOTHING ? wh_simulation_name(sum->simulate) : "none");
	put_gauge(out, "wirehaul_running", "1 while frames are captured, 0 before and after.");
	fprintf(out, " %d\n", sum->running);
	put_gauge(out, "wirehaul_elapsed_seconds", "Time since the capture began.");
	put_seconds(out, sum->elapsed_ns);
	put_family(out, "wirehaul_cpu_seconds_total", "counter",
		   "Processor time that the process used since the capture began, user and system.");
	fputs("wirehaul_cpu_seconds_total", out);
	put_seconds(out, sum->cpu_ns);
	if (sum->last_frame_ns != 0) {
		put_gauge(out, "wirehaul_last_frame_timestamp_seconds",
			  "Time of the newest frame that was given a place in a file, since 1970.");
		put_seconds(out, sum->last_frame_ns);
	}
	put_gauge(out, "wirehaul_ring_fill_ratio", "How full the fullest ring is, 0 to 1.");
	put_ratio(out, sum->ring_fill_percent);
	put_gauge(out, "wirehaul_ring_fill_max_ratio", "How full a ring has been at most, 0 to 1.");
	put_ratio(out, sum->ring_fill_max_percent);
}

/* Buckets of Prometheus hold what those below them hold, too. */
static void put_latency(FILE *out, const struct wh_statistics *sum)
{
	static const char name[] = "wirehaul_write_latency_seconds";
	uint64_t count = 0;
	put_family(out, name, "histogram", "How long writes to the files took.");
	for (unsigned bucket = 0; bucket < WH_LATENCY_BUCKETS; bucket++) {
		count += sum->write_counts[bucket];
		uint64_t limit_us = WH_LATENCY_LIMIT_US(bucket);
		if (bucket + 1 < WH_LATENCY_BUCKETS)
			fprintf(out, "%s_bucket{le=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64 "\n", name,
				limit_us / 1000000U, limit_us % 1000000U, count);
		else
			fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
	}
	fprintf(out, "%s_sum", name);
	put_microseconds(out, sum->write_latency_us);
	fprintf(out, "%s_count %" PRIu64 "\n", name, count);
	put_gauge(out, "wirehaul_write_latency_max_seconds", "How long the longest write took.");
	put_microseconds(out, sum->write_latency_max_us);
}

static void put_space(FILE *out, const struct metrics_view *view)
{
	const struct wh_statistics *sum = view->sum;
	if (sum->free_percent < 0)
		return;
	put_gauge(out, "wirehaul_free_space_ratio", "Free part of the file system of the output, 0 to 1.");
	put_ratio(out, sum->free_percent);
	put_gauge(out, "wirehaul_space_left_bytes", "Bytes that are left until the free-space limit.");
	fprintf(out, " %" PRIu64 "\n", sum->free_bytes_to_limit);
	if (view->fill_rate < 0)
		return;
	put_gauge(out, "wirehaul_space_left_seconds",
		  "Time until the free-space limit if the files go on growing as they do.");
	double left = (double)sum->free_bytes_to_limit;
	put_number(out, view->fill_rate > 0 ? left / view->fill_rate : (double)INFINITY);
}

char *metrics_text(const struct metrics_view *view, size_t *length)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, length);
	if (out == NULL)
		return NULL;
	put_capture(out, view->sum);
	put_interfaces(out, view);
	for (size_t i = 0; i < LENGTH(counters); i++) {
		put_family(out, counters[i].name, "counter", counters[i].help);
		fprintf(out, "%s %" PRIu64 "\n", counters[i].name, counter_read(&counters[i], view->sum));
	}
	put_latency(out, view->sum);
	put_space(out, view);
	bool failed = ferror(out) != 0;
	if (fclose(out) == 0 && !failed)
		return text;
	free(text);
	return NULL;
}

/* ---- how fast the files grow ---- */

#define SECOND_NS UINT64_C(1000000000)
#define WINDOW_NS (60 * SECOND_NS)

double metrics_rate_take(struct metrics_rate *rate, uint64_t now_ns, uint64_t bytes)
{
	size_t kept = rate->count < METRICS_SAMPLES ? rate->count : METRICS_SAMPLES;
	size_t since = METRICS_SAMPLES;
	/* From the newest on. A sample that is older than the window serves only where there is no other. */
	for (size_t back = 1; back <= kept; back++) {
		size_t at = (rate->count - back) % METRICS_SAMPLES;
		uint64_t age_ns = now_ns - rate->time_ns[at];
		if (age_ns < SECOND_NS)
			continue;
		if (age_ns > WINDOW_NS && since != METRICS_SAMPLES)
			break;
		since = at;
		if (age_ns > WINDOW_NS)
			break;
	}
	double grown = -1;
	if (since != METRICS_SAMPLES) {
		uint64_t more = bytes > rate->bytes[since] ? bytes - rate->bytes[since] : 0;
		grown = (double)more * 1e9 / (double)(now_ns - rate->time_ns[since]);
	}
	size_t newest = (rate->count - 1) % METRICS_SAMPLES;
	if (rate->count == 0 || now_ns - rate->time_ns[newest] >= SECOND_NS) {
		size_t at = rate->count++ % METRICS_SAMPLES;
		rate->time_ns[at] = now_ns;
		rate->bytes[at] = bytes;
	}
	return grown;
}
