/* SPDX-License-Identifier: BSD-3-Clause */
#include "count_report.h"

#include <stdio.h>

#include "loss_runs.h"

enum { RANGES_PRINTED = 8 };

static unsigned long long llu(uint64_t value)
{
	return value;
}

/* Prints TEXT as a JSON string. A damaged file may name an interface in any bytes: what is not ASCII becomes "?". */
static void print_string(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else
			putchar(*text >= 0x20 && *text < 0x7f ? *text : '?');
	}
	putchar('"');
}

static void print_optional(const char *name, uint64_t value)
{
	if (value == UINT64_MAX)
		printf(", \"%s\": null", name);
	else
		printf(", \"%s\": %llu", name, llu(value));
}

void wh_count_report_file(const struct wh_counter *counter, const struct wh_walk *walk)
{
	static const char *const formats[] = { "unknown", "pcapng", "pcap", "raw" };
	static const char *const states[] = { "whole", "truncated", "damaged" };
	const struct wh_counter_file *file = &counter->file;
	printf("%s\n  {\"file\": ", counter->totals.files > 1 ? "," : "");
	print_string(file->path);
	printf(", \"format\": \"%s\", \"state\": \"%s\", \"bytes\": %llu, \"offset\": %llu, \"reason\": \"%s\", "
	       "\"frames\": %llu, \"chunks\": %llu, \"zero_tail\": %llu, \"chunks_behind_damage\": %llu, "
	       "\"sections\": %llu, \"libpcap_frames\": %llu, \"libpcap_error\": ",
	       formats[walk->format], states[walk->state], llu(walk->size), llu(walk->offset), walk->reason,
	       llu(file->frames), llu(file->chunks), llu(walk->zero_tail), llu(walk->chunks_behind),
	       llu(walk->sections), llu(file->second.frames));
	print_string(file->second.error);
	printf(", \"interfaces\": [");
	for (uint32_t i = 0; i < walk->interface_count; i++) {
		const struct wh_walk_interface *interface = &walk->interfaces[i];
		printf("%s{\"name\": ", i > 0 ? ", " : "");
		print_string(interface->name);
		printf(", \"linktype\": %u, \"snapshot\": %u, \"frames\": %llu, \"statistics\": %s",
		       interface->link_type, interface->snapshot, llu(file->interface_frames[i]),
		       interface->has_statistics ? "true" : "false");
		if (interface->has_statistics) {
			print_optional("ifrecv", interface->received);
			print_optional("osdrop", interface->os_dropped);
			print_optional("usrdeliv", interface->delivered);
		}
		putchar('}');
	}
	printf("]}");
}

static void print_sources(const struct wh_counter *counter)
{
	printf("\"sources\": [");
	for (size_t i = 0; i < counter->source_count; i++) {
		const struct wh_counter_source *source = &counter->sources[i];
		printf("%s{\"source\": %u, \"interface\": %u, \"frames\": %llu, \"received_sum\": %llu, "
		       "\"dropped_sum\": %llu, \"received_last\": %llu, \"dropped_last\": %llu}",
		       i > 0 ? ", " : "", source->source, source->interface, llu(source->frames),
		       llu(source->received_sum), llu(source->dropped_sum), llu(source->received_last),
		       llu(source->dropped_last));
	}
	printf("]");
}

static void print_numbers(const struct wh_counter *counter)
{
	const struct wh_counter_totals *totals = &counter->totals;
	const struct wh_tallies_sum sum = wh_tallies_sum(&counter->tallies);
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "files", totals->files },
		{ "whole", totals->whole },
		{ "truncated", totals->truncated },
		{ "damaged", totals->damaged },
		{ "unaligned", totals->unaligned },
		{ "zero_tail", totals->zero_tail },
		{ "bytes", totals->bytes },
		{ "largest", totals->largest },
		{ "frames", totals->frames },
		{ "captured_bytes", totals->captured_bytes },
		{ "ours", totals->ours },
		{ "other", totals->other },
		{ "skipped", totals->skipped },
		{ "corrupt", totals->corrupt },
		{ "received", sum.distinct + sum.duplicated },
		{ "distinct", sum.distinct },
		{ "missing", sum.missing },
		{ "duplicated", sum.duplicated },
		{ "reordered", sum.reordered },
		{ "outside", sum.outside },
		{ "first", sum.first },
		{ "last", sum.last },
		{ "dropcount", totals->drop_count },
		{ "in", totals->in },
		{ "out", totals->out },
		{ "undirected", totals->undirected },
		{ "unterminated", totals->unterminated },
		{ "back_in_time", totals->back_in_time },
		{ "libpcap_frames", totals->libpcap_frames },
		{ "libpcap_differs", totals->libpcap_differs },
		{ "chunks", totals->chunks },
		{ "chunk_frames", totals->chunk_frames },
		{ "chunk_lost", totals->chunk_lost },
		{ "chunk_gaps", totals->chunk_gaps },
		{ "chunk_errors", totals->chunk_errors },
		{ "growing_chunks", totals->growing_chunks },
		{ "outside_chunks", totals->outside_chunks },
		{ "sessions", totals->sessions },
	};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		printf("\"%s\": %llu,\n ", numbers[i].name, llu(numbers[i].value));
	printf("\"age_min_ns\": %lld,\n \"age_max_ns\": %lld,\n ", (long long)totals->age_min_ns,
	       (long long)totals->age_max_ns);
}

static void print_threads(const struct wh_tallies *tallies)
{
	const char *separator = "";
	printf("\"threads\": [");
	for (size_t i = 0; i < WH_NUMBERED_THREADS; i++) {
		const struct wh_tally *tally = tallies->of[i];
		if (tally == NULL)
			continue;
		printf("%s{\"thread\": %zu, \"distinct\": %llu, \"missing\": %llu, \"duplicated\": %llu, "
		       "\"reordered\": %llu, \"outside\": %llu, \"first\": %llu, \"last\": %llu}",
		       separator, i, llu(tally->distinct), llu(wh_tally_missing(tally)), llu(tally->duplicated),
		       llu(tally->reordered), llu(tally->outside), llu(tally->first), llu(tally->last));
		separator = ",\n  ";
	}
	printf("]");
}

/* The first few missing ranges of the first thread that has any. */
static void print_missing(const struct wh_tallies *tallies)
{
	unsigned int printed = 0;
	printf("\"missing_ranges\": [");
	for (size_t i = 0; i < WH_NUMBERED_THREADS && printed == 0; i++) {
		struct wh_tally_run run = { 0 };
		while (tallies->of[i] != NULL && printed < RANGES_PRINTED &&
		       wh_tally_next_run(tallies->of[i], run.first + run.length, &run))
			printf("%s[%llu, %llu]", printed++ > 0 ? ", " : "", llu(run.first),
			       llu(run.first + run.length - 1));
	}
	printf("]");
}

static void print_loss_runs(const struct wh_tallies *tallies)
{
	static struct wh_loss_runs runs;
	for (size_t i = 0; i < WH_NUMBERED_THREADS; i++)
		if (tallies->of[i] != NULL)
			wh_loss_runs_add(&runs, tallies->of[i]);
	printf("\"loss_runs\": {\"count\": %llu, \"longest\": %llu, \"total\": %llu, \"lengths\": [", llu(runs.count),
	       llu(runs.longest), llu(runs.total));
	for (size_t i = 0; i < runs.length_count; i++)
		printf("%s[%llu, %llu]", i > 0 ? ", " : "", llu(runs.lengths[i].length), llu(runs.lengths[i].runs));
	printf("], \"more\": %llu}", llu(runs.more));
}

void wh_count_report_totals(const struct wh_counter *counter)
{
	print_numbers(counter);
	printf("\"verified\": %s,\n ", counter->orders->verify ? "true" : "false");
	print_sources(counter);
	printf(",\n ");
	print_threads(&counter->tallies);
	printf(",\n ");
	print_missing(&counter->tallies);
	printf(",\n ");
	print_loss_runs(&counter->tallies);
	printf(",\n \"complaint\": ");
	print_string(counter->totals.complaint);
	printf(",\n \"chunk_complaint\": ");
	print_string(counter->totals.chunk_complaint);
}
