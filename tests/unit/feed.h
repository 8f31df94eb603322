/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the writer have in the place of an engine: sources whose blocks are made up and encoded by the real
 * encoders, a record of what the writer told, and a reader that judges the files that came of it. Failures end the test
 * (cmocka).
 */
#ifndef WH_TESTS_FEED_H
#define WH_TESTS_FEED_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "blocks.h"
#include "writer/writer.h"

enum { WH_FEEDS_MOST = 64, WH_FEED_BLOCKS = 16, WH_FILES_MOST = 256, WH_EVENT_KINDS = WH_WRITER_NOTICE + 1 };

/* A source. Its frames are numbered from 1; a frame's time is its number. */
struct wh_feed {
	struct wh_writer_counters counters;
	struct wh_rig *rig;
	struct wh_spsc ring;
	uint8_t *memory; /* WH_FEED_BLOCKS blocks */
	struct wh_chunk chunks[WH_FEED_BLOCKS];
	bool lent[WH_FEED_BLOCKS]; /* rig's lock */
	struct wh_chunk end;
	struct wh_test_block block;
	struct wh_encoding encoding;
	_Atomic uint64_t dropped_nic;
	int buffer;
	uint32_t next;
	uint64_t frames;  /* pushed */
	uint64_t bytes;   /* of them */
	uint64_t dropped; /* told as lost */
	bool attached, ended;
};

/* What the files had of one interface. */
struct wh_found {
	uint64_t frames, first, last;          /* numbers */
	uint64_t gaps;                         /* places where a number was skipped */
	uint64_t lost;                         /* the sum of the drop counts */
	struct wh_interface_totals statistics; /* the last ones */
	bool has_statistics;
};

struct wh_rig {
	char directory[64];
	char path[96];
	struct wh_writer_config config;
	struct wh_writer *writer;
	bool pcap;
	struct wh_feed *feeds[WH_FEEDS_MOST];
	uint32_t feed_count;
	bool mounted;
	void (*on_error)(void); /* called in the middle of WH_WRITER_STOP_ERROR, or NULL */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t events[WH_EVENT_KINDS]; /* lock: how many of each */
	char text[WH_EVENT_KINDS][640];  /* lock: the last words of each */
	uint32_t ended[WH_FEEDS_MOST];   /* lock: by source */

	/* Filled by wh_rig_read(). */
	uint32_t file_count;
	char names[WH_FILES_MOST][96];
	uint64_t sizes[WH_FILES_MOST];
	uint64_t total_bytes;
	uint64_t sequence; /* of the last chunk, plus 1 */
	uint64_t chunks, told;
	struct wh_found found[WH_FEEDS_MOST]; /* by interface */
};

/* A rig with a directory of its own and a configuration to be changed before wh_rig_open(). */
struct wh_rig *wh_rig_new(void);
/* Puts a file system of so many bytes in memory where the directory is. False: this needs root. */
bool wh_rig_mount(struct wh_rig *rig, uint64_t bytes);
/* Removes all that it made, whatever state it is in. */
void wh_rig_drop(struct wh_rig *rig);

/* Opens the writer. */
void wh_rig_open(struct wh_rig *rig);
/* Makes a source of its own interface and attaches it; before or after the start. */
struct wh_feed *wh_rig_feed(struct wh_rig *rig);
void wh_rig_start(struct wh_rig *rig);
/* Ends what has not ended yet, waits for the writer, and closes it. Checks that each source accounts for all that it
 * was given. */
void wh_rig_finish(struct wh_rig *rig);
/* Waits until there were COUNT events of KIND. */
void wh_rig_await(struct wh_rig *rig, enum wh_writer_event kind, uint32_t count);
uint32_t wh_rig_events(struct wh_rig *rig, enum wh_writer_event kind);

/* Reads all files of the directory in order and judges them: each is whole, their chunks follow one another, the
 * frames of each source are right and in order. */
void wh_rig_read(struct wh_rig *rig);
/* The same for one file's bytes. */
void wh_rig_read_bytes(struct wh_rig *rig, const uint8_t *bytes, size_t length, const char *name);

/* Pushes a block of COUNT frames of SIZE bytes, before which LOST were lost; waits for a free block where need be. */
void wh_feed_push(struct wh_feed *feed, enum wh_transcription how, uint32_t count, uint32_t size, uint64_t lost);
/* How many frames of SIZE fill a block as the kernel fills it. */
uint32_t wh_feed_fill(const struct wh_rig *rig, uint32_t size);
/* Pushes the end, with LOST frames that were lost after the last. */
void wh_feed_end(struct wh_feed *feed, uint64_t lost);
/* Waits until the writer has told that the source has ended. */
void wh_feed_await_end(struct wh_feed *feed);

#endif
