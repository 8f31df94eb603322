/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stream: where everything goes that is not a sealed chunk. Runs of records from quiet links, interface blocks,
 * statistics, words of loss and all of classic pcap are put together in a buffer that is a stretch of the file. What
 * has been put there can be flushed at any time; the stretch then goes on growing behind it, so a trickle fills the
 * file without padding.
 *
 * In pcapng a stretch is a chunk: it begins with a head, which is written anew with each flush, and when it is sealed a
 * filler takes the rest up to a 4 KiB boundary. In classic pcap it is a piece of the byte stream.
 *
 * The struct belongs to the writer's thread. Pure but for the memory it is given: it says what is to be written.
 */
#ifndef WH_WRITER_STREAM_H
#define WH_WRITER_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/chunk.h"
#include "writer/format_pcapng.h"

enum {
	WH_STREAM_SOURCES = 80,      /* sources that one stretch can tell of */
	WH_STREAM_STAGE_BYTES = 4096 /* behind the buffer: two copies of a head that are out for writing */
};

struct wh_stream_count {
	uint16_t source;
	uint32_t frames;
};

struct wh_stream {
	bool open;
	bool pcapng;
	uint8_t *buffer;      /* capacity + WH_STREAM_STAGE_BYTES bytes */
	uint32_t capacity;    /* a multiple of 4 KiB */
	uint64_t file_offset; /* of the buffer's first byte, a multiple of 4 KiB */
	uint32_t used;
	uint32_t flushed; /* bytes handed out for writing */
	uint32_t whole;   /* classic pcap: where the last record ends that is whole in the file */
	uint32_t stages;  /* head copies handed out */
	bool head_is_new; /* the head says more than what was handed out */
	struct wh_chunk_head head;
	struct wh_chunk_record records[WH_STREAM_SOURCES];
	uint32_t record_room;
	struct wh_stream_count unflushed[WH_STREAM_SOURCES]; /* frames put in since the last flush, by source */
	uint32_t unflushed_count;
	uint32_t tail_record; /* offset of the last record if its spare option may still be taken out, else 0 */
	uint16_t tail_source;
};

/* Something to write. */
struct wh_stream_piece {
	const uint8_t *base;
	uint32_t length;
	uint64_t offset; /* in the file */
	bool aligned;    /* fit for direct I/O */
	bool head;       /* the head again; the frames are in the other piece */
	uint32_t open;   /* bytes at the end that belong to a record which goes on in the next piece (classic pcap) */
};

/* Begins a stretch in BUFFER at FILE_OFFSET, for up to SOURCES sources (pcapng). */
void wh_stream_begin(struct wh_stream *stream, bool pcapng, uint8_t *buffer, uint32_t capacity, uint64_t file_offset,
		     uint32_t sources);

/* pcapng: whether LENGTH bytes of SOURCE still fit. Classic pcap: always (see wh_stream_append_bytes()). */
bool wh_stream_takes(const struct wh_stream *stream, uint32_t length, uint16_t source);

/* pcapng: appends the run CHUNK (one copy) and counts it. Where the last run is of the same source, its spare option is
 * taken out again. Returns the file offset of the chunk's spare option, 0 where it has none. It must fit. */
uint64_t wh_stream_append_run(struct wh_stream *stream, const struct wh_chunk *chunk);

/* pcapng: where a block may be put, with *ROOM bytes; wh_stream_advance() takes what was used of it. */
uint8_t *wh_stream_room(struct wh_stream *stream, uint32_t *room);
void wh_stream_advance(struct wh_stream *stream, uint32_t length);

/* pcapng: writes SOURCE's totals down in the head, and that LOST more frames were lost. */
void wh_stream_note(struct wh_stream *stream, uint16_t source, uint16_t interface, uint64_t received, uint64_t dropped,
		    uint64_t lost);

/* Classic pcap: appends as much of LENGTH bytes as there is room for, and returns that. */
uint32_t wh_stream_append_bytes(struct wh_stream *stream, const uint8_t *bytes, uint32_t length);

/* Classic pcap: what was appended ends with OPEN bytes of a record that goes on in the next stretch. */
void wh_stream_whole(struct wh_stream *stream, uint32_t open);

/* Counts FRAMES of SOURCE as put in; the next flush carries them. */
void wh_stream_count(struct wh_stream *stream, uint16_t source, uint32_t frames);

/* pcapng: fills up to the boundary and makes the head final. Nothing may be appended any more. */
void wh_stream_seal(struct wh_stream *stream);

/* What must be written for all that was put in so far to be in the file: up to two pieces, the new bytes first and then
 * the head. At most two flushes with a head may be out at a time. Returns the number of pieces; 0: nothing is new. The
 * pieces' bytes are the stream's buffer and stay as they are. */
uint32_t wh_stream_flush(struct wh_stream *stream, uint64_t session, uint64_t sequence,
			 struct wh_stream_piece pieces[2]);

#endif
