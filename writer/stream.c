/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/stream.h"

#include <string.h>

enum { STAGES = 2, STAGE_BYTES = WH_STREAM_STAGE_BYTES / STAGES, FILLER_LEAST = 12 };
_Static_assert(WH_CHUNK_HEAD_FIXED + WH_STREAM_SOURCES * WH_CHUNK_RECORD_BYTES + 4 <= STAGE_BYTES,
	       "a head with all its records must fit a stage");

void wh_stream_begin(struct wh_stream *stream, bool pcapng, uint8_t *buffer, uint32_t capacity, uint64_t file_offset,
		     uint32_t sources)
{
	*stream = (struct wh_stream){
		.open = true,
		.pcapng = pcapng,
		.buffer = buffer,
		.capacity = capacity,
		.file_offset = file_offset,
		.record_room = sources == 0                  ? 1
			       : sources > WH_STREAM_SOURCES ? WH_STREAM_SOURCES
							     : sources,
	};
	if (!pcapng)
		return;
	stream->head = (struct wh_chunk_head){
		.type = WH_PCAPNG_CHUNK_HEAD,
		.total_length = wh_pcapng_head_bytes(stream->record_room),
		.magic = WH_CHUNK_MAGIC,
		.version = WH_CHUNK_VERSION,
	};
	stream->used = stream->head.total_length;
}

static struct wh_chunk_record *record_find(struct wh_stream *stream, uint16_t source)
{
	for (uint32_t i = 0; i < stream->head.record_count; i++)
		if (stream->records[i].source == source)
			return &stream->records[i];
	return NULL;
}

bool wh_stream_takes(const struct wh_stream *stream, uint32_t length, uint16_t source)
{
	if (stream->used + length + FILLER_LEAST > stream->capacity)
		return false;
	if (stream->head.record_count < stream->record_room)
		return true;
	for (uint32_t i = 0; i < stream->head.record_count; i++)
		if (stream->records[i].source == source)
			return true;
	return false;
}

void wh_stream_note(struct wh_stream *stream, uint16_t source, uint16_t interface, uint64_t received, uint64_t dropped,
		    uint64_t lost)
{
	struct wh_chunk_record *record = record_find(stream, source);
	if (record == NULL && stream->head.record_count < stream->record_room) {
		record = &stream->records[stream->head.record_count++];
		*record = (struct wh_chunk_record){ .source = source, .interface = interface };
	}
	stream->head.lost += lost;
	stream->head_is_new = true;
	if (record != NULL) {
		record->received = received;
		record->dropped = dropped;
	}
}

void wh_stream_count(struct wh_stream *stream, uint16_t source, uint32_t frames)
{
	for (uint32_t i = 0; i < stream->unflushed_count; i++) {
		if (stream->unflushed[i].source == source) {
			stream->unflushed[i].frames += frames;
			return;
		}
	}
	stream->unflushed[stream->unflushed_count++] = (struct wh_stream_count){ .source = source, .frames = frames };
}

uint64_t wh_stream_append_run(struct wh_stream *stream, const struct wh_chunk *chunk)
{
	if (stream->tail_record >= stream->flushed && stream->tail_record != 0 &&
	    stream->tail_source == chunk->source) {
		const uint8_t *end =
		    wh_pcapng_spare_remove(stream->buffer + stream->tail_record, stream->buffer + stream->used);
		stream->used = (uint32_t)(end - stream->buffer);
	}
	uint32_t at = stream->used;
	memcpy(stream->buffer + at, chunk->base, chunk->length);
	stream->used += chunk->length;
	stream->tail_record = chunk->spare_option != 0 && chunk->spare_lost == 0 ? at + chunk->last_record : 0;
	stream->tail_source = chunk->source;
	wh_stream_note(stream, chunk->source, chunk->interface, chunk->received_total, chunk->dropped_total,
		       chunk->lost);
	struct wh_chunk_record *record = record_find(stream, chunk->source);
	if (record != NULL)
		record->frames += chunk->frames;
	if (stream->head.frames == 0 || chunk->first_ns < stream->head.first_ns)
		stream->head.first_ns = chunk->first_ns;
	if (chunk->last_ns > stream->head.last_ns)
		stream->head.last_ns = chunk->last_ns;
	stream->head.frames += chunk->frames;
	wh_stream_count(stream, chunk->source, chunk->frames);
	return chunk->spare_option != 0 ? stream->file_offset + at + chunk->spare_option : 0;
}

uint8_t *wh_stream_room(struct wh_stream *stream, uint32_t *room)
{
	uint32_t left = stream->capacity - stream->used;
	*room = left > FILLER_LEAST ? left - FILLER_LEAST : 0;
	stream->tail_record = 0;
	return stream->buffer + stream->used;
}

void wh_stream_advance(struct wh_stream *stream, uint32_t length)
{
	stream->used += length;
}

uint32_t wh_stream_append_bytes(struct wh_stream *stream, const uint8_t *bytes, uint32_t length)
{
	uint32_t room = stream->capacity - stream->used;
	if (length > room)
		length = room;
	memcpy(stream->buffer + stream->used, bytes, length);
	stream->used += length;
	return length;
}

void wh_stream_whole(struct wh_stream *stream, uint32_t open)
{
	stream->whole = stream->used - open;
}

void wh_stream_seal(struct wh_stream *stream)
{
	uint32_t filler = wh_pcapng_filler_bytes(stream->used);
	if (filler != 0)
		wh_pcapng_filler_put(stream->buffer + stream->used, filler);
	stream->used += filler;
	stream->head.chunk_length = stream->used;
	stream->head_is_new = true;
	stream->tail_record = 0;
}

uint32_t wh_stream_flush(struct wh_stream *stream, uint64_t session, uint64_t sequence,
			 struct wh_stream_piece pieces[2])
{
	bool news = stream->used != stream->flushed;
	if (!news && !(stream->pcapng && stream->head_is_new))
		return 0;
	uint32_t count = 0;
	bool first = stream->flushed == 0;
	uint32_t whole = stream->whole > stream->flushed ? stream->whole : stream->flushed;
	if (stream->pcapng && first) {
		wh_pcapng_head_put(stream->buffer, &stream->head, stream->records);
		wh_pcapng_stamp(stream->buffer, session, sequence);
	}
	if (news)
		pieces[count++] = (struct wh_stream_piece){
			.base = stream->buffer + stream->flushed,
			.length = stream->used - stream->flushed,
			.offset = stream->file_offset + stream->flushed,
			.aligned = first && stream->used % WH_FILE_ALIGNMENT == 0,
			.open = stream->pcapng ? 0 : stream->used - whole,
		};
	if (stream->pcapng && !first) {
		uint8_t *stage = stream->buffer + stream->capacity + (size_t)(stream->stages++ % STAGES) * STAGE_BYTES;
		wh_pcapng_head_put(stage, &stream->head, stream->records);
		wh_pcapng_stamp(stage, session, sequence);
		pieces[count++] = (struct wh_stream_piece){
			.base = stage,
			.length = stream->head.total_length,
			.offset = stream->file_offset,
			.head = true,
		};
	}
	stream->flushed = stream->used;
	stream->head_is_new = false;
	stream->unflushed_count = 0;
	return count;
}
