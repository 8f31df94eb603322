/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Walks the frames of one capture file, and judges whether each block is where and what it should be. Three formats:
 *
 *   pcapng  of either byte order, as the specification (draft-ietf-opsawg-pcapng) and docs/format.md have it
 *   pcap    the classic one, of either byte order, with microseconds or nanoseconds
 *   raw     blocks of a TPACKET_V3 ring as the kernel filled them (linux/if_packet.h), one after the other, as
 * stenotype writes them; the rest of the file may be zeros. Of Ethernet only: the blocks do not say. A VLAN tag that
 * the kernel has moved to the frame's header is put back
 *
 * Written against those, not against the writer's code, with which it shares nothing.
 *
 * Damage ends the walk with a reason and an offset. Past it, the walk looks for whole chunks at 4 KiB boundaries and
 * counts them, for they show a hole in the middle of a file.
 */
#ifndef WH_FRAMES_WALK_H
#define WH_FRAMES_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	WH_WALK_PAGE = 4096,
	WH_WALK_INTERFACES = 256,
	WH_WALK_RECORDS = 256,
	WH_WALK_NAME_BYTES = 64,
	WH_WALK_TAGGED_BYTES = 1 << 18, /* longest frame that a tag can be put back into */
	WH_WALK_BLOCK_BYTES_MAX = 1 << 30
};

enum wh_walk_format { WH_WALK_UNKNOWN, WH_WALK_PCAPNG, WH_WALK_PCAP, WH_WALK_RAW };

/* How a file ends. */
enum wh_walk_state {
	WH_WALK_WHOLE,     /* exactly behind a block */
	WH_WALK_TRUNCATED, /* in the middle of a block that is right as far as it goes */
	WH_WALK_DAMAGED    /* there is something at the offset that cannot be there */
};

struct wh_walk_interface {
	char name[WH_WALK_NAME_BYTES]; /* if_name; empty where there is none */
	uint32_t link_type, snapshot;  /* snapshot 0: no limit is told */
	uint64_t ns_per_tick;          /* 0: a resolution this reader does not know */
	bool has_statistics;
	/* Of the last Interface Statistics Block: UINT64_MAX when not given. */
	uint64_t received, os_dropped, delivered;
};

struct wh_walk_frame {
	uint64_t offset; /* of its block in the file */
	uint32_t interface;
	uint64_t time_ns;
	uint32_t captured, original;
	const uint8_t *data; /* until the listener returns */
	uint32_t flags;      /* epb_flags, 0 where there are none; of a raw block's frame its direction, as there */
	uint64_t drop_count; /* epb_dropcount, 0 where there is none */
	bool unterminated;   /* has options but no opt_endofopt */
};

/* One {source, interface, ...} record of a chunk's head. */
struct wh_walk_record {
	uint16_t source, interface;
	uint32_t frames;
	uint64_t received, dropped;
};

struct wh_walk_chunk {
	uint64_t offset;
	uint32_t magic;
	uint16_t version;
	uint64_t session, sequence;
	uint32_t bytes; /* 0: it was still growing when the file ended, and reaches to the next chunk */
	uint32_t frames;
	uint64_t first_ns, last_ns, lost;
	size_t record_count;
	struct wh_walk_record records[WH_WALK_RECORDS];
};

struct wh_walk;

/* Who is told what the walk comes by. CHUNK is told before the frames of it. */
struct wh_walk_listener {
	void *context;
	void (*frame)(void *context, const struct wh_walk *walk, const struct wh_walk_frame *frame);
	void (*chunk)(void *context, const struct wh_walk *walk, const struct wh_walk_chunk *chunk);
};

struct wh_walk {
	const uint8_t *bytes; /* the file */
	uint64_t size, at;
	uint64_t end; /* of what is to be walked: in front of the zeros behind the last raw block, else SIZE */
	uint32_t raw_block_bytes;
	bool mapped, swapped; /* swapped: not of this machine's byte order */
	enum wh_walk_format format;
	enum wh_walk_state state;
	uint64_t offset;        /* of the first byte that is not part of a good block */
	const char *reason;     /* why the walk ended there; "" when the file is whole */
	uint64_t zero_tail;     /* zero bytes at the end of the file, behind the last good block */
	uint64_t chunks_behind; /* heads of chunks found behind the damage */
	uint64_t sections, unknown_blocks;
	struct wh_walk_interface interfaces[WH_WALK_INTERFACES];
	uint32_t interface_count;
	const struct wh_walk_listener *listener;
	uint8_t tagged[WH_WALK_TAGGED_BYTES]; /* a frame with its tag put back */
};

/*
 * Maps the file at PATH and recognises its format. A raw block has RAW_BLOCK_BYTES, from WH_WALK_PAGE to
 * WH_WALK_BLOCK_BYTES_MAX. Returns false, with REASON set, only when it cannot be opened or mapped. Ended with
 * wh_walk_close(), in either case.
 */
bool wh_walk_open(struct wh_walk *walk, const char *path, uint32_t raw_block_bytes);

/* The same for a file in memory, which is borrowed until wh_walk_close(). */
void wh_walk_open_bytes(struct wh_walk *walk, const uint8_t *bytes, uint64_t size, uint32_t raw_block_bytes);

/* Walks all of it, once. */
void wh_walk_run(struct wh_walk *walk, const struct wh_walk_listener *listener);

void wh_walk_close(struct wh_walk *walk);

#endif
