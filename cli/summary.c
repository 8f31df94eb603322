/* SPDX-License-Identifier: BSD-3-Clause */
#include "summary.h"

#include "table.h"
#include "text.h"

/* A write this slow is what filled the ring, if it got full: a disk in good order takes a block in milliseconds. */
#define SLOW_WRITE_US 100000

static void add_row(struct table *table, const struct wh_interface_statistics *row)
{
	table_add(table, "%s%s", row->name, row->present ? "" : " (gone)");
	table_add(table, "%s", text_count(row->frames_received).s);
	table_add(table, "%s", text_count(row->frames_written).s);
	table_add(table, "%s", text_count(row->frames_dropped).s);
	table_add(table, "%s", text_count(row->frames_dropped_nic).s);
	table_add(table, "%s", text_count(row->frames_truncated).s);
	table_add(table, "%s", row->filtered_known ? text_count(row->frames_filtered).s : "-");
}

static void print_table(FILE *out, struct wh_capture *capture, const struct wh_statistics *sum)
{
	static const char *const head[] = { "adapter",   "received",  "written", "dropped",
					    "NIC drops", "truncated", "filtered" };
	struct table table = { .columns = sizeof(head) / sizeof(head[0]), .right = true };
	for (size_t i = 0; i < table.columns; i++)
		table_add(&table, "%s", head[i]);
	struct wh_interface_statistics total = {
		.name = "total",
		.present = true,
		.frames_received = sum->frames_received,
		.frames_written = sum->frames_written,
		.frames_dropped = sum->frames_dropped,
		.frames_dropped_nic = sum->frames_dropped_nic,
		.frames_truncated = sum->frames_truncated,
		.filtered_known = sum->interface_count > 0,
	};
	for (size_t i = 0; i < sum->interface_count; i++) {
		struct wh_interface_statistics one;
		if (!wh_capture_interface_statistics(capture, i, &one))
			continue;
		add_row(&table, &one);
		total.filtered_known = total.filtered_known && one.filtered_known;
		total.frames_filtered += one.frames_filtered;
	}
	if (sum->interface_count != 1)
		add_row(&table, &total);
	table_print(&table, out);
}

static struct text describe_elapsed(uint64_t elapsed_ns)
{
	double seconds = (double)elapsed_ns / 1e9;
	if (seconds >= 60)
		return text_duration(seconds);
	struct text text;
	snprintf(text.s, sizeof(text.s), "%.1f s", seconds);
	return text;
}

static void print_files(FILE *out, const struct wh_statistics *sum)
{
	bool disk = sum->simulate != WH_SIMULATE_NO_DISK;
	fprintf(out, "%s %s, %s %s, %s of packets in %s; ring at most %.0f %% full", text_count(sum->files).s,
		sum->files == 1 ? "file" : "files", text_bytes(sum->bytes_on_disk).s,
		disk ? "on disk" : "that were not written", text_bytes(sum->bytes_captured).s,
		describe_elapsed(sum->elapsed_ns).s, sum->ring_fill_max_percent);
	if (disk)
		fprintf(out, ", slowest write %s", text_latency(sum->write_latency_max_us).s);
	if (sum->free_percent >= 0)
		fprintf(out, ", %.1f %% of the disk free", sum->free_percent);
	fputc('\n', out);
	if (sum->files_deleted > 0 && sum->simulate == WH_SIMULATE_NOTHING)
		fprintf(out, "%s of the oldest files %s deleted to make room\n", text_count(sum->files_deleted).s,
			sum->files_deleted == 1 ? "was" : "were");
	if (sum->files_left > 0 && sum->simulate == WH_SIMULATE_NOTHING)
		fprintf(out, "%s of the files that should have made room could NOT BE REMOVED\n",
			text_count(sum->files_left).s);
}

/* What was left out, what it was left out for, and what has become of its files. */
static void print_simulation(FILE *out, const struct wh_statistics *sum)
{
	if (sum->simulate == WH_SIMULATE_NO_DISK) {
		fputs("SIMULATION without a disk: NOTHING WAS WRITTEN; measured is all but the disk\n", out);
		return;
	}
	fputs("SIMULATION without adapters: the frames were made up, ", out);
	if (sum->files_left > 0)
		fprintf(out, "%s of their files could NOT BE REMOVED", text_count(sum->files_left).s);
	else
		fprintf(out, "their files %s removed", sum->running ? "will be" : "are");
	fputs("; measured is the disk\n", out);
}

/* What a simulation is for. All is a mean over its time, which ends when the last file is closed. */
static void print_measured(FILE *out, const struct wh_statistics *sum)
{
	double seconds = (double)sum->elapsed_ns / 1e9, gigabytes = (double)sum->bytes_on_disk / 1e9;
	struct text cpu = { "-" };
	if (sum->frames_written > 0)
		snprintf(cpu.s, sizeof(cpu.s), "%.3f", (double)sum->cpu_ns / 1e9 / gigabytes);
	print_simulation(out, sum);
	fprintf(out, "%s frames/s, %.3f GB/s, %s CPU seconds per GB, %s dropped\n",
		text_count(seconds > 0 ? (uint64_t)((double)sum->frames_written / seconds + 0.5) : 0).s,
		seconds > 0 ? gigabytes / seconds : 0, cpu.s, text_count(sum->frames_dropped).s);
}

void summary_print(FILE *out, struct wh_capture *capture)
{
	struct wh_statistics sum;
	wh_capture_statistics(capture, &sum);
	print_table(out, capture, &sum);
	print_files(out, &sum);
	if (sum.simulate != WH_SIMULATE_NOTHING)
		print_measured(out, &sum);
}

static const char *advice(const struct wh_statistics *statistics)
{
	if (statistics->stop_reason == WH_STOP_ERROR)
		return "the error that ended the capture may have cost some of them";
	if (statistics->stop_reason == WH_STOP_LOW_SPACE)
		return "some of them came in while the capture was being stopped at its free-space limit";
	if (statistics->frames_dropped == 0)
		return "the adapter had no room for them: give it more with ethtool -G NAME rx N";
	if (statistics->simulate == WH_SIMULATE_NO_DISK)
		return "there was no disk to wait for: give the threads other CPUs (--cpus) or more of them "
		       "(--fanout), a larger ring (-B), or less to do (a filter)";
	if (statistics->write_latency_max_us >= SLOW_WRITE_US)
		return "the disk was too slow for a while: a larger ring (-B) bridges that, a faster disk cures it";
	return "the ring was full: try a larger one (-B), more capture threads (--fanout), or a filter";
}

bool summary_explain_drops(const struct wh_statistics *statistics, struct wh_message *message)
{
	uint64_t missing = statistics->frames_dropped + statistics->frames_dropped_nic;
	if (missing == 0)
		return false;
	/* Frames that the adapter dropped were never received: they come on top. */
	double offered = (double)statistics->frames_received + (double)statistics->frames_dropped_nic;
	double percent = offered > 0 ? 100.0 * (double)missing / offered : 100.0;
	bool simulated = statistics->simulate != WH_SIMULATE_NOTHING;
	char share[32] = "under 0.01";
	if (percent >= 0.01)
		snprintf(share, sizeof(share), "%.2f", percent < 100 ? percent : 100.0);
	snprintf(message->text, sizeof(message->text), "%s frames (%s %%) %s NOT %s the files; %s",
		 text_count(missing).s, share, simulated ? "would" : "are", simulated ? "be in" : "in",
		 advice(statistics));
	return true;
}
