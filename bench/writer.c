/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-bench-writer DIR [--bytes N] [--seconds S] [--block N] [--blocks N] [--frame N] [--file N] [--keep]
 *
 * The writer without a network: synthetic ring blocks through a capture thread and a writer into a chain of files in
 * DIR, wired as the engine wires an adapter. Prints one JSON object and, without --keep, removes its files.
 *
 * "seconds" is from the start of the threads until the last byte is written and the last file is synced and closed;
 * "seconds_writing" until the last write has come back. Nothing is sent to the page cache, so there is no rest that
 * would be written later.
 */
#include <dirent.h>
#include <getopt.h>
#include <pcap/dlt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "engine/capture.h"
#include "ringbuf/clock.h"

#define STEM "wh-bench-writer"

struct orders {
	const char *directory;
	uint64_t bytes, seconds, block_bytes, blocks, frame_bytes, file_bytes;
	bool keep;
};

/* What the writer's events tell. */
struct progress {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ended; /* the source's last chunk is back */
	char problem[512];
};

static void on_event(void *context, enum wh_writer_event event, uint64_t number, const char *text)
{
	struct progress *progress = context;
	(void)number;
	pthread_mutex_lock(&progress->lock);
	if (event == WH_WRITER_SOURCE_ENDED)
		progress->ended = true;
	else if (event != WH_WRITER_FILE_CLOSED && text != NULL)
		snprintf(progress->problem, sizeof(progress->problem), "%s", text);
	pthread_cond_broadcast(&progress->changed);
	pthread_mutex_unlock(&progress->lock);
}

static bool parse_number(const char *text, uint64_t *value)
{
	char *end;
	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == '\0';
}

static bool parse(int argc, char **argv, struct orders *orders)
{
	static const struct option options[] = {
		{ "bytes", required_argument, NULL, 'b' }, { "seconds", required_argument, NULL, 's' },
		{ "block", required_argument, NULL, 'k' }, { "blocks", required_argument, NULL, 'n' },
		{ "frame", required_argument, NULL, 'f' }, { "file", required_argument, NULL, 'c' },
		{ "keep", no_argument, NULL, 'p' },        { NULL, 0, NULL, 0 },
	};
	uint64_t *const targets['z' + 1] = {
		['b'] = &orders->bytes,  ['s'] = &orders->seconds,     ['k'] = &orders->block_bytes,
		['n'] = &orders->blocks, ['f'] = &orders->frame_bytes, ['c'] = &orders->file_bytes,
	};
	int option;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'p')
			orders->keep = true;
		else if (option == '?' || !parse_number(optarg, targets[option]))
			return false;
	}
	uint64_t block = orders->block_bytes;
	bool sound = block >= 16384 && block <= 1 << 24 && (block & (block - 1)) == 0 && orders->blocks >= 2 &&
		     orders->blocks <= 4096 && orders->frame_bytes >= 1 && orders->frame_bytes <= block / 2 &&
		     orders->file_bytes >= 2 * block && (orders->bytes != 0 || orders->seconds != 0);
	if (!sound || optind + 1 != argc)
		return false;
	orders->directory = argv[optind];
	return true;
}

static enum wh_status source_make(const struct orders *orders, struct wh_capture_thread **capture,
				  struct wh_error *error)
{
	uint64_t slot = (84 + orders->frame_bytes + 7) & ~UINT64_C(7);
	const struct wh_replay_config replay = {
		.snapshot_length = 262144,
		.geometry = { .block_bytes = (uint32_t)orders->block_bytes,
			      .block_count = (uint32_t)orders->blocks,
			      .timeout_ms = 100 },
		.synthetic_frames = orders->bytes / slot,
		.synthetic_bytes = (uint32_t)orders->frame_bytes,
	};
	struct wh_source *source;
	enum wh_status status = wh_source_replay_open(&replay, &source, error);
	if (status != WH_OK)
		return status;
	status = wh_capture_thread_open(source, capture, error);
	if (status != WH_OK)
		return status;
	(*capture)->format = WH_WRITE_PCAPNG;
	(*capture)->encoding.rules.snapshot_length = replay.snapshot_length;
	(*capture)->encoding.rules.ethernet = true;
	(*capture)->block_timeout_ns = replay.geometry.timeout_ms * WH_NS_PER_MS;
	snprintf((*capture)->name, sizeof((*capture)->name), "wh-bench");
	return WH_OK;
}

static enum wh_status writer_make(const struct orders *orders, struct progress *progress, struct wh_writer **writer,
				  struct wh_error *error)
{
	char path[WH_PATH_BYTES];
	snprintf(path, sizeof(path), "%s/" STEM ".pcapng", orders->directory);
	const struct wh_writer_config config = {
		.path = path,
		.format = WH_WRITE_PCAPNG,
		.limits = { .file_bytes = orders->file_bytes },
		.min_free_percent = 1,
		.snapshot_length = 262144,
		.block_bytes = (uint32_t)orders->block_bytes,
		.session = wh_ns_wall(),
		.application = STEM,
		.event = on_event,
		.event_context = progress,
	};
	return wh_writer_open(&config, writer, error);
}

static enum wh_status attach(struct wh_writer *writer, struct wh_capture_thread *capture, struct wh_error *error)
{
	struct wh_writer_source source = {
		.ring = &capture->ring,
		.counters = &capture->written,
		.memory = capture->source->memory,
		.memory_bytes = (uint64_t)capture->source->block_bytes * capture->source->block_count,
		.new_interface = true,
		.interface_name = "synthetic",
		.link_type = DLT_EN10MB,
	};
	enum wh_status status = wh_writer_attach(writer, &source, error);
	capture->writer = writer;
	capture->buffer = source.buffer;
	capture->encoding.interface = source.interface;
	return status;
}

/* Waits for the end of the source, and stops it when its time is over. */
static void run_out(struct progress *progress, struct wh_capture_thread *capture, uint64_t seconds)
{
	struct timespec end;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += (time_t)(seconds != 0 ? seconds : 86400);
	pthread_mutex_lock(&progress->lock);
	while (!progress->ended && pthread_cond_timedwait(&progress->changed, &progress->lock, &end) == 0)
		continue;
	bool ended = progress->ended;
	pthread_mutex_unlock(&progress->lock);
	if (!ended)
		wh_capture_thread_stop(capture);
	pthread_mutex_lock(&progress->lock);
	while (!progress->ended)
		pthread_cond_wait(&progress->changed, &progress->lock);
	pthread_mutex_unlock(&progress->lock);
}

static double cpu_seconds(const struct rusage *usage)
{
	return (double)usage->ru_utime.tv_sec + (double)usage->ru_stime.tv_sec +
	       (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

static void report(const struct orders *orders, const struct wh_writer_totals *totals, const struct rusage *before,
		   const uint64_t times_ns[3], const struct progress *progress)
{
	struct rusage after;
	getrusage(RUSAGE_SELF, &after);
	double cpu = cpu_seconds(&after) - cpu_seconds(before);
	double seconds = (double)(times_ns[2] - times_ns[0]) / 1e9, gb = (double)totals->bytes_on_disk / 1e9;
	printf(
	    "{\"bytes\": %llu, \"files\": %llu, \"block\": %llu, \"blocks\": %llu, \"frame\": %llu, \"seconds\": %.4f, "
	    "\"seconds_writing\": %.4f, \"gb_per_second\": %.4f, \"cpu_seconds\": %.4f, \"cpu_seconds_per_gb\": %.4f, "
	    "\"switches_voluntary\": %ld, \"switches_forced\": %ld, \"latency_max_ms\": %.2f, \"bytes_copied\": %llu, "
	    "\"problem\": \"%s\"}\n",
	    (unsigned long long)totals->bytes_on_disk, (unsigned long long)totals->files,
	    (unsigned long long)orders->block_bytes, (unsigned long long)orders->blocks,
	    (unsigned long long)orders->frame_bytes, seconds, (double)(times_ns[1] - times_ns[0]) / 1e9, gb / seconds,
	    cpu, cpu / gb, after.ru_nvcsw - before->ru_nvcsw, after.ru_nivcsw - before->ru_nivcsw,
	    (double)totals->latency_max_ns / 1e6, (unsigned long long)totals->bytes_copied, progress->problem);
}

static void files_remove(const char *directory)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;
	while (stream != NULL && (entry = readdir(stream)) != NULL)
		if (strncmp(entry->d_name, STEM "_", strlen(STEM "_")) == 0)
			unlinkat(dirfd(stream), entry->d_name, 0);
	if (stream != NULL)
		closedir(stream);
}

int main(int argc, char **argv)
{
	struct orders orders = {
		.bytes = 2000000000, .block_bytes = 1 << 20, .blocks = 64, .frame_bytes = 1414, .file_bytes = 100000000
	};
	if (!parse(argc, argv, &orders)) {
		fprintf(stderr,
			"usage: wh-bench-writer DIR [--bytes N] [--seconds S] [--block N] [--blocks N] [--frame N] "
			"[--file N] [--keep]\n");
		return 2;
	}
	struct progress progress = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	struct wh_capture_thread *capture = NULL;
	struct wh_writer *writer = NULL;
	struct wh_error error = { 0 };
	enum wh_status status = source_make(&orders, &capture, &error);
	if (status == WH_OK)
		status = writer_make(&orders, &progress, &writer, &error);
	if (status == WH_OK)
		status = attach(writer, capture, &error);
	struct rusage before;
	getrusage(RUSAGE_SELF, &before);
	uint64_t times_ns[3] = { wh_ns_monotonic() };
	if (status == WH_OK)
		status = wh_writer_start(writer, &error);
	if (status == WH_OK)
		status = wh_capture_thread_start(capture, &error);
	if (status == WH_OK) {
		run_out(&progress, capture, orders.seconds);
		times_ns[1] = wh_ns_monotonic();
		wh_writer_finish(writer);
		times_ns[2] = wh_ns_monotonic();
		struct wh_writer_totals totals;
		wh_writer_totals_read(writer, &totals);
		report(&orders, &totals, &before, times_ns, &progress);
	} else {
		fprintf(stderr, "wh-bench-writer: %s\n", error.text);
	}
	wh_capture_thread_close(capture);
	wh_writer_close(writer);
	if (!orders.keep)
		files_remove(orders.directory);
	return status == WH_OK && progress.problem[0] == '\0' ? 0 : 1;
}
