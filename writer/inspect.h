/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads capture files that are there already: pcapng of either byte order, with wirehaul's chunks or without, and
 * classic pcap. Says what is whole, and tells a listener, who may be repairing the file, of every piece that can be
 * saved, in the order of the file.
 *
 * A file is whatever somebody made of it. Each byte is walked forwards once; behind damage the way back is found by
 * chunk heads of the file's own session at 4 KiB boundaries (docs/format.md), and from such a landing the block lengths
 * lead backwards to the damage: a block that ends where a good one begins has its length in front of that place, so
 * nothing in a frame can be taken for a block. Memory is bounded whatever the file, and so is time: a few passes over
 * it at most.
 */
#ifndef WH_WRITER_INSPECT_H
#define WH_WRITER_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/status.h"
#include "writer/format_pcapng.h"

enum {
	WH_BLOCK_MOST = 16 << 20, /* bytes of a block: libpcap reads no longer ones */
	WH_CHUNK_MOST = 64 << 20, /* bytes of a chunk; the writer's are of a ring block, 1 MiB at most */
	WH_CHUNK_RECORDS_MOST = 256,
	WH_SNAPSHOT_MOST = 262144, /* libpcap's MAXIMUM_SNAPLEN: what readers take without being told */
	WH_WHAT_BYTES = 200
};

/*
 * What a repair has to say, in a block of its own within a chunk: readers skip it, wh_inspect() takes it as owned up
 * to.
 *
 *     0  type 0x80005752   4 length 68    8 version 1   10 flags (16 bits)   12 zeros
 *    16  session and  24 sequence of the next chunk, with WH_NOTE_JUMP
 *    32  chunks that are missing here   40 frames that are, as far as counters tell
 *    48  where in the damaged file      56 bytes of it that were left out   64 length again
 *
 * One of another length or version says nothing.
 */
#define WH_PCAPNG_NOTE 0x80005752u /* local use, "WR" */
enum { WH_NOTE_VERSION = 1, WH_NOTE_BYTES = 68 };
enum wh_note_flag {
	WH_NOTE_JUMP = 1,       /* the next chunk is the one that is named; counters begin anew with it */
	WH_NOTE_REBUILT = 2,    /* records or the head of this chunk were damaged: it has what could be saved */
	WH_NOTE_MADE_UP = 4,    /* this chunk's number and counters are the repair's, not the capture's */
	WH_NOTE_CLOSED = 8,     /* the file had not been closed: it ends here */
	WH_NOTE_INTERFACES = 16 /* interface descriptions were lost: those in this chunk are guesses */
};
struct wh_note {
	uint16_t flags;
	uint64_t next_session, next_sequence;
	uint64_t chunks_missing, frames_missing;
	uint64_t offset, left_out;
};

enum wh_health { WH_HEALTH_WHOLE = 0, WH_HEALTH_OPEN, WH_HEALTH_CUT, WH_HEALTH_DAMAGED, WH_HEALTH_FOREIGN };
enum wh_capture_format { WH_CAPTURE_UNKNOWN = 0, WH_CAPTURE_PCAPNG, WH_CAPTURE_PCAP };

/* What was found; the fields are those of struct wh_file_check (wirehaul.h). */
struct wh_inspection {
	enum wh_health health;
	enum wh_capture_format format;
	bool ours;
	uint64_t bytes, readable_bytes;
	uint64_t frames;
	uint64_t chunks, chunks_missing, chunks_damaged;
	uint64_t session, first_chunk, last_chunk;
	uint64_t dropped;
	uint64_t first_ns, last_ns;
	uint32_t interfaces;
	bool repaired;           /* there are notes of a repair */
	uint64_t frames_missing; /* that they tell of */
	uint64_t items;          /* pieces that the listener was told of, or would have been */
	char what[WH_WHAT_BYTES];
};

/* What has to be said in front of a chunk, in a chunk of its own. */
struct wh_item_before {
	bool jump;
	uint64_t chunks_missing, frames_missing;
	uint64_t left_out;
	uint32_t guesses;    /* interface descriptions that are missing; the repair must guess so many */
	uint32_t guess_from; /* number of the first of these interfaces */
};

enum wh_item_kind {
	WH_ITEM_SECTION, /* a section begins; its header block is at offset. Without a length: the repair must make one
			  */
	WH_ITEM_BLOCKS,  /* whole blocks outside of chunks; in classic pcap the file header and records */
	WH_ITEM_CHUNK,
	WH_ITEM_SNAPSHOT, /* the interface description at offset, told of before, must say this snapshot length */
	WH_ITEM_END       /* a section of wirehaul's ends without having been closed */
};

/* A piece of the file that can be saved. All pointers are borrowed for the call. */
struct wh_item {
	enum wh_item_kind kind;
	bool swapped; /* the section is not in this machine's byte order */
	bool is_pcap;
	bool ours; /* wirehaul wrote the section */
	uint64_t offset, length;
	/* Of a chunk. */
	bool intact;               /* can be taken as it is: LENGTH bytes */
	bool made_up;              /* its head was lost: HEAD is a guess */
	struct wh_chunk_head head; /* in this machine's byte order; frames and times are those found */
	const struct wh_chunk_record *records;
	uint64_t front, front_bytes; /* not intact: blocks in front of the damage and behind it */
	uint64_t back, back_bytes;
	uint64_t frames_missing; /* in it, by its head */
	struct wh_item_before before;
	/* Of interfaces whose description must be guessed, and of an end. */
	uint16_t link_type;
	uint32_t snapshot;
	uint32_t interfaces;
	uint64_t session, next_sequence;
};

/* Is told of every item, in order. A status other than WH_OK ends the inspection with it. */
struct wh_inspect_listener {
	void *context;
	enum wh_status (*item)(void *context, const struct wh_item *item, struct wh_error *error);
};

/* What is to be read: a descriptor of a regular file, of which SIZE bytes are looked at, or, where MEMORY is not NULL,
 * so many bytes there. Borrowed. */
struct wh_inspect_source {
	int fd;
	const uint8_t *memory;
	uint64_t size;
};

/*
 * Reads all of SOURCE. *FOUND is filled in any case; LISTENER may be NULL. Whatever the bytes are, that is not an
 * error: only a failed read, no memory, or the listener's status is. Uses up to about 20 MB of memory. Any thread;
 * blocks.
 */
WH_MUST_CHECK enum wh_status wh_inspect(const struct wh_inspect_source *source,
					const struct wh_inspect_listener *listener, struct wh_inspection *found,
					struct wh_error *error);

/* Opens PATH for reading, if it is an ordinary file: others could block for ever, or be without end. *FD is the
 * caller's to close. WH_ERR_INPUT where it is another thing, which is not opened then, or nothing of that name can be
 * opened. */
WH_MUST_CHECK enum wh_status wh_inspect_open(const char *path, int *fd, uint64_t *size, struct wh_error *error);

/* The same as wh_inspect() for the file at PATH. One that grows meanwhile is told as open where it is whole up to its
 * end. */
WH_MUST_CHECK enum wh_status wh_inspect_file(const char *path, struct wh_inspection *found, struct wh_error *error);

#endif
