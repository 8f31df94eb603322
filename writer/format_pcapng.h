/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcapng, as wirehaul writes it: pure encoders that turn a ring block, where it lies, into a chunk of a file. Block and
 * option numbers are those of draft-ietf-opsawg-pcapng; docs/format.md explains every byte. All numbers are written in
 * the machine's own byte order, which the section header tells the reader.
 *
 * A chunk is [head block][Enhanced Packet Blocks][filler block], starts on a 4 KiB boundary of the file and ends on
 * one. The head's magic number has bit 0 set and lies at offset 8, where the kernel keeps a ring block's status word:
 * so a block that has been turned into a chunk still counts as owned by user space (net/packet/af_packet.c,
 * prb_curr_blk_in_use).
 */
#ifndef WH_WRITER_FORMAT_PCAPNG_H
#define WH_WRITER_FORMAT_PCAPNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbuf/chunk.h"
#include "writer/ring_slot.h"

/* Types and codes with the top bit set are for local use: every reader must skip what it does not know. */
enum { WH_PCAPNG_EPB = 6, WH_PCAPNG_ISB = 5, WH_PCAPNG_JOURNAL = 9 };
#define WH_PCAPNG_SHB        0x0A0D0D0Au
#define WH_PCAPNG_IDB        0x00000001u
#define WH_PCAPNG_CHUNK_HEAD 0x80005748u /* local use, "WH" */
#define WH_PCAPNG_FILLER     0x80005746u /* local use, "WF": takes the room up to the next boundary */
#define WH_CHUNK_MAGIC       0x4B434857u /* "WHCK" in a little-endian file */

enum {
	WH_FILE_ALIGNMENT = 4096, /* chunks start and end on multiples of this; direct I/O asks for it */
	WH_CHUNK_VERSION = 1,
	WH_CHUNK_HEAD_FIXED = 64, /* bytes of a head before its records */
	WH_CHUNK_RECORD_BYTES = 24,
	WH_CHUNK_FIRST_SLOT = 256, /* offset of the first frame slot in a ring block that is to become a chunk */
	WH_EPB_HEADER = 28,
	WH_SPARE_OPTION_BYTES = 12 /* a filler option of the size of epb_dropcount, to be overwritten in place */
};

/* What a chunk's head says of one source. */
struct wh_chunk_record {
	uint16_t source;
	uint16_t interface;
	uint32_t frames;   /* of this source in this chunk */
	uint64_t received; /* by this source since the capture began, as of the end of this chunk */
	uint64_t dropped;
};
_Static_assert(sizeof(struct wh_chunk_record) == WH_CHUNK_RECORD_BYTES, "the record is a file format");

/* A chunk's head, without the records, the padding and the repeated length that follow it. */
struct wh_chunk_head {
	uint32_t type;         /* WH_PCAPNG_CHUNK_HEAD */
	uint32_t total_length; /* of the head block */
	uint32_t magic;        /* WH_CHUNK_MAGIC */
	uint16_t version;
	uint16_t record_count;
	uint64_t session;      /* random, the same in all files of one capture */
	uint64_t sequence;     /* counts the chunks of a chain, from 0; stamped by the writer */
	uint32_t chunk_length; /* bytes to the end of the chunk; 0 while it may still grow */
	uint32_t frames;
	uint64_t first_ns; /* earliest and latest time of a frame in it; 0 where there is none */
	uint64_t last_ns;
	uint64_t lost; /* frames lost and not told of in an earlier chunk */
};
_Static_assert(sizeof(struct wh_chunk_head) == WH_CHUNK_HEAD_FIXED, "the head is a file format");
_Static_assert(offsetof(struct wh_chunk_head, magic) == 8, "the magic must cover the ring block's status word");
_Static_assert(WH_CHUNK_MAGIC & 1u, "bit 0 tells the kernel that the block is ours");

/* What is the same for all blocks of one source. */
struct wh_encoding {
	struct wh_slot_rules rules;
	uint16_t source;
	uint16_t interface;
	bool nanoseconds; /* classic pcap only */
};

/* How a block is best transcribed. */
enum wh_transcription {
	WH_TRANSCRIBE_IN_PLACE, /* frames stay where they are; sealed chunk */
	WH_TRANSCRIBE_COMPACT,  /* small frames move down over the dead space; sealed chunk */
	WH_TRANSCRIBE_RUN       /* too little for a chunk of its own: bare records for the writer to merge */
};

/* Chooses for a block of FRAMES frames whose used part is USED_BYTES of CAPACITY bytes. Pure; see the .c file for the
 * figures behind it. */
enum wh_transcription wh_transcription_choose(uint32_t frames, uint32_t used_bytes, uint32_t capacity);

/* Bytes above which a run is never made: what a writer's stream buffer must be able to take at once. */
uint32_t wh_transcription_run_limit(uint32_t capacity);

/*
 * Turns the ring block at BLOCK (CAPACITY bytes, frames from the slot at FIRST_SLOT, FRAMES >= 1 of them) into what
 * HOW says, and fills *CHUNK: kind, base, length, frames, times, byte counts, truncated, spare_option, spare_lost
 * and last_record.
 * CHUNK's lost, received_total and dropped_total must be set before: a loss goes into the first frame's epb_dropcount.
 * Reads and writes BLOCK only; does not allocate.
 */
void wh_pcapng_encode(const struct wh_encoding *encoding, enum wh_transcription how, uint8_t *block, uint32_t capacity,
		      uint32_t first_slot, uint32_t frames, struct wh_chunk *chunk);

/* The same for classic pcap (format_pcap.c): always a run of bare records. */
void wh_pcap_encode(const struct wh_encoding *encoding, uint8_t *block, uint32_t first_slot, uint32_t frames,
		    struct wh_chunk *chunk);

/* Shortens CHUNK to its first FRAMES frames (fewer than it has, at least 1), for a capture that stops after a count. A
 * sealed chunk stays one. */
void wh_pcapng_cut(struct wh_chunk *chunk, uint32_t frames);
void wh_pcap_cut(struct wh_chunk *chunk, uint32_t frames);

/* How many records of CHUNK (classic pcap), from the one at offset *AT on, end at offset END at the latest; *AT becomes
 * the offset of the first that does not. END must lie within the chunk. */
uint32_t wh_pcap_records_within(const struct wh_chunk *chunk, uint32_t *at, uint32_t end);

/* Stamps a sealed chunk's head with what only the writer knows. */
void wh_pcapng_stamp(uint8_t *head, uint64_t session, uint64_t sequence);

/* Writes a head block of exactly HEAD->total_length bytes at AT, with HEAD->record_count records. */
void wh_pcapng_head_put(uint8_t *at, const struct wh_chunk_head *head, const struct wh_chunk_record *records);

/* Bytes of the smallest head block for so many records. */
static inline uint32_t wh_pcapng_head_bytes(uint32_t records)
{
	return WH_CHUNK_HEAD_FIXED + records * WH_CHUNK_RECORD_BYTES + 4;
}

/* Writes a systemd Journal Export Block (section 4.7) at AT that says TEXT at NS since 1970. Returns its length, 0
 * where ROOM bytes are too few. TEXT has no control characters. */
uint32_t wh_pcapng_journal_put(uint8_t *at, size_t room, uint64_t ns, const char *text);

/* Writes a filler block of LENGTH bytes (a multiple of 4, at least 12) at AT. */
void wh_pcapng_filler_put(uint8_t *at, uint32_t length);

/* The filler that follows a block which ends at END, for the file to go on at a 4 KiB boundary: 0, or at least 12. */
static inline uint32_t wh_pcapng_filler_bytes(uint64_t end)
{
	uint32_t rest = (uint32_t)(-end & (WH_FILE_ALIGNMENT - 1));
	return rest != 0 && rest < 12 ? rest + WH_FILE_ALIGNMENT : rest;
}

/* BYTES rounded up to a boundary of chunks. */
static inline uint64_t wh_file_aligned(uint64_t bytes)
{
	return (bytes + WH_FILE_ALIGNMENT - 1) & ~(uint64_t)(WH_FILE_ALIGNMENT - 1);
}

/* Overwrites the spare option of a record with epb_dropcount = LOST: the 12 bytes at OPTION. */
void wh_pcapng_dropcount_put(uint8_t option[WH_SPARE_OPTION_BYTES], uint64_t lost);

/* Takes the spare option out of the record that ends at END (the last one in a buffer, written by
 * WH_TRANSCRIBE_RUN). Returns the record's new end. */
uint8_t *wh_pcapng_spare_remove(uint8_t *record, uint8_t *end);

/* What an Interface Description Block says. Strings are borrowed for the call; NULL or 0: left out. */
struct wh_interface_description {
	const char *name;
	const char *filter; /* the capture filter's text */
	const char *operating_system;
	uint16_t link_type;
	uint32_t snapshot_length;
	uint64_t speed_bits; /* bits per second */
	const uint8_t *mac;  /* 6 bytes */
};

/* The counters in an Interface Statistics Block, since the beginning of the capture. */
struct wh_interface_totals {
	uint32_t interface;
	uint64_t now_ns, start_ns;
	uint64_t received;    /* isb_ifrecv and isb_filteraccept: what passed the filter */
	uint64_t dropped_nic; /* isb_ifdrop */
	uint64_t dropped;     /* isb_osdrop */
	uint64_t delivered;   /* isb_usrdeliv */
};

/* Each writes one block at AT, which has ROOM bytes, and returns its length, or 0 where it does not fit. */
uint32_t wh_pcapng_section_put(uint8_t *at, size_t room, const char *application, const char *operating_system);
uint32_t wh_pcapng_interface_put(uint8_t *at, size_t room, const struct wh_interface_description *description);
uint32_t wh_pcapng_statistics_put(uint8_t *at, size_t room, const struct wh_interface_totals *totals);

/* Bytes that a wh_pcapng_statistics_put() takes. */
enum { WH_PCAPNG_STATISTICS_BYTES = 20 + 7 * 12 + 8 };

/* Writes the 24-byte header of a classic pcap file. */
enum { WH_PCAP_FILE_HEADER = 24, WH_PCAP_RECORD_HEADER = 16 };
void wh_pcap_file_header_put(uint8_t *at, bool nanoseconds, uint32_t snapshot_length, uint16_t link_type);

#endif
