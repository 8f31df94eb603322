/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seam between a capture thread and where frames come from. A source owns a ring of blocks, filled in the layout of
 * TPACKET_V3 (by the kernel, or by a replay in its stead), and lends them out one after the other.
 *
 * Ownership: next() lends a block; whoever has it may write anywhere in it, but must keep bit 0 of the 32-bit word at
 * offset 8 set; release() gives it back. Blocks come back in any order and are filled again in the ring's order.
 * Threads: release() belongs to the writer's thread, wake() and is_attached() to any, all else to the capture thread
 * (before it is started, to the thread that opened the source).
 */
#ifndef WH_ENGINE_SOURCE_H
#define WH_ENGINE_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/status.h"

struct wh_block {
	uint8_t *base;
	uint32_t index;      /* in the ring */
	uint32_t frames;     /* at least 1 */
	uint32_t used;       /* bytes from base to behind the last frame */
	uint32_t first_slot; /* offset of the first frame's slot */
	bool losing;         /* frames were dropped that statistics() has not told yet */
};

struct wh_source;

struct wh_source_ops {
	/* Lends the oldest block that is full, false where there is none. Never blocks. */
	bool (*next)(struct wh_source *source, struct wh_block *block);
	/* Takes block INDEX back. */
	void (*release)(struct wh_source *source, uint32_t index);
	/* Sleeps until there may be a block, wake() was called, or TIMEOUT_NS have passed. */
	void (*wait)(struct wh_source *source, uint64_t timeout_ns);
	/* Sleeps until wake() was called or TIMEOUT_NS have passed, whatever comes in. Only where pause_most_ns is not
	 * 0. */
	void (*pause)(struct wh_source *source, uint64_t timeout_ns);
	/* Adds what was counted since the last call: RECEIVED includes DROPPED. Whatever is received and not dropped is
	 * in a block, now or once the block timeout has passed. */
	void (*statistics)(struct wh_source *source, uint64_t *received, uint64_t *dropped);
	/* From now on no frame is let in; what was let in before still comes out of next(). */
	void (*stop)(struct wh_source *source);
	/* Nothing will ever come any more (a replay at its end). */
	bool (*at_end)(const struct wh_source *source);
	/* Whether it still is where its frames come from; false for good once an adapter has gone. Any thread. */
	bool (*is_attached)(const struct wh_source *source);
	/* Ends a sleep in wait() or pause(), now or the next time. */
	void (*wake)(struct wh_source *source);
	/* All blocks must be back. */
	void (*close)(struct wh_source *source);
};

struct wh_source {
	const struct wh_source_ops *ops;
	uint8_t *memory; /* the blocks, one behind the other */
	uint32_t block_bytes;
	uint32_t block_count;
	int link_type;             /* DLT_* */
	uint64_t pause_most_ns;    /* the longest pause that the ring has room for, 0: never pause */
	_Atomic uint64_t filtered; /* frames refused by the filter so far, where the source itself filters */
	bool filters;
	char problem[512]; /* why it ended before its time, empty otherwise; good once at_end() is true */
};

/* The ring that is asked for. */
struct wh_ring_geometry {
	uint32_t block_bytes; /* a power of two and a multiple of the page size */
	uint32_t block_count; /* at least 2 */
	uint32_t timeout_ms;  /* a block that is not full is handed over after this */
};

struct wh_filter;

struct wh_tpacket_config {
	int interface_index;
	const char *name;          /* for messages */
	int link_type;             /* DLT_* */
	uint32_t mac_header_bytes; /* of that link type */
	struct wh_ring_geometry geometry;
	const struct wh_filter *filter; /* attached before the first frame can come in; borrowed */
	bool promiscuous;
	bool ignore_outgoing;
	int fanout_members; /* 1: none */
	int *fanout_group;  /* in and out, shared by the members: -1 until the first one has made the group */
};

/* Opens a ring on an adapter. Frames are captured from the return on. Where memory is short, a smaller ring is taken
 * (source->block_count says so). WH_ERR_PERMISSION: CAP_NET_RAW is missing. The caller owns *SOURCE. */
WH_MUST_CHECK enum wh_status wh_source_tpacket_open(const struct wh_tpacket_config *config, struct wh_source **source,
						    struct wh_error *error);

struct wh_replay_config {
	const char *path;   /* a capture file that libpcap reads; or NULL for synthetic frames */
	const char *filter; /* expression, or NULL */
	uint32_t snapshot_length;
	struct wh_ring_geometry geometry;
	/* With path NULL: */
	uint64_t synthetic_frames; /* how many, 0: until stopped */
	uint32_t synthetic_bytes;  /* of each; cut, as any other, where a block is too small for it */
};

/* Opens a replay: frames of a file, or made up, go through the same pipeline as fast as it takes them; nothing is ever
 * dropped. Needs no privilege. A made-up frame's bytes are whatever its place in the ring holds: that is noise, put
 * there here, once, which takes as long as filling the ring does; frames that are moved in their block (compaction,
 * classic pcap) leave parts of records behind in it. The caller owns *SOURCE. */
WH_MUST_CHECK enum wh_status wh_source_replay_open(const struct wh_replay_config *config, struct wh_source **source,
						   struct wh_error *error);

#endif
