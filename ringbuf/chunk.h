/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unit that a capture thread hands to a writer thread: the frames of one ring block, already in the form of the
 * file, where the kernel put them.
 *
 * Ownership: a chunk belongs to its source until it is pushed, to the writer after that, and goes back to the source
 * with wh_chunk_release(), which the writer's thread calls exactly once, when the last byte is on disk or has been
 * copied elsewhere. The bytes at base go with the chunk. Every field is written by the capture thread before the push
 * and by the writer's thread after it.
 */
#ifndef WH_RINGBUF_CHUNK_H
#define WH_RINGBUF_CHUNK_H

#include <stdint.h>

enum wh_chunk_kind {
	WH_CHUNK_SEALED, /* a whole chunk of the file: starts with a head, its length is a multiple of 4 KiB */
	WH_CHUNK_RUN,    /* bare records, to be merged with others in the writer's stream buffer */
	WH_CHUNK_END     /* no frames: the source has ended; carries the drops after its last frame */
};

/* No buffer of the sink's registered set. */
enum { WH_BUFFER_NONE = -1 };

struct wh_chunk {
	enum wh_chunk_kind kind;
	uint8_t *base;      /* first byte of the head (SEALED) or of the first record (RUN) */
	uint32_t length;    /* bytes */
	uint32_t frames;    /* frames in it */
	uint16_t source;    /* which capture thread, from 0 over the whole engine */
	uint16_t interface; /* pcapng interface id in the chain's files */
	uint64_t first_ns;  /* earliest and latest time of a frame in it, ns since 1970 */
	uint64_t last_ns;
	uint64_t frame_bytes;    /* captured bytes of the frames, no overhead */
	uint64_t copied_bytes;   /* of those, moved or copied in user space so far */
	uint32_t truncated;      /* frames cut at the snapshot length or the block */
	uint64_t lost;           /* frames the source dropped before the first frame of this chunk, not told before */
	uint64_t received_total; /* of this source, as of this chunk: frames received, dropped ones too */
	uint64_t dropped_total;  /* of this source, as of this chunk */
	uint32_t spare_option;   /* offset from base of the last frame's spare option (see format_pcapng.h), 0: none */
	uint64_t spare_lost;     /* what stands in that option already where it is a drop count, else 0 */
	uint32_t last_record;    /* offset from base of the last frame's record */
	int buffer;              /* index in the sink's registered buffers, or WH_BUFFER_NONE */
	uint32_t index;          /* the owner's own number of it */
	void *owner;
	void (*release)(struct wh_chunk *chunk); /* see wh_chunk_release() */
};

/* Writer's thread. Gives CHUNK and its bytes back to the source; neither may be touched afterwards. Does not block. */
static inline void wh_chunk_release(struct wh_chunk *chunk)
{
	chunk->release(chunk);
}

#endif
