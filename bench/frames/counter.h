/* SPDX-License-Identifier: BSD-3-Clause */
/* What is in capture files, counted: the listener of the walks of all of them, one after the other. */
#ifndef WH_FRAMES_COUNTER_H
#define WH_FRAMES_COUNTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numbered.h"
#include "second_reader.h"
#include "tallies.h"
#include "walk.h"

enum { WH_COUNTER_SOURCES = 64, WH_COUNTER_COMPLAINT_BYTES = 256 };

/* What is asked for. */
struct wh_counter_orders {
	struct wh_numbered_shape shape; /* without sizes: frames are judged by what they say of themselves */
	uint64_t snapshot;              /* UINT64_MAX: not told */
	uint64_t from, count;           /* of the tallies */
	uint32_t threads;
	uint32_t only;         /* epb_flags direction, 0: both */
	const char *interface; /* NULL: all of them */
	uint32_t raw_block_bytes;
	bool verify; /* each byte, and by a second reader */
};

/* The chunk that the walk is in. */
struct wh_counter_chunk {
	bool open;
	struct wh_walk_chunk head;
	uint64_t frames, first_ns, last_ns;
};

/* What the heads of chunks said of one source, over all files. */
struct wh_counter_source {
	uint16_t source, interface;
	uint64_t frames, received_sum, dropped_sum, received_last, dropped_last;
};

/* What was found in one file. */
struct wh_counter_file {
	const char *path;
	uint64_t frames, chunks;
	uint64_t interface_frames[WH_WALK_INTERFACES], interface_last_ns[WH_WALK_INTERFACES];
	struct wh_second_reader second;
};

/* What was found in all files so far. */
struct wh_counter_totals {
	uint64_t frames, ours, other, skipped, corrupt, captured_bytes, drop_count, in, out, undirected, unterminated;
	uint64_t back_in_time, libpcap_frames, libpcap_differs;
	int64_t age_min_ns, age_max_ns; /* capture time minus sending time of our frames */
	uint64_t files, bytes, largest, unaligned, zero_tail, whole, truncated, damaged;
	uint64_t chunks, chunk_frames, chunk_lost, chunk_gaps, chunk_errors, growing_chunks, outside_chunks, sessions;
	/* The first of a kind: the rest usually follows from it. */
	char complaint[WH_COUNTER_COMPLAINT_BYTES], chunk_complaint[WH_COUNTER_COMPLAINT_BYTES];
};

struct wh_counter {
	const struct wh_counter_orders *orders;
	struct wh_counter_file file;
	struct wh_counter_totals totals;
	struct wh_tallies tallies;
	struct wh_counter_chunk chunk;
	struct wh_counter_source sources[WH_COUNTER_SOURCES];
	size_t source_count;
	uint64_t session, next_sequence;
	bool out_of_memory;
};

/* Starts with nothing counted. ORDERS are borrowed. Ended with wh_counter_close(). */
void wh_counter_open(struct wh_counter *counter, const struct wh_counter_orders *orders);
void wh_counter_close(struct wh_counter *counter);

/*
 * Counts what is in the file at PATH, which is borrowed until the next one. WALK is for its walk, which is over when
 * this returns true, and can be looked at until wh_walk_close(). Returns false when the file cannot be opened, and says
 * why in walk->reason.
 */
bool wh_counter_file(struct wh_counter *counter, struct wh_walk *walk, const char *path);

#endif
