/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the inspection share: inspect.c (the walk), inspect_window.c (reading), inspect_block.c (rows of
 * blocks), inspect_content.c (what is in one), inspect_chunk.c (chunks), inspect_order.c (their order and counters),
 * inspect_landing.c (the way back behind damage). For these alone. */
#ifndef WH_WRITER_INSPECT_STATE_H
#define WH_WRITER_INSPECT_STATE_H

#include <byteswap.h>
#include <string.h>

#include "writer/inspect.h"

enum {
	WH_INSPECT_SOURCES = 256, /* whose counters are followed */
	WH_INSPECT_GAPS = 64,     /* gaps in the sequence that are remembered */
	WH_INSPECT_INTERFACES = 65535,
	WH_INSPECT_GUESSES = 256,  /* descriptions that may be lost at once */
	WH_INSPECT_STRAYS = 16,    /* how often the search for a section off the boundaries may begin anew */
	WH_INSPECT_STRANGERS = 16, /* how often one may be made for heads of any session */
	WH_BYTE_ORDER_MAGIC = 0x1A2B3C4D,
	WH_BLOCK_LEAST = 12, /* bytes: type, length, length again */
	WH_BLOCK_CUSTOM = 0x00000BAD,
	WH_BLOCK_CUSTOM_UNCOPIED = 0x40000BAD
};

/* Numbers of a file; SWAPPED: not in this machine's byte order. */
static inline uint16_t wh_get16(bool swapped, const uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof(value));
	return swapped ? bswap_16(value) : value;
}

static inline uint32_t wh_get32(bool swapped, const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, sizeof(value));
	return swapped ? bswap_32(value) : value;
}

static inline uint64_t wh_get64(bool swapped, const uint8_t *at)
{
	uint64_t value;
	memcpy(&value, at, sizeof(value));
	return swapped ? bswap_64(value) : value;
}

/* Sums that a hostile file must not wrap. */
static inline uint64_t wh_sum(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* ---- inspect_window.c: a stretch of the file in memory ---- */

struct wh_window {
	int fd;
	const uint8_t *memory; /* the whole file, or NULL: then FD */
	uint64_t size;         /* falls where the file turns out to be shorter */
	uint8_t *buffer;       /* owned */
	size_t capacity, length;
	uint64_t start; /* in the file, of the buffer's first byte */
	bool failed;    /* a read or an allocation; ERROR says why */
	struct wh_error *error;
};

/* The LENGTH bytes (up to WH_BLOCK_MOST and a page) at OFFSET, valid until the next call. NULL: the file ends before
 * them, or FAILED is set. */
const uint8_t *wh_window_at(struct wh_window *window, uint64_t offset, uint64_t length);
/* Where, at OFFSET or behind it, the file has something else than a hole, as far as the file system tells. */
uint64_t wh_window_data(const struct wh_window *window, uint64_t offset);
void wh_window_close(struct wh_window *window);

/* ---- the state of a walk ---- */

/* An interface as its description has it. */
struct wh_described {
	uint32_t snapshot; /* 0: no limit */
	uint16_t link_type;
	uint8_t resolution; /* if_tsresol */
	int64_t offset_s;   /* if_tsoffset */
	uint64_t at;        /* in the file, of the description; 0: it is a guess */
};

struct wh_source_count {
	uint16_t source;
	uint64_t delivered; /* received less dropped, as of its last record */
};

/* Sequence numbers that were passed over. */
struct wh_gap {
	uint64_t first, last;
	bool damaged; /* it was there, and not whole */
};

/* The section that the walk is in. */
struct wh_section {
	bool known; /* there is one: found, or made up because its header is lost */
	bool swapped;
	bool named;     /* its header says that wirehaul wrote it, though another program may have rewritten it since */
	bool ours;      /* it has chunks, or filler */
	uint64_t start; /* in the file; chunks are aligned to it */
	struct wh_described *interfaces;
	uint32_t interface_count, interface_room;
	bool simple;                 /* it has Simple Packet Blocks */
	bool losses;                 /* something is missing, and descriptions of interfaces may be */
	uint64_t header, header_end; /* the first blocks outside of chunks; 0: not there yet */
	bool closed;                 /* statistics, or a repair's word for it, are behind the last frame */

	bool has_session, has_sequence;
	uint64_t session;
	/* The last one that two chunks in a row had: one damaged head must not hide all that follow. */
	bool has_sure_session;
	uint64_t sure_session;
	uint64_t expected;        /* sequence of the next chunk */
	uint64_t lowest, highest; /* that were seen; in between all were, but for the gaps */
	uint64_t loose_frames;    /* found since the last chunk that has a number */
	struct wh_gap gaps[WH_INSPECT_GAPS];
	uint32_t gap_count;
	bool gaps_full; /* there were more: then nothing is taken for a double */
	struct wh_source_count sources[WH_INSPECT_SOURCES];
	uint32_t source_count;
	bool unsure;    /* what was found last has no number: the next chunk must be announced */
	bool announced; /* by a note: the next chunk is this one */
	uint64_t announced_session, announced_sequence;
};

/* What a row of blocks holds. */
struct wh_tally {
	uint64_t frames;
	uint64_t first_ticks, last_ticks; /* as they stand in the blocks */
	uint64_t first_ns, last_ns;
	uint64_t lost;           /* by the frames' epb_dropcount */
	uint32_t described;      /* interface descriptions */
	uint32_t undescribed;    /* descriptions that are missing for the interfaces that are used */
	uint64_t undescribed_at; /* the first block of such an interface */
	uint32_t too_long;       /* one more than the interface of a frame that is longer than its snapshot length */
	uint64_t too_long_at;
	uint32_t longest; /* bytes of its frames that are */
	bool statistics;  /* behind the last frame */
	bool wrong_sum;   /* statistics that do not add up */
	bool noted;
	struct wh_note note;     /* the last one */
	uint64_t chunks_missing; /* by all notes */
	uint64_t frames_missing;
};

/* A head as it was found, in this machine's byte order. */
struct wh_found_head {
	struct wh_chunk_head head;
	struct wh_chunk_record records[WH_CHUNK_RECORDS_MOST];
};

struct wh_walker {
	struct wh_window window;
	const struct wh_inspect_listener *listener; /* or NULL */
	struct wh_inspection *found;
	struct wh_error *error;
	enum wh_status status; /* the listener's, or of a failed read */
	struct wh_section section;
	bool reader_stopped; /* no reader gets further than found->readable_bytes */
	uint64_t left_out;   /* bytes since the last item that are part of none */
	uint32_t strays_left, strangers_left;
	struct wh_found_head head; /* of the present chunk */
	struct wh_found_head peek; /* of the chunk at a landing */
};

static inline bool wh_walker_ended(const struct wh_walker *walker)
{
	return walker->status != WH_OK || walker->window.failed;
}

static inline bool wh_is_aligned(const struct wh_section *section, uint64_t at)
{
	return ((at - section->start) & (WH_FILE_ALIGNMENT - 1)) == 0;
}

/* ---- inspect.c ---- */

/* Takes note that the file is no better than HEALTH, and keeps the first word on the worst. */
void wh_walker_worsen(struct wh_walker *walker, enum wh_health health, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Readers stop at offset AT at the latest. */
void wh_walker_stop_reader(struct wh_walker *walker, uint64_t at);
/* Tells the listener of ITEM, after filling what the walker knows. */
void wh_walker_tell(struct wh_walker *walker, struct wh_item *item);
/* Counts what is in TALLY as saved. */
void wh_walker_count(struct wh_walker *walker, const struct wh_tally *tally);
/* Begins a section at AT; ORDER known, header not there (its first chunk was found). */
void wh_walker_section_make_up(struct wh_walker *walker, uint64_t at, bool swapped);

/* ---- inspect_block.c ---- */

enum wh_row_kind { WH_ROW_OUTSIDE, WH_ROW_SEALED, WH_ROW_GROWING };
enum wh_row_end {
	WH_ROW_REACHED, /* the end that was given */
	WH_ROW_HEAD,    /* a chunk's head begins here */
	WH_ROW_SECTION, /* a section header does */
	WH_ROW_CUT,     /* the file ends within a block that is right as far as it goes */
	WH_ROW_BAD      /* this is no block, or one that cannot be here; *REASON says why */
};

/* Walks blocks from *AT to END (not beyond the file) and counts them into TALLY; *AT becomes the end of the last good
 * one. OUTSIDE and GROWING end at a head or a section header; in a SEALED chunk there may be none. LIMIT is where the
 * chunk would end if the file did not end before: END where it does not. */
enum wh_row_end wh_inspect_row(struct wh_walker *walker, enum wh_row_kind kind, uint64_t *at, uint64_t end,
			       uint64_t limit, struct wh_tally *tally, const char **reason);

/* Where the blocks begin that lead without a gap to END, not before LOWEST; END itself where there are none. */
uint64_t wh_inspect_backwards(struct wh_walker *walker, uint64_t lowest, uint64_t end);

/* Counts the blocks from *BACK to END, which wh_inspect_backwards() found, into TALLY. *BACK moves behind those that
 * are blocks by their lengths only. */
void wh_inspect_count_back(struct wh_walker *walker, uint64_t *back, uint64_t end, struct wh_tally *tally);

/* ---- inspect_content.c ---- */

/* What is wrong with the block of TYPE at AT, LENGTH bytes, in a row of KIND, or NULL: then what it holds is counted
 * into TALLY, and only then. */
const char *wh_inspect_content(struct wh_walker *walker, enum wh_row_kind kind, uint64_t at, const uint8_t *block,
			       uint32_t type, uint32_t length, struct wh_tally *tally);

/* Whether the section header at AT is a good one; *SWAPPED and *LENGTH are its. REASON may be NULL. */
bool wh_inspect_section_header(struct wh_walker *walker, uint64_t at, bool *swapped, uint32_t *length, bool *ours,
			       const char **reason);

/* Whether frames of LINK_TYPE may be longer than WH_SNAPSHOT_MOST. */
bool wh_inspect_takes_long(uint16_t link_type);

/* Makes the table of interfaces longer by COUNT guesses from FROM on. False: no memory. */
bool wh_inspect_guess(struct wh_walker *walker, uint32_t from, uint32_t count);

/* ---- inspect_chunk.c ---- */

/* Whether there is a chunk's head at AT, in that byte order, on a boundary of the section; it is put into *HEAD. */
bool wh_inspect_head(struct wh_walker *walker, uint64_t at, bool swapped, struct wh_found_head *head);

/* Takes the chunk, or what is left of one, whose head's type is at *AT; *AT becomes where the walk goes on. */
void wh_inspect_chunk(struct wh_walker *walker, uint64_t *at);

/* The walk has come to a fault at FAULT: finds where the file can be read again, takes what leads back from there, and
 * makes *AT that place. CUT: it may be that the file simply ends; REASON is why it may not go on. */
void wh_inspect_recover(struct wh_walker *walker, uint64_t fault, bool cut, const char *reason, uint64_t *at);

/* ---- inspect_order.c ---- */

/* Looks at session, number and counters of the chunk at AT, whose head is walker->head, and fills *BEFORE with what has
 * to be said in front of it. REBUILT: a repair has taken frames out of it. False: it is there twice, and is left out.
 */
bool wh_inspect_order(struct wh_walker *walker, uint64_t at, bool rebuilt, struct wh_item_before *before);

/*
 * Whether the chunk at AT, whose head is walker->head, has a wrong session or number: the chunk behind it and the
 * counters show what they should be, and so they are put right in walker->head. Moves walker->peek.
 */
bool wh_inspect_renumber(struct wh_walker *walker, uint64_t at);

/* Chunks FIRST to LAST have not been seen, or, with DAMAGED, not whole: they are welcome later. */
void wh_inspect_passed_over(struct wh_section *section, uint64_t first, uint64_t last, bool damaged);

/* ---- inspect_landing.c ---- */

enum wh_landing_kind { WH_LANDING_END, WH_LANDING_HEAD, WH_LANDING_SECTION };
struct wh_landing {
	enum wh_landing_kind kind;
	uint64_t at;
	bool swapped; /* of a head where no section is known */
};

/* Where, at FROM or behind it, the file can be read again. With CHUNK_END (0: not known) of the damaged chunk with
 * SEQUENCE. A head is put into walker->peek. */
struct wh_landing wh_inspect_landing(struct wh_walker *walker, uint64_t from, uint64_t chunk_end, uint64_t sequence);

#endif
