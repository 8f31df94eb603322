/* SPDX-License-Identifier: BSD-3-Clause */
/* Two short captures, each with a part left out: of what comes now, and of what the disk takes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "engine/doctor/state.h"
#include "engine/lock.h"

enum {
	MIB = 1024 * 1024,
	DISK_SECONDS = 3,
	TRAFFIC_SECONDS = 1,
	PATIENCE_SECONDS = 30, /* for a disk to take what is left, and to delete the files */
	FILES_KEPT = 4,
	FILES_AT_ONCE =
	    8, /* those that are kept, the present one with what is allocated ahead, and those on their way out */
	FILE_LEAST = 4 * MIB
};
/* Enough for the largest joined writes, and on a slow disk soon written. */
#define DISK_RING_BYTES     ((uint64_t)64 * MIB)
#define DISK_RING_LEAST     ((uint64_t)8 * MIB)
#define MEMORY_LEAST        (3 * DISK_RING_LEAST)
#define ROOM_UNKNOWN        ((uint64_t)128 * MIB)
#define TRAFFIC_RING_BYTES  ((uint64_t)16 * MIB)
#define TRAFFIC_RINGS_BYTES ((uint64_t)128 * MIB)
#define TRAFFIC_RING_LEAST  ((uint64_t)MIB)
/* How much of what the disk takes may come already, before there is no room for a burst. */
#define TRAFFIC_SHARE_MOST 0.8
#define ASSUMED_LINE_BYTES 1.25e9

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Runs CONFIG to its own end. */
static void run_whole(const struct wh_config *config, struct wh_doctor_run *run)
{
	struct wh_capture *capture = NULL;
	struct wh_message message = { "" };
	struct wh_statistics statistics;
	enum wh_result result = wh_capture_open(config, &capture, &message);
	if (result == WH_RESULT_OK)
		result = wh_capture_start(capture, &message);
	if (result == WH_RESULT_OK) {
		result = wh_capture_wait(capture, &message);
		wh_capture_statistics(capture, &statistics);
		run->seconds = (double)statistics.elapsed_ns / 1e9;
		run->frames = statistics.frames_written;
		run->dropped = statistics.frames_dropped;
		run->frame_bytes_sum = statistics.bytes_captured;
		run->file_bytes = statistics.bytes_on_disk;
		run->done = result == WH_RESULT_OK && run->seconds > 0;
	}
	if (result != WH_RESULT_OK) {
		run->failed = result != WH_RESULT_LOW_SPACE;
		snprintf(run->problem, sizeof(run->problem), "%.500s", message.text);
	}
	wh_capture_close(capture);
}

void wh_doctor_run_traffic(const struct wh_config *config, const struct wh_doctor_adapter *adapters, size_t count,
			   struct wh_doctor_run *run)
{
	*run = (struct wh_doctor_run){ 0 };
	const char **names = calloc(count + 1, sizeof(*names));
	size_t used = 0;
	for (size_t i = 0; names != NULL && i < count; i++)
		if (adapters[i].interface.up && adapters[i].capturable)
			names[used++] = adapters[i].interface.name;
	run->adapters = used;
	if (used > 0) {
		struct wh_config wanted = *config;
		run->ring_bytes = least(TRAFFIC_RING_BYTES, TRAFFIC_RINGS_BYTES / used);
		if (run->ring_bytes < TRAFFIC_RING_LEAST * config->fanout)
			run->ring_bytes = TRAFFIC_RING_LEAST * config->fanout;
		wanted.interfaces = names;
		wanted.interface_count = used;
		wanted.simulate = WH_SIMULATE_NO_DISK;
		wanted.output = NULL;
		wanted.format = WH_FORMAT_PCAPNG;
		wanted.per_interface = false;
		wanted.direct_io = WH_DIRECT_IO_AUTO;
		wanted.on_low_space = WH_LOW_SPACE_STOP;
		wanted.no_promiscuous = true;
		wanted.ring_bytes = run->ring_bytes;
		wanted.block_bytes = 0;
		wanted.stop_after_seconds = TRAFFIC_SECONDS;
		run_whole(&wanted, run);
	}
	free((void *)names);
}

/* The name that the measuring files begin with. Not one of a capture, so that who waits for those is not misled. */
static bool measure_path(char *path, size_t bytes, const char *directory)
{
	int length = snprintf(path, bytes, "%s/wirehaul-doctor-%ld.tmp", directory, (long)getpid());
	return length > 0 && (size_t)length < bytes;
}

/* Whether a capture writes there, which a run would slow down. */
static bool is_in_use(const char *path, struct wh_doctor_run *run)
{
	struct wh_error error = { 0 };
	int fd = -1;
	bool used = wh_directory_lock(path, &fd, &error) != WH_OK;
	if (used)
		snprintf(run->problem, sizeof(run->problem), "%.500s", error.text);
	if (fd >= 0)
		close(fd);
	return used;
}

/* What the run may take for good measure: half of what is free above the limit, and where that is memory, of it. */
static uint64_t room_choose(const struct wh_doctor_place *place, uint64_t available_bytes)
{
	uint64_t left =
	    place->space.available_bytes > place->limit_bytes ? place->space.available_bytes - place->limit_bytes : 0;
	bool memory = strcmp(place->mount.type, "tmpfs") == 0 || strcmp(place->mount.type, "ramfs") == 0;
	return memory ? least(left, available_bytes) / 2 : left / 2;
}

/* All that the run needs, of its own: it may go on when the examination has ended. */
struct attempt {
	struct wh_doctor_place place;
	struct wh_config wanted;
	char path[WH_PATH_BYTES];
	char *cpu_list; /* owned */
	bool measures;
	struct wh_doctor_run run;
};

static void attempt_free(void *of)
{
	struct attempt *attempt = of;
	free(attempt->cpu_list);
	free(attempt);
}

static void attempt_work(void *of)
{
	struct attempt *attempt = of;
	wh_doctor_probe_try(&attempt->place, &attempt->run.probe);
	if (attempt->measures)
		run_whole(&attempt->wanted, &attempt->run);
}

/* Says of ATTEMPT what is to be written, or in its problem why nothing is. */
static void attempt_prepare(struct attempt *attempt, const struct wh_config *config, uint64_t ring_bytes,
			    uint64_t available_bytes)
{
	const struct wh_doctor_place *place = &attempt->place;
	struct wh_doctor_run *run = &attempt->run;
	/* Some file systems have room and do not tell of it; for a capture there is no limit then, either. */
	bool sized = place->space.total_bytes != 0;
	uint64_t room = sized ? room_choose(place, available_bytes) : ROOM_UNKNOWN;
	if (!place->space_known || room < (uint64_t)FILES_AT_ONCE * FILE_LEAST ||
	    !measure_path(attempt->path, sizeof(attempt->path), place->directory)) {
		snprintf(run->problem, sizeof(run->problem), "there is too little room above the free-space limit");
		return;
	}
	if (available_bytes < MEMORY_LEAST) {
		snprintf(run->problem, sizeof(run->problem), "only %s of memory are left to this process",
			 wh_words_memory(available_bytes).s);
		return;
	}
	if (is_in_use(attempt->path, run))
		return;
	attempt->measures = true;
	size_t length = strlen(config->output);
	bool classic = length >= 5 && strcasecmp(config->output + length - 5, ".pcap") == 0;
	struct wh_config *wanted = &attempt->wanted;
	wh_config_init(wanted);
	wanted->simulate = WH_SIMULATE_NO_NIC;
	wanted->output = attempt->path;
	wanted->format = config->format != WH_FORMAT_AUTO ? config->format
			 : classic                        ? WH_FORMAT_PCAP
							  : WH_FORMAT_PCAPNG;
	wanted->snapshot_length = config->snapshot_length;
	wanted->simulated_frame_bytes = config->simulated_frame_bytes;
	wanted->direct_io = config->direct_io;
	wanted->cpus = config->cpus;
	wanted->cpu_list = attempt->cpu_list;
	wanted->keep_files = FILES_KEPT;
	wanted->file_bytes = least(config->file_bytes != 0 ? config->file_bytes : UINT64_MAX, room / FILES_AT_ONCE);
	wanted->stop_after_seconds = DISK_SECONDS;
	/* Where room is scarce, files go sooner. */
	wanted->on_low_space = WH_LOW_SPACE_RECYCLE;
	/* Whatever others write meanwhile, the limit of a capture is never met by this. */
	wanted->min_free_percent =
	    sized ? (double)(place->space.available_bytes - room) * 100.0 / (double)place->space.total_bytes : 0;
	run->ring_bytes = least(least(ring_bytes, DISK_RING_BYTES), available_bytes / 8);
	if (run->ring_bytes < DISK_RING_LEAST)
		run->ring_bytes = DISK_RING_LEAST;
	wanted->ring_bytes = run->ring_bytes;
}

void wh_doctor_run_disk(const struct wh_config *config, const struct wh_doctor_place *place, uint64_t ring_bytes,
			uint64_t available_bytes, struct wh_doctor_run *run)
{
	struct attempt *attempt = calloc(1, sizeof(*attempt));
	*run = (struct wh_doctor_run){ .problem = "out of memory" };
	if (attempt == NULL)
		return;
	attempt->place = *place;
	attempt->place.fd = -1; /* which the caller closes */
	attempt->cpu_list = config->cpu_list != NULL ? strdup(config->cpu_list) : NULL;
	attempt_prepare(attempt, config, ring_bytes, available_bytes);
	if (config->cpu_list != NULL && attempt->cpu_list == NULL) {
		attempt_free(attempt);
		return;
	}
	if (wh_doctor_within(DISK_SECONDS + PATIENCE_SECONDS, attempt_work, attempt_free, attempt)) {
		*run = attempt->run;
		attempt_free(attempt);
		return;
	}
	*run = (struct wh_doctor_run){ .hung = true };
}

void wh_doctor_traffic_judge(struct wh_findings *findings, const struct wh_doctor_run *traffic)
{
	char words[64];
	snprintf(words, sizeof(words), "%zu adapter%s", traffic->adapters, traffic->adapters == 1 ? "" : "s");
	if (traffic->failed)
		wh_finding_add(findings, WH_FINDING_BAD, "traffic", "just now", "a capture does not start: %.300s",
			       traffic->problem);
	if (!traffic->done)
		return;
	double rate = (double)traffic->frame_bytes_sum * 8 / traffic->seconds;
	if (traffic->dropped > 0) {
		wh_finding_add(
		    findings, WH_FINDING_BAD, "traffic", "just now",
		    "of %s on %s in %s, %s frames found no room in a ring of %s although nothing was written: "
		    "the capture thread does not get its CPU in time",
		    wh_words_scaled(rate, "bit/s").s, words, wh_words_duration(traffic->seconds).s,
		    wh_words_count(traffic->dropped).s, wh_words_memory(traffic->ring_bytes).s);
		return;
	}
	wh_finding_add(
	    findings, WH_FINDING_GOOD, "traffic", "just now",
	    "%s frames, %s, came on %s in %s, not counting those for other machines (no promiscuous mode); a "
	    "capture that wrote nothing lost none of them",
	    wh_words_count(traffic->frames).s, wh_words_scaled(rate, "bit/s").s, words,
	    wh_words_duration(traffic->seconds).s);
}

void wh_doctor_hung_judge(struct wh_findings *findings, const struct wh_doctor_run *disk, const char *word)
{
	if (!disk->hung)
		return;
	wh_finding_add(
	    findings, WH_FINDING_BAD, "disk", "write speed",
	    "not measured: %d s after three seconds of writing it had still not taken all, or not deleted it: it "
	    "hangs, or is very slow. What was written may be left there; this removes it when it answers again",
	    PATIENCE_SECONDS);
	if (word[0] != '\0')
		wh_finding_mend(findings, "rm -f %s/wirehaul-doctor-%ld_*.tmp", word, (long)getpid());
}

/* For how long the rings hold what comes faster than RATE, in words: the disk's share of each link is as large as the
 * link's of all, so the ring of the fastest is full first. */
static void burst_words(char *text, size_t bytes, const struct wh_doctor_needs *needs, double rate)
{
	bool known = needs->line_bytes > 0;
	double line = known ? needs->line_bytes : ASSUMED_LINE_BYTES, link = known ? needs->link_bytes : line;
	text[0] = '\0';
	if (line > rate)
		snprintf(text, bytes, "; a burst at %s%s is held by the rings for %s",
			 wh_words_scaled(line * 8, "bit/s").s, known ? ", full links," : "",
			 wh_words_duration((double)needs->ring_bytes / (link * (1 - rate / line))).s);
}

void wh_doctor_rate_judge(struct wh_findings *findings, const struct wh_doctor_run *disk,
			  const struct wh_doctor_run *traffic, const struct wh_doctor_needs *needs)
{
	if (disk->hung)
		return;
	if (!disk->done || disk->frames == 0) {
		wh_finding_add(findings, disk->failed ? WH_FINDING_BAD : WH_FINDING_NOTE, "disk", "write speed",
			       "not measured: %.300s",
			       disk->problem[0] != '\0' ? disk->problem : "nothing was written");
		return;
	}
	double rate = (double)disk->frame_bytes_sum / disk->seconds;
	double now = traffic->done ? (double)traffic->frame_bytes_sum / traffic->seconds : 0;
	uint64_t frame_bytes = disk->frame_bytes_sum / disk->frames;
	char burst[128];
	burst_words(burst, sizeof(burst), needs, rate);
	bool full = now > rate * TRAFFIC_SHARE_MOST;
	enum wh_finding_kind kind =
	    needs->line_bytes > 0 && rate >= needs->line_bytes ? WH_FINDING_GOOD : WH_FINDING_NOTE;
	wh_finding_add(
	    findings, full ? WH_FINDING_BAD : kind, "expected", "rate",
	    "this directory took %s in wirehaul's files over %s: %s frames of %" PRIu64
	    " bytes a second, %s, made up and without an adapter's work; for long, count on half of it%s%s%s",
	    wh_words_scaled((double)disk->file_bytes / disk->seconds, "B/s").s, wh_words_duration(disk->seconds).s,
	    wh_words_count((uint64_t)((double)disk->frames / disk->seconds)).s, frame_bytes,
	    wh_words_scaled(rate * 8, "bit/s").s, burst, full ? ". Just now there come " : "",
	    full ? wh_words_scaled(now * 8, "bit/s").s : "");
	if (full && needs->command[0] != '\0')
		wh_finding_mend(findings, "%s -s 128", needs->command);
}
