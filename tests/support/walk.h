/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Walks the blocks of one pcapng or classic pcap file, and judges whether each is where and what it should be. Written
 * against the pcapng specification (draft-ietf-opsawg-pcapng) and docs/format.md, not against the writer's code, with
 * which it shares nothing. Little-endian files only; that is what wirehaul writes on the machines it runs on.
 *
 * Damage ends the walk with a reason and an offset. Past it, the walk looks for whole chunks at 4 KiB boundaries and
 * counts them, for they show a hole in the middle of a file.
 */
#ifndef WH_TESTS_WALK_H
#define WH_TESTS_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WH_WALK_PAGE = 4096, WH_WALK_INTERFACES = 256, WH_WALK_RECORDS = 256, WH_WALK_NAME_BYTES = 64 };

enum wh_walk_format { WH_WALK_UNKNOWN, WH_WALK_PCAPNG, WH_WALK_PCAP };

/* How a file ends. */
enum wh_walk_state {
	WH_WALK_WHOLE,     /* exactly behind a block */
	WH_WALK_TRUNCATED, /* in the middle of a block that is right as far as it goes */
	WH_WALK_DAMAGED    /* there is something at the offset that cannot be there */
};

struct wh_walk_interface {
	char name[WH_WALK_NAME_BYTES]; /* if_name; empty where there is none */
	uint32_t link_type, snapshot;
	uint64_t ns_per_tick; /* 0: a resolution this reader does not know */
	bool has_statistics;
	uint64_t received, os_dropped,
	    delivered; /* of the last Interface Statistics Block: UINT64_MAX when not given */
};

struct wh_walk_frame {
	uint64_t offset; /* of its block in the file */
	uint32_t interface;
	uint64_t time_ns;
	uint32_t captured, original;
	const uint8_t *data;
	uint32_t flags;      /* epb_flags, 0 where there are none */
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
	const uint8_t *bytes; /* the file, mapped */
	uint64_t size, at;
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
};

/* Maps the file at PATH and walks all of it. Returns false, with errno set, only when it cannot be opened or mapped. */
bool wh_walk_file(struct wh_walk *walk, const char *path, const struct wh_walk_listener *listener);

/* Unmaps the file. */
void wh_walk_close(struct wh_walk *walk);

#endif
