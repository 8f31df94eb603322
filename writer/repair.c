/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/repair.h"

#include <byteswap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROOM = 64 * 1024, /* of what is made anew at once: a head, or a note and its guesses */
	OPTION_END = 0,
	OPTION_COMMENT = 1,
	SHB_USERAPPL = 4,
	SHB_LENGTH_AT = 16,
	IDB_SNAPSHOT_AT = 12,
	IF_NAME = 2,
	IF_TSRESOL = 9,
	NANOSECONDS = 9,
	BYTE_ORDER_MAGIC = 0x1A2B3C4D
};

/* A repair under way. */
struct repair {
	const struct wh_repair_sink *sink;
	struct wh_error *error;
	const char *application;
	uint64_t length;        /* of the new file so far, what is pending counted */
	uint64_t section_start; /* chunks are aligned to it */
	bool section_swapped;
	uint64_t pending, pending_bytes; /* a stretch of the damaged file that is still to be copied */
	bool begun;
	/* The blocks behind the section header, there and here: descriptions in them may have to be mended. */
	uint64_t header, header_bytes, header_at;
	/* What is being made. */
	bool swapped;
	size_t used;
	uint8_t bytes[ROOM];
};

/* ---- blocks in the byte order of the section ---- */

static void put_bytes(struct repair *repair, const void *bytes, size_t length)
{
	size_t padded = (length + 3) & ~(size_t)3;
	memcpy(repair->bytes + repair->used, bytes, length);
	memset(repair->bytes + repair->used + length, 0, padded - length);
	repair->used += padded;
}

static void put16_pair(struct repair *repair, uint16_t first, uint16_t second)
{
	const uint16_t pair[2] = { repair->swapped ? bswap_16(first) : first,
				   repair->swapped ? bswap_16(second) : second };
	put_bytes(repair, pair, sizeof(pair));
}

static void put32(struct repair *repair, uint32_t value)
{
	value = repair->swapped ? bswap_32(value) : value;
	put_bytes(repair, &value, sizeof(value));
}

static void put64(struct repair *repair, uint64_t value)
{
	value = repair->swapped ? bswap_64(value) : value;
	put_bytes(repair, &value, sizeof(value));
}

static void put_option(struct repair *repair, uint16_t code, const void *value, size_t length)
{
	put16_pair(repair, code, (uint16_t)length);
	put_bytes(repair, value, length);
}

/* Begins a block; returns where. */
static size_t block_open(struct repair *repair, uint32_t type)
{
	size_t start = repair->used;
	put32(repair, type);
	put32(repair, 0);
	return start;
}

static void block_close(struct repair *repair, size_t start)
{
	uint32_t length = (uint32_t)(repair->used + 4 - start);
	put32(repair, length);
	length = repair->swapped ? bswap_32(length) : length;
	memcpy(repair->bytes + start + 4, &length, sizeof(length));
}

static void put_filler(struct repair *repair, uint32_t length)
{
	static const uint8_t zeros[2 * WH_FILE_ALIGNMENT];
	if (length == 0)
		return;
	size_t start = block_open(repair, WH_PCAPNG_FILLER);
	put_bytes(repair, zeros, length - 12);
	block_close(repair, start);
}

static void put_section(struct repair *repair)
{
	static const char comment[] = "The section header of this file was lost; wirehaul repair made this one.";
	size_t start = block_open(repair, WH_PCAPNG_SHB);
	put32(repair, BYTE_ORDER_MAGIC);
	put16_pair(repair, 1, 0);
	put64(repair, UINT64_MAX);
	put_option(repair, OPTION_COMMENT, comment, sizeof(comment) - 1);
	put_option(repair, SHB_USERAPPL, repair->application, strnlen(repair->application, 256));
	put32(repair, OPTION_END);
	block_close(repair, start);
}

/* A description in the place of one that was lost. libpcap reads a file only if all have one link type and one snapshot
 * length. */
static void put_guess(struct repair *repair, const struct wh_item *item, uint32_t number)
{
	char name[32];
	int length = snprintf(name, sizeof(name), "unknown-%u", number);
	const uint8_t resolution = NANOSECONDS;
	size_t start = block_open(repair, WH_PCAPNG_IDB);
	put16_pair(repair, item->link_type, 0);
	put32(repair, item->snapshot);
	put_option(repair, IF_NAME, name, (size_t)length);
	put_option(repair, IF_TSRESOL, &resolution, sizeof(resolution));
	put32(repair, OPTION_END);
	block_close(repair, start);
}

static void put_note(struct repair *repair, const struct wh_note *note)
{
	size_t start = block_open(repair, WH_PCAPNG_NOTE);
	put16_pair(repair, WH_NOTE_VERSION, note->flags);
	put32(repair, 0);
	put64(repair, note->next_session);
	put64(repair, note->next_sequence);
	put64(repair, note->chunks_missing);
	put64(repair, note->frames_missing);
	put64(repair, note->offset);
	put64(repair, note->left_out);
	block_close(repair, start);
}

/* A head of the least length that RECORDS take. */
static void put_head(struct repair *repair, const struct wh_chunk_head *head, const struct wh_chunk_record *records)
{
	size_t start = block_open(repair, WH_PCAPNG_CHUNK_HEAD);
	put32(repair, WH_CHUNK_MAGIC);
	put16_pair(repair, WH_CHUNK_VERSION, head->record_count);
	put64(repair, head->session);
	put64(repair, head->sequence);
	put32(repair, head->chunk_length);
	put32(repair, head->frames);
	put64(repair, head->first_ns);
	put64(repair, head->last_ns);
	put64(repair, head->lost);
	for (uint32_t i = 0; i < head->record_count; i++) {
		put16_pair(repair, records[i].source, records[i].interface);
		put32(repair, records[i].frames);
		put64(repair, records[i].received);
		put64(repair, records[i].dropped);
	}
	block_close(repair, start);
}

/* ---- what goes to the sink ---- */

static enum wh_status pending_copy(struct repair *repair)
{
	uint64_t bytes = repair->pending_bytes;
	if (bytes == 0)
		return WH_OK;
	repair->pending_bytes = 0;
	return repair->sink->copy(repair->sink->context, repair->pending, bytes, repair->error);
}

/* Puts LENGTH bytes of the damaged file from OFFSET on behind what is there. */
static enum wh_status take(struct repair *repair, uint64_t offset, uint64_t length)
{
	enum wh_status status = WH_OK;
	if (length == 0)
		return WH_OK;
	if (repair->pending_bytes == 0 || repair->pending + repair->pending_bytes != offset) {
		status = pending_copy(repair);
		repair->pending = offset;
	}
	repair->pending_bytes += length;
	repair->length += length;
	repair->begun = true;
	return status;
}

/* Puts what was made behind what is there. */
static enum wh_status give(struct repair *repair)
{
	size_t used = repair->used;
	repair->used = 0;
	if (used == 0)
		return WH_OK;
	enum wh_status status = pending_copy(repair);
	if (status != WH_OK)
		return status;
	repair->length += used;
	repair->begun = true;
	return repair->sink->write(repair->sink->context, repair->bytes, used, repair->error);
}

/* A filler up to the boundary at which a chunk begins. */
static enum wh_status align(struct repair *repair)
{
	put_filler(repair, wh_pcapng_filler_bytes(repair->length - repair->section_start));
	return give(repair);
}

/* Puts a chunk without frames: HEAD's number, NOTE, and guesses of interfaces. */
static enum wh_status note_chunk_put(struct repair *repair, const struct wh_item *item, struct wh_chunk_head *head,
				     struct wh_note *note, uint32_t guesses, uint32_t guess_from)
{
	enum wh_status status = align(repair);
	if (status != WH_OK)
		return status;
	/* Twice: the length is known only when it is there. */
	for (int pass = 0; pass < 2; pass++) {
		repair->used = 0;
		put_head(repair, head, NULL);
		put_note(repair, note);
		for (uint32_t i = 0; i < guesses; i++)
			put_guess(repair, item, guess_from + i);
		put_filler(repair, wh_pcapng_filler_bytes(repair->used));
		head->chunk_length = (uint32_t)repair->used;
	}
	return give(repair);
}

/* Ends the present section, which may be another program's, at a boundary of the file: what follows has chunks. Filler
 * would make it look like one of ours, so a note without a word takes the room. */
static enum wh_status pad(struct repair *repair, bool next_swapped)
{
	static const uint8_t zeros[2 * WH_FILE_ALIGNMENT];
	uint32_t room = wh_pcapng_filler_bytes(repair->length);
	if (room == 0)
		return WH_OK;
	repair->swapped = repair->section_swapped;
	size_t start = block_open(repair, WH_PCAPNG_NOTE);
	put_bytes(repair, zeros, room - 12);
	block_close(repair, start);
	repair->swapped = next_swapped;
	return give(repair);
}

static enum wh_status section_put(struct repair *repair, const struct wh_item *item)
{
	static const uint8_t unknown[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	if (item->ours && repair->length > 0) {
		enum wh_status status = pad(repair, item->swapped);
		if (status != WH_OK)
			return status;
	}
	uint64_t start = repair->length;
	repair->section_start = start;
	repair->section_swapped = item->swapped;
	repair->header_bytes = 0;
	if (item->length == 0) {
		put_section(repair);
		return give(repair);
	}
	enum wh_status status = take(repair, item->offset, item->length);
	if (status == WH_OK)
		status = pending_copy(repair);
	/* The section may have become shorter or longer: its length is not told. */
	if (status == WH_OK)
		status = repair->sink->patch(repair->sink->context, start + SHB_LENGTH_AT, unknown, sizeof(unknown),
					     repair->error);
	return status;
}

/* Says what is missing in front of the chunk ITEM. */
static enum wh_status before_put(struct repair *repair, const struct wh_item *item)
{
	const struct wh_item_before *before = &item->before;
	struct wh_note note = {
		.flags = WH_NOTE_MADE_UP,
		.chunks_missing = before->chunks_missing,
		.frames_missing = before->frames_missing,
		.offset = item->offset - (before->left_out < item->offset ? before->left_out : item->offset),
		.left_out = before->left_out,
	};
	if (before->guesses > 0)
		note.flags |= WH_NOTE_INTERFACES;
	if (before->jump) {
		note.flags |= WH_NOTE_JUMP;
		note.next_session = item->head.session;
		note.next_sequence = item->head.sequence;
	}
	struct wh_chunk_head head = { .session = item->head.session, .sequence = item->head.sequence - 1 };
	return note_chunk_put(repair, item, &head, &note, before->guesses, before->guess_from);
}

/* Records whose frames add up to those that were found: of each source, up to what it had. */
static void records_fit(const struct wh_item *item, struct wh_chunk_head *head, struct wh_chunk_record *records)
{
	uint32_t left = head->frames;
	for (uint32_t i = 0; i < head->record_count; i++) {
		records[i] = item->records[i];
		if (records[i].frames > left)
			records[i].frames = left;
		left -= records[i].frames;
	}
	if (left == 0)
		return;
	if (head->record_count == 0)
		records[head->record_count++] = (struct wh_chunk_record){ .source = UINT16_MAX };
	records[head->record_count - 1].frames += left;
}

/* Puts what is left of a chunk under a head that tells of it. */
static enum wh_status rebuilt_put(struct repair *repair, const struct wh_item *item)
{
	struct wh_chunk_record records[WH_CHUNK_RECORDS_MOST];
	struct wh_chunk_head head = item->head;
	records_fit(item, &head, records);
	uint32_t head_bytes = wh_pcapng_head_bytes(head.record_count);
	uint64_t back_bytes = item->back_bytes;
	/* Only a hostile file has so long a chunk: then what is behind the damage is left. */
	if (head_bytes + WH_NOTE_BYTES + item->front_bytes + back_bytes > WH_CHUNK_MOST - 2 * WH_FILE_ALIGNMENT)
		back_bytes = 0;
	uint32_t used = (uint32_t)(head_bytes + WH_NOTE_BYTES + item->front_bytes + back_bytes);
	uint32_t filler = wh_pcapng_filler_bytes(used);
	head.chunk_length = used + filler;
	struct wh_note note = {
		.flags = item->made_up ? WH_NOTE_REBUILT | WH_NOTE_MADE_UP : WH_NOTE_REBUILT,
		.frames_missing = item->frames_missing,
		.offset = item->front + item->front_bytes,
	};
	enum wh_status status = align(repair);
	if (status != WH_OK)
		return status;
	put_head(repair, &head, records);
	status = give(repair);
	if (status == WH_OK)
		status = take(repair, item->front, item->front_bytes);
	put_note(repair, &note);
	if (status == WH_OK)
		status = give(repair);
	if (status == WH_OK)
		status = take(repair, item->back, back_bytes);
	repair->used = 0;
	put_filler(repair, filler);
	return status == WH_OK ? give(repair) : status;
}

static enum wh_status chunk_put(struct repair *repair, const struct wh_item *item)
{
	enum wh_status status = WH_OK;
	if (item->before.jump || item->before.guesses > 0)
		status = before_put(repair, item);
	if (status != WH_OK)
		return status;
	if (!item->intact)
		return rebuilt_put(repair, item);
	status = align(repair);
	return status == WH_OK ? take(repair, item->offset, item->length) : status;
}

/* Says that the file ends here. */
static enum wh_status end_put(struct repair *repair, const struct wh_item *item)
{
	struct wh_note note = { .flags = WH_NOTE_MADE_UP | WH_NOTE_CLOSED };
	struct wh_chunk_head head = { .session = item->session, .sequence = item->next_sequence };
	/* Readers refuse a file without a single interface. */
	return note_chunk_put(repair, item, &head, &note, item->interfaces == 0 ? 1 : 0, 0);
}

static enum wh_status blocks_put(struct repair *repair, const struct wh_item *item)
{
	if (repair->header_bytes == 0) {
		repair->header = item->offset;
		repair->header_bytes = item->length;
		repair->header_at = repair->length;
	}
	return take(repair, item->offset, item->length);
}

static enum wh_status snapshot_put(struct repair *repair, const struct wh_item *item)
{
	if (item->offset < repair->header || item->offset - repair->header >= repair->header_bytes)
		return WH_OK;
	enum wh_status status = pending_copy(repair);
	if (status != WH_OK)
		return status;
	put32(repair, item->snapshot);
	repair->used = 0;
	return repair->sink->patch(repair->sink->context,
				   repair->header_at + (item->offset - repair->header) + IDB_SNAPSHOT_AT, repair->bytes,
				   4, repair->error);
}

static enum wh_status item_put(void *context, const struct wh_item *item, struct wh_error *error)
{
	struct repair *repair = context;
	repair->error = error;
	repair->swapped = item->swapped;
	repair->used = 0;
	switch (item->kind) {
	case WH_ITEM_SECTION:
		return section_put(repair, item);
	case WH_ITEM_BLOCKS:
		return blocks_put(repair, item);
	case WH_ITEM_SNAPSHOT:
		return snapshot_put(repair, item);
	case WH_ITEM_CHUNK:
		return chunk_put(repair, item);
	case WH_ITEM_END:
	default:
		return end_put(repair, item);
	}
}

enum wh_status wh_repair(const struct wh_inspect_source *source, const struct wh_repair_sink *sink,
			 const char *application, struct wh_inspection *found, struct wh_error *error)
{
	struct repair *repair = malloc(sizeof(*repair));
	if (repair == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	*repair = (struct repair){ .sink = sink, .error = error, .application = application };
	const struct wh_inspect_listener listener = { .context = repair, .item = item_put };
	enum wh_status status = wh_inspect(source, &listener, found, error);
	repair->error = error;
	if (status == WH_OK)
		status = pending_copy(repair);
	if (status == WH_OK && !repair->begun)
		status = wh_error_set(error, WH_ERR_INPUT, "there is nothing in it that can be saved: %s", found->what);
	free(repair);
	return status;
}
