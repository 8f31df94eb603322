/* SPDX-License-Identifier: BSD-3-Clause */
#include "counter.h"

#include <stdio.h>
#include <string.h>

enum { LINK_ETHERNET = 1 };

/* Keeps the first complaint of a kind. */
static void complain(char *complaint, const struct wh_counter *counter, uint64_t offset, const char *why)
{
	if (complaint[0] == '\0')
		snprintf(complaint, WH_COUNTER_COMPLAINT_BYTES, "%s at offset %llu: %s", counter->file.path,
			 (unsigned long long)offset, why);
}

/* Offset behind a chunk; UINT64_MAX for one that was left growing. */
static uint64_t chunk_end(const struct wh_walk_chunk *head)
{
	return head->bytes == 0 ? UINT64_MAX : head->offset + head->bytes;
}

static void close_chunk(struct wh_counter *counter)
{
	struct wh_counter_chunk *chunk = &counter->chunk;
	if (!chunk->open)
		return;
	if (chunk->head.bytes == 0) {
		/* Its head was written before the frames that follow it, and cannot know of them. */
		counter->totals.growing_chunks++;
		chunk->open = false;
		return;
	}
	const char *why = NULL;
	uint64_t recorded = 0;
	for (size_t i = 0; i < chunk->head.record_count; i++)
		recorded += chunk->head.records[i].frames;
	if (chunk->frames != chunk->head.frames)
		why = "chunk head states another number of frames";
	else if (recorded != chunk->head.frames)
		why = "records of a chunk head do not add up to its frames";
	else if (chunk->frames > 0 &&
		 (chunk->first_ns != chunk->head.first_ns || chunk->last_ns != chunk->head.last_ns))
		why = "chunk head states other times";
	if (why != NULL) {
		counter->totals.chunk_errors++;
		complain(counter->totals.chunk_complaint, counter, chunk->head.offset, why);
	}
	chunk->open = false;
}

static void note_record(struct wh_counter *counter, const struct wh_walk_record *record)
{
	struct wh_counter_source *source = counter->sources;
	while (source < counter->sources + counter->source_count &&
	       (source->source != record->source || source->interface != record->interface))
		source++;
	if (source == counter->sources + WH_COUNTER_SOURCES)
		return;
	if (source == counter->sources + counter->source_count) {
		counter->source_count++;
		*source = (struct wh_counter_source){ .source = record->source, .interface = record->interface };
	}
	source->frames += record->frames;
	source->received_sum += record->received;
	source->dropped_sum += record->dropped;
	source->received_last = record->received;
	source->dropped_last = record->dropped;
}

static void on_chunk(void *context, const struct wh_walk *walk, const struct wh_walk_chunk *head)
{
	struct wh_counter *counter = context;
	struct wh_counter_totals *totals = &counter->totals;
	(void)walk;
	if (counter->chunk.open && chunk_end(&counter->chunk.head) != UINT64_MAX &&
	    chunk_end(&counter->chunk.head) != head->offset) {
		totals->chunk_errors++;
		complain(totals->chunk_complaint, counter, head->offset,
			 "chunk does not start where the last one ends");
	}
	close_chunk(counter);
	counter->chunk = (struct wh_counter_chunk){ .open = true, .head = *head };
	if (totals->sessions == 0 || head->session != counter->session) {
		totals->sessions++;
	} else if (head->sequence != counter->next_sequence) {
		totals->chunk_gaps++;
		complain(totals->chunk_complaint, counter, head->offset, "chunk sequence number jumps");
	}
	counter->session = head->session;
	counter->next_sequence = head->sequence + 1;
	counter->file.chunks++;
	totals->chunks++;
	totals->chunk_frames += head->frames;
	totals->chunk_lost += head->lost;
	for (size_t i = 0; i < head->record_count; i++)
		note_record(counter, &head->records[i]);
}

static void note_in_chunk(struct wh_counter *counter, const struct wh_walk_frame *frame)
{
	struct wh_counter_chunk *chunk = &counter->chunk;
	if (!chunk->open || frame->offset >= chunk_end(&chunk->head)) {
		counter->totals.outside_chunks++;
		return;
	}
	if (chunk->frames == 0 || frame->time_ns < chunk->first_ns)
		chunk->first_ns = frame->time_ns;
	if (frame->time_ns > chunk->last_ns)
		chunk->last_ns = frame->time_ns;
	chunk->frames++;
}

/* Counts what every frame has, whoever sent it. Returns false when it was asked to be left out. */
static bool note_any(struct wh_counter *counter, const struct wh_walk *walk, const struct wh_walk_frame *frame)
{
	struct wh_counter_totals *totals = &counter->totals;
	const struct wh_counter_orders *orders = counter->orders;
	counter->file.frames++;
	counter->file.interface_frames[frame->interface]++;
	totals->frames++;
	totals->captured_bytes += frame->captured;
	totals->drop_count += frame->drop_count;
	totals->unterminated += frame->unterminated;
	uint32_t direction = frame->flags & 3;
	totals->in += direction == 1;
	totals->out += direction == 2;
	totals->undirected += direction == 0;
	totals->back_in_time += frame->time_ns < counter->file.interface_last_ns[frame->interface];
	counter->file.interface_last_ns[frame->interface] = frame->time_ns;
	bool wanted =
	    (orders->only == 0 || orders->only == direction) &&
	    (orders->interface == NULL || strcmp(walk->interfaces[frame->interface].name, orders->interface) == 0);
	totals->skipped += !wanted;
	return wanted;
}

static void note_ours(struct wh_counter *counter, const struct wh_walk_frame *frame,
		      const struct wh_numbered_stamp *stamp)
{
	struct wh_counter_totals *totals = &counter->totals;
	int64_t age_ns = (int64_t)(frame->time_ns - stamp->sent_ns);
	if (totals->ours == 0 || age_ns < totals->age_min_ns)
		totals->age_min_ns = age_ns;
	if (totals->ours == 0 || age_ns > totals->age_max_ns)
		totals->age_max_ns = age_ns;
	totals->ours++;
	if (!wh_tallies_add(&counter->tallies, stamp))
		counter->out_of_memory = true;
}

/* The most that should have been kept of a frame. Who tells us nothing leaves it to the file. */
static uint32_t snapshot_of(const struct wh_counter_orders *orders, const struct wh_walk_interface *interface)
{
	if (orders->snapshot != UINT64_MAX)
		return (uint32_t)orders->snapshot;
	return orders->shape.size_count == 0 && interface->snapshot != 0 ? interface->snapshot : UINT32_MAX;
}

static void judge(struct wh_counter *counter, const struct wh_walk *walk, const struct wh_walk_frame *frame)
{
	const struct wh_counter_orders *orders = counter->orders;
	const struct wh_walk_interface *interface = &walk->interfaces[frame->interface];
	if (interface->link_type != LINK_ETHERNET) {
		counter->totals.other++;
		return;
	}
	struct wh_numbered_stamp stamp;
	const char *why = "";
	switch (wh_numbered_check(&orders->shape, orders->verify ? WH_NUMBERED_WHOLE : WH_NUMBERED_HEADS,
				  snapshot_of(orders, interface), frame->data, frame->captured, frame->original, &stamp,
				  &why)) {
	case WH_NUMBERED_OURS:
		note_ours(counter, frame, &stamp);
		break;
	case WH_NUMBERED_OTHER:
		counter->totals.other++;
		break;
	case WH_NUMBERED_CORRUPT:
		counter->totals.corrupt++;
		complain(counter->totals.complaint, counter, frame->offset, why);
		break;
	}
}

/* libpcap does not know raw blocks. */
static bool has_second(const struct wh_counter *counter, const struct wh_walk *walk)
{
	return counter->orders->verify && walk->format != WH_WALK_RAW;
}

static void on_frame(void *context, const struct wh_walk *walk, const struct wh_walk_frame *frame)
{
	struct wh_counter *counter = context;
	if (has_second(counter, walk)) {
		const char *why = wh_second_reader_compare(&counter->file.second, walk, frame);
		if (why != NULL)
			complain(counter->totals.complaint, counter, frame->offset, why);
	}
	note_in_chunk(counter, frame);
	if (note_any(counter, walk, frame))
		judge(counter, walk, frame);
}

static void note_file(struct wh_counter *counter, const struct wh_walk *walk)
{
	struct wh_counter_totals *totals = &counter->totals;
	totals->files++;
	totals->bytes += walk->size;
	totals->largest = walk->size > totals->largest ? walk->size : totals->largest;
	totals->unaligned += walk->size % WH_WALK_PAGE != 0;
	totals->zero_tail += walk->zero_tail;
	totals->whole += walk->state == WH_WALK_WHOLE;
	totals->truncated += walk->state == WH_WALK_TRUNCATED;
	totals->damaged += walk->state == WH_WALK_DAMAGED;
	totals->libpcap_frames += counter->file.second.frames;
	totals->libpcap_differs += counter->file.second.differs;
}

bool wh_counter_file(struct wh_counter *counter, struct wh_walk *walk, const char *path)
{
	const struct wh_walk_listener listener = { .context = counter, .frame = on_frame, .chunk = on_chunk };
	counter->file = (struct wh_counter_file){ .path = path };
	if (!wh_walk_open(walk, path, counter->orders->raw_block_bytes))
		return false;
	if (has_second(counter, walk))
		wh_second_reader_open(&counter->file.second, path);
	wh_walk_run(walk, &listener);
	/* A chunk that the walk did not get through is not to be blamed for frames that were not counted. */
	if (walk->state != WH_WALK_WHOLE)
		counter->chunk.open = false;
	close_chunk(counter);
	wh_second_reader_close(&counter->file.second);
	note_file(counter, walk);
	return true;
}

void wh_counter_open(struct wh_counter *counter, const struct wh_counter_orders *orders)
{
	*counter = (struct wh_counter){ .orders = orders };
	if (!wh_tallies_open(&counter->tallies, orders->from, orders->count, orders->threads))
		counter->out_of_memory = true;
}

void wh_counter_close(struct wh_counter *counter)
{
	wh_tallies_close(&counter->tallies);
}
