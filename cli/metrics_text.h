/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The statistics of a capture in the text format of Prometheus, version 0.0.4. Pure functions: nothing here looks at a
 * clock, a file or a socket. May be called from any thread; none blocks. docs/metrics.md lists what is told.
 */
#ifndef WH_CLI_METRICS_TEXT_H
#define WH_CLI_METRICS_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <wirehaul.h>

/* What is put into words. The pointers are borrowed. */
struct metrics_view {
	const struct wh_statistics *sum;
	const struct wh_interface_statistics *interfaces; /* each name is there once */
	size_t interface_count;
	double fill_rate; /* bytes a second by which the files grow; negative: not known yet */
};

/*
 * Puts VIEW into words: UTF-8 whose last byte is a newline, and a 0 after it. The caller frees it. *LENGTH is without
 * the 0. NULL where there is no memory.
 */
char *metrics_text(const struct metrics_view *view, size_t *length);

/* Of a name of at most 63 bytes. */
enum { METRICS_LABEL_MAX = 3 * 63 + 1 };

/*
 * Puts TEXT into LABEL as what stands between the quotes of a label: '"', '\' and line ends with a '\' in front of
 * them. Bytes that are no UTF-8 and control characters become '/' and two hexadecimal digits; since no adapter has a
 * '/' in its name, two of them never have the same label. Less than SIZE bytes are used; what finds no room is left
 * out.
 */
void metrics_label(const char *text, char *label, size_t size);

/*
 * Raises the counters of *NOW that are below what BEFORE says of the same capture. The library corrects its figures
 * downwards by what turns out not to be part of the capture, as after -c; a counter that goes back means to Prometheus
 * that it began anew at 0, and so that all of it was counted once more.
 */
void metrics_keep(struct wh_statistics *now, const struct wh_statistics *before);
void metrics_keep_interface(struct wh_interface_statistics *now, const struct wh_interface_statistics *before);

/* ---- how fast the files grow ---- */

/*
 * One sample a second at most, so that they reach over a minute at least. Zeroed memory is one that knows nothing; the
 * size of the files is known from the first sample on, a rate from the second.
 */
enum { METRICS_SAMPLES = 64 };
struct metrics_rate {
	uint64_t time_ns[METRICS_SAMPLES];
	uint64_t bytes[METRICS_SAMPLES];
	size_t count; /* samples taken so far; the newest is at (count - 1) % METRICS_SAMPLES */
};

/*
 * Bytes a second since the oldest sample of the last minute, or, where all are older, since the newest; then remembers
 * that there are BYTES at NOW_NS, of a clock that never goes back, if the newest sample is a second old. Negative where
 * no sample is that old.
 */
double metrics_rate_take(struct metrics_rate *rate, uint64_t now_ns, uint64_t bytes);

#endif
