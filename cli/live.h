/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The line that a terminal shows while a capture runs. Text only: when it is drawn and where is the caller's affair.
 */
#ifndef WH_CLI_LIVE_H
#define WH_CLI_LIVE_H

#include <stddef.h>
#include <stdint.h>
#include <wirehaul.h>

/* The rate that the disk fills at is taken over so many seconds: files are written in bursts. */
#define LIVE_SAMPLES 8

struct live {
	uint64_t time_ns[LIVE_SAMPLES];
	uint64_t bytes_on_disk[LIVE_SAMPLES];
	size_t count;             /* samples taken so far; the newest is at (count - 1) % LIVE_SAMPLES */
	uint64_t frames_received; /* at the newest sample, as are the next two */
	uint64_t frames_dropped;  /* by the ring and by the adapters together */
	uint64_t bytes_captured;
};

/* Begins with NOW as the first sample, taken at NOW_NS of any clock that never goes back. */
void live_start(struct live *live, const struct wh_statistics *now, uint64_t now_ns);

/*
 * Writes the line for the statistics NOW into LINE: at most COLUMNS - 1 characters and less than SIZE bytes, ASCII.
 * What matters least is left out of a narrow line first, the drops last.
 */
void live_line(struct live *live, const struct wh_statistics *now, uint64_t now_ns, size_t columns, char *line,
	       size_t size);

#endif
