/* SPDX-License-Identifier: BSD-3-Clause */
#include "live.h"

#include "text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SEPARATOR "  "

/* A piece of the line. The higher its rank, the sooner it is left out. */
struct segment {
	int rank;
	bool shown;
	char text[128];
};

enum { FRAMES, BITS, TOTAL, DROPS, RING, FILES, SPACE, SEGMENTS };

static uint64_t dropped(const struct wh_statistics *now)
{
	return now->frames_dropped + now->frames_dropped_nic;
}

static void take_sample(struct live *live, const struct wh_statistics *now, uint64_t now_ns)
{
	size_t at = live->count++ % LIVE_SAMPLES;
	live->time_ns[at] = now_ns;
	live->bytes_on_disk[at] = now->bytes_on_disk;
	live->frames_received = now->frames_received;
	live->frames_dropped = dropped(now);
	live->bytes_captured = now->bytes_captured;
}

void live_start(struct live *live, const struct wh_statistics *now, uint64_t now_ns)
{
	*live = (struct live){ .count = 0 };
	take_sample(live, now, now_ns);
}

/* What was added per second; 0 where a counter or the clock stands still. */
static double rate(uint64_t before, uint64_t after, uint64_t before_ns, uint64_t after_ns)
{
	if (after <= before || after_ns <= before_ns)
		return 0;
	return (double)(after - before) * 1e9 / (double)(after_ns - before_ns);
}

static void describe_space(const struct live *live, const struct wh_statistics *now, struct segment *segment)
{
	if (now->free_percent < 0) {
		snprintf(segment->text, sizeof(segment->text), "free -");
		return;
	}
	size_t newest = (live->count - 1) % LIVE_SAMPLES;
	size_t oldest = live->count < LIVE_SAMPLES ? 0 : live->count % LIVE_SAMPLES;
	double filling = rate(live->bytes_on_disk[oldest], live->bytes_on_disk[newest], live->time_ns[oldest],
			      live->time_ns[newest]);
	struct text left = { "-" };
	if (filling > 0)
		left = text_duration((double)now->free_bytes_to_limit / filling);
	snprintf(segment->text, sizeof(segment->text), "free %.1f %% (limit in %s)", now->free_percent, left.s);
}

static size_t shown_length(const struct segment *segments)
{
	size_t length = 0;
	for (size_t i = 0; i < SEGMENTS; i++) {
		if (segments[i].shown)
			length += strlen(segments[i].text) + (length > 0 ? strlen(SEPARATOR) : 0);
	}
	return length;
}

/* Hides the segments of the highest ranks until the rest fits; the one that matters most stays in any case. */
static void fit(struct segment *segments, size_t width)
{
	for (int rank = SEGMENTS - 1; rank > 0 && shown_length(segments) > width; rank--) {
		for (size_t i = 0; i < SEGMENTS; i++) {
			if (segments[i].rank == rank)
				segments[i].shown = false;
		}
	}
}

static void join(const struct segment *segments, size_t width, char *line, size_t size)
{
	char whole[SEGMENTS * sizeof(segments[0].text)];
	char *at = whole;
	for (size_t i = 0; i < SEGMENTS; i++) {
		if (!segments[i].shown)
			continue;
		if (at != whole)
			at = stpcpy(at, SEPARATOR);
		at = stpcpy(at, segments[i].text);
	}
	*at = '\0';
	if (width > INT32_MAX)
		width = INT32_MAX;
	snprintf(line, size, "%.*s", (int)width, whole);
}

void live_line(struct live *live, const struct wh_statistics *now, uint64_t now_ns, size_t columns, char *line,
	       size_t size)
{
	const struct live before = *live;
	uint64_t before_ns = before.time_ns[(before.count - 1) % LIVE_SAMPLES];
	take_sample(live, now, now_ns);

	struct segment segments[SEGMENTS] = {
		[DROPS] = { .rank = 0 }, [FRAMES] = { .rank = 1 }, [BITS] = { .rank = 2 },  [SPACE] = { .rank = 3 },
		[RING] = { .rank = 4 },  [TOTAL] = { .rank = 5 },  [FILES] = { .rank = 6 },
	};
	for (size_t i = 0; i < SEGMENTS; i++)
		segments[i].shown = true;
	double frames = rate(before.frames_received, now->frames_received, before_ns, now_ns);
	double bits = 8 * rate(before.bytes_captured, now->bytes_captured, before_ns, now_ns);
	uint64_t drops = dropped(now);
	uint64_t new_drops = drops > before.frames_dropped ? drops - before.frames_dropped : 0;
	const size_t room = sizeof(segments[0].text);
	snprintf(segments[FRAMES].text, room, "%s frames/s", text_count((uint64_t)(frames + 0.5)).s);
	snprintf(segments[BITS].text, room, "%s", text_scaled(bits, "bit/s").s);
	snprintf(segments[TOTAL].text, room, "total %s", text_count(now->frames_received).s);
	snprintf(segments[DROPS].text, room, "dropped %s (+%s)", text_count(drops).s, text_count(new_drops).s);
	snprintf(segments[RING].text, room, "ring %.0f %%", now->ring_fill_percent);
	snprintf(segments[FILES].text, room, "file %s", text_count(now->files).s);
	describe_space(live, now, &segments[SPACE]);

	/* The last column stays free: a terminal may begin a new line when it is filled. */
	size_t width = columns > 1 ? columns - 1 : 1;
	fit(segments, width);
	join(segments, width, line, size);
}
