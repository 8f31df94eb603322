/* SPDX-License-Identifier: BSD-3-Clause */
/* The blocks around the frames: section, interfaces, statistics, chunk heads and filler. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "writer/format_pcapng.h"

/* Option codes by block (draft-ietf-opsawg-pcapng, sections 4.1, 4.2 and 4.6). */
enum {
	OPTION_END = 0,
	SHB_OS = 3,
	SHB_USERAPPL = 4,
	IF_NAME = 2,
	IF_MACADDR = 6,
	IF_SPEED = 8,
	IF_TSRESOL = 9,
	IF_FILTER = 11,
	IF_OS = 12,
	ISB_STARTTIME = 2,
	ISB_ENDTIME = 3,
	ISB_IFRECV = 4,
	ISB_IFDROP = 5,
	ISB_FILTERACCEPT = 6,
	ISB_OSDROP = 7,
	ISB_USRDELIV = 8
};
enum { BYTE_ORDER_MAGIC = 0x1A2B3C4D, VERSION_MAJOR = 1, VERSION_MINOR = 0, TEXT_MOST = 4096 };

/* A block being written; once something does not fit, FULL stays set and nothing more is written. */
struct block {
	uint8_t *start;
	size_t used;
	size_t room;
	bool full;
};

static void append(struct block *block, const void *bytes, size_t length)
{
	size_t padded = (length + 3) & ~(size_t)3;
	if (block->full || block->used + padded > block->room) {
		block->full = true;
		return;
	}
	memcpy(block->start + block->used, bytes, length);
	memset(block->start + block->used + length, 0, padded - length);
	block->used += padded;
}

static void append32(struct block *block, uint32_t value)
{
	append(block, &value, sizeof(value));
}

static void append_option(struct block *block, uint16_t code, const void *value, size_t length)
{
	const uint16_t head[2] = { code, (uint16_t)length };
	append(block, head, sizeof(head));
	append(block, value, length);
}

static void append_text(struct block *block, uint16_t code, const char *text)
{
	if (text != NULL && text[0] != '\0')
		append_option(block, code, text, strnlen(text, TEXT_MOST));
}

static struct block block_open(uint8_t *at, size_t room, uint32_t type)
{
	struct block block = { .start = at, .room = room };
	append32(&block, type);
	append32(&block, 0);
	return block;
}

static uint32_t block_end(struct block *block)
{
	uint32_t length = (uint32_t)block->used + 4;
	append32(block, length);
	if (block->full)
		return 0;
	memcpy(block->start + 4, &length, sizeof(length));
	return length;
}

static uint32_t block_close(struct block *block)
{
	append32(block, OPTION_END);
	return block_end(block);
}

uint32_t wh_pcapng_section_put(uint8_t *at, size_t room, const char *application, const char *operating_system)
{
	struct block block = block_open(at, room, WH_PCAPNG_SHB);
	append32(&block, BYTE_ORDER_MAGIC);
	const uint16_t version[2] = { VERSION_MAJOR, VERSION_MINOR };
	append(&block, version, sizeof(version));
	const int64_t section_length = -1; /* not known while it grows */
	append(&block, &section_length, sizeof(section_length));
	append_text(&block, SHB_OS, operating_system);
	append_text(&block, SHB_USERAPPL, application);
	return block_close(&block);
}

uint32_t wh_pcapng_interface_put(uint8_t *at, size_t room, const struct wh_interface_description *description)
{
	struct block block = block_open(at, room, WH_PCAPNG_IDB);
	const uint16_t link_type[2] = { description->link_type, 0 };
	append(&block, link_type, sizeof(link_type));
	append32(&block, description->snapshot_length);
	append_text(&block, IF_NAME, description->name);
	if (description->mac != NULL)
		append_option(&block, IF_MACADDR, description->mac, 6);
	if (description->speed_bits != 0)
		append_option(&block, IF_SPEED, &description->speed_bits, sizeof(description->speed_bits));
	const uint8_t resolution = 9; /* 10 to the minus 9: nanoseconds */
	append_option(&block, IF_TSRESOL, &resolution, sizeof(resolution));
	if (description->filter != NULL && description->filter[0] != '\0') {
		char value[1 + TEXT_MOST] = { 0 }; /* a leading 0: the filter is in libpcap's language */
		size_t length = strnlen(description->filter, TEXT_MOST - 1);
		memcpy(value + 1, description->filter, length);
		append_option(&block, IF_FILTER, value, length + 1);
	}
	append_text(&block, IF_OS, description->operating_system);
	return block_close(&block);
}

static void append_time(struct block *block, uint16_t code, uint64_t ns)
{
	const uint32_t halves[2] = { (uint32_t)(ns >> 32), (uint32_t)ns };
	append_option(block, code, halves, sizeof(halves));
}

static void append_counter(struct block *block, uint16_t code, uint64_t value)
{
	append_option(block, code, &value, sizeof(value));
}

uint32_t wh_pcapng_statistics_put(uint8_t *at, size_t room, const struct wh_interface_totals *totals)
{
	struct block block = block_open(at, room, WH_PCAPNG_ISB);
	append32(&block, totals->interface);
	append32(&block, (uint32_t)(totals->now_ns >> 32));
	append32(&block, (uint32_t)totals->now_ns);
	append_time(&block, ISB_STARTTIME, totals->start_ns);
	append_time(&block, ISB_ENDTIME, totals->now_ns);
	append_counter(&block, ISB_IFRECV, totals->received);
	append_counter(&block, ISB_IFDROP, totals->dropped_nic);
	append_counter(&block, ISB_FILTERACCEPT, totals->received);
	append_counter(&block, ISB_OSDROP, totals->dropped);
	append_counter(&block, ISB_USRDELIV, totals->delivered);
	return block_close(&block);
}

uint32_t wh_pcapng_journal_put(uint8_t *at, size_t room, uint64_t ns, const char *text)
{
	/* One entry of fields, each a line, as journalctl -o export writes them (systemd, Journal Export Format). */
	char entry[TEXT_MOST];
	int length = snprintf(entry, sizeof(entry),
			      "__REALTIME_TIMESTAMP=%" PRIu64 "\nPRIORITY=5\nSYSLOG_IDENTIFIER=wirehaul\n"
			      "MESSAGE=%s\n",
			      ns / 1000, text);
	if (length < 0 || (size_t)length >= sizeof(entry))
		return 0;
	struct block block = block_open(at, room, WH_PCAPNG_JOURNAL);
	append(&block, entry, (size_t)length);
	return block_end(&block);
}

void wh_pcapng_head_put(uint8_t *at, const struct wh_chunk_head *head, const struct wh_chunk_record *records)
{
	size_t used = sizeof(*head);
	memcpy(at, head, sizeof(*head));
	memcpy(at + used, records, head->record_count * sizeof(*records));
	used += head->record_count * sizeof(*records);
	memset(at + used, 0, head->total_length - 4 - used);
	memcpy(at + head->total_length - 4, &head->total_length, sizeof(head->total_length));
}

void wh_pcapng_stamp(uint8_t *head, uint64_t session, uint64_t sequence)
{
	memcpy(head + offsetof(struct wh_chunk_head, session), &session, sizeof(session));
	memcpy(head + offsetof(struct wh_chunk_head, sequence), &sequence, sizeof(sequence));
}

void wh_pcapng_filler_put(uint8_t *at, uint32_t length)
{
	const uint32_t head[2] = { WH_PCAPNG_FILLER, length };
	memcpy(at, head, sizeof(head));
	memset(at + sizeof(head), 0, length - sizeof(head) - sizeof(length));
	memcpy(at + length - sizeof(length), &length, sizeof(length));
}
