/* SPDX-License-Identifier: BSD-3-Clause */
/* The stream of small things, records that are merged and blocks of our own: its place in the file and its writes. */
#include <string.h>

#include "writer/output.h"

void wh_output_given_out(struct wh_writer *writer, uint64_t bytes)
{
	writer->file->length += bytes;
	atomic_fetch_add_explicit(&writer->bytes_on_disk, bytes, memory_order_relaxed);
}

static struct wh_flush *flush_acquire(struct wh_writer *writer)
{
	for (;;) {
		for (uint32_t i = 0; i < WH_WRITER_FLUSHES; i++)
			if (writer->flushes[i].jobs == 0)
				return &writer->flushes[i];
		wh_output_reap(writer, WH_NS_PER_SECOND);
	}
}

/* After a failed write nothing more goes into the file: a hole would make what follows unreadable. */
static void stream_drop(struct wh_writer *writer, bool last)
{
	struct wh_stream *stream = &writer->stream;
	for (uint32_t i = 0; i < stream->unflushed_count; i++) {
		struct wh_input *input = wh_output_input(writer, stream->unflushed[i].source);
		if (input != NULL)
			wh_output_frames_lost(input, stream->unflushed[i].frames);
	}
	stream->unflushed_count = 0;
	stream->flushed = stream->used;
	if (last)
		wh_pool_release(&writer->pool, stream->buffer);
}

void wh_output_stream_hand_out(struct wh_writer *writer, bool last)
{
	struct wh_stream *stream = &writer->stream;
	/* Two copies of the head may be out, not three. */
	while (writer->stream_flushes >= 2)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	if (writer->failed) {
		stream_drop(writer, last);
		return;
	}
	struct wh_flush *flush = flush_acquire(writer);
	memcpy(flush->counts, stream->unflushed, stream->unflushed_count * sizeof(stream->unflushed[0]));
	flush->count = stream->unflushed_count;
	flush->failed = false;
	struct wh_stream_piece pieces[2];
	uint32_t count = wh_stream_flush(stream, writer->config.session, writer->stream_sequence, pieces);
	if (count == 0) {
		if (last)
			wh_pool_release(&writer->pool, stream->buffer);
		return;
	}
	/* The sources stay until their frames are written. */
	for (uint32_t i = 0; i < flush->count; i++) {
		struct wh_input *input = wh_output_input(writer, flush->counts[i].source);
		if (input != NULL)
			input->outstanding++;
	}
	flush->jobs = count;
	flush->buffer = last ? stream->buffer : NULL;
	if (last)
		writer->stream_flushes = 0;
	else
		writer->stream_flushes++;
	for (uint32_t i = 0; i < count; i++) {
		struct wh_job *job = wh_output_job(writer);
		job->flush = flush;
		job->head = pieces[i].head;
		wh_output_queue(writer, job, &pieces[i]);
	}
}

void wh_output_stream_end(struct wh_writer *writer)
{
	struct wh_stream *stream = &writer->stream;
	if (!stream->open)
		return;
	if (stream->pcapng)
		wh_stream_seal(stream);
	/* Writes come back in order, so when the last one is back the buffer is free; those before it must not count
	 * any more against the next stretch. */
	while (writer->stream_flushes > 0)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	uint32_t used = stream->used;
	wh_output_stream_hand_out(writer, true);
	stream->open = false;
	wh_output_given_out(writer, used);
}

void wh_output_stream_begin(struct wh_writer *writer)
{
	uint8_t *buffer;
	while ((buffer = wh_pool_acquire(&writer->pool)) == NULL)
		wh_output_reap(writer, WH_NS_PER_SECOND);
	uint32_t active = 0;
	for (uint32_t i = 0; i < writer->input_count; i++)
		active += writer->inputs[i]->active;
	wh_stream_begin(&writer->stream, writer->pcapng, buffer, writer->buffer_bytes, writer->file->length, active);
	if (writer->pcapng)
		writer->stream_sequence = writer->sequence++;
}

void wh_output_stream_touched(struct wh_writer *writer)
{
	if (writer->stream_oldest_ns == 0)
		writer->stream_oldest_ns = wh_ns_monotonic();
}

uint64_t wh_output_file_length(const struct wh_writer *writer)
{
	uint64_t used = writer->stream.open ? writer->stream.used : 0;
	if (writer->file == NULL)
		return 0;
	return writer->file->length + used + (writer->pcapng ? wh_pcapng_filler_bytes(used) : 0);
}

/* Puts one block into the stream that PUT writes at a place with so much room; it returns 0 where it does not fit.
 * Returns the block's length. */
static uint32_t block_put(struct wh_writer *writer,
			  uint32_t (*put)(struct wh_writer *writer, uint32_t number, uint8_t *at, uint32_t room),
			  uint32_t number)
{
	for (int tries = 0; tries < 2; tries++) {
		if (!writer->stream.open)
			wh_output_stream_begin(writer);
		uint32_t room;
		uint8_t *at = wh_stream_room(&writer->stream, &room);
		uint32_t length = put(writer, number, at, room);
		if (length != 0) {
			wh_stream_advance(&writer->stream, length);
			wh_output_stream_touched(writer);
			return length;
		}
		wh_output_stream_end(writer);
	}
	return 0;
}

uint32_t wh_output_interface_put(struct wh_writer *writer, uint32_t number, uint8_t *at, uint32_t room)
{
	const struct wh_chain_interface *interface = &writer->interfaces[number];
	const struct wh_interface_description description = {
		.name = interface->name,
		.filter = writer->config.filter,
		.operating_system = writer->config.operating_system,
		.link_type = interface->link_type,
		.snapshot_length = writer->config.snapshot_length,
		.speed_bits = interface->speed_bits,
		.mac = interface->has_mac ? interface->mac : NULL,
	};
	return wh_pcapng_interface_put(at, room, &description);
}

static uint32_t statistics_put(struct wh_writer *writer, uint32_t number, uint8_t *at, uint32_t room)
{
	const struct wh_chain_interface *interface = &writer->interfaces[number];
	struct wh_interface_totals totals = {
		.interface = number,
		.now_ns = wh_ns_wall(),
		.start_ns = writer->start_wall_ns,
		.received = interface->past_received,
		.dropped = interface->past_dropped,
	};
	for (uint32_t i = 0; i < writer->input_count; i++) {
		const struct wh_input *input = writer->inputs[i];
		if (input->active && input->source.interface == number) {
			totals.received += input->received;
			totals.dropped += input->dropped;
		}
	}
	totals.delivered = totals.received - totals.dropped;
	if (interface->dropped_nic != NULL)
		totals.dropped_nic = atomic_load_explicit(interface->dropped_nic, memory_order_relaxed);
	return wh_pcapng_statistics_put(at, room, &totals);
}

static uint32_t mark_put(struct wh_writer *writer, uint32_t number, uint8_t *at, uint32_t room)
{
	(void)number;
	return wh_pcapng_journal_put(at, room, writer->mark_now->ns, writer->mark_now->text);
}

void wh_output_mark_put(struct wh_writer *writer, const struct wh_mark *mark)
{
	writer->mark_now = mark;
	block_put(writer, mark_put, 0);
	writer->mark_now = NULL;
}

void wh_output_statistics(struct wh_writer *writer)
{
	for (uint32_t i = 0; i < writer->interfaces_told; i++)
		block_put(writer, statistics_put, i);
}

void wh_output_interface_tell(struct wh_writer *writer)
{
	uint32_t length = block_put(writer, wh_output_interface_put, writer->interfaces_told++);
	writer->chain.header_bytes = wh_file_aligned(writer->chain.header_bytes + length);
}

void wh_output_flush(struct wh_writer *writer)
{
	if (!writer->stream.open)
		return;
	/* A pipe cannot be written anew where the head is, so there each flush is a chunk. */
	if (writer->to_stream && writer->pcapng)
		wh_output_stream_end(writer);
	else
		wh_output_stream_hand_out(writer, false);
}
