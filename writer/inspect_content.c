/* SPDX-License-Identifier: BSD-3-Clause */
/* What makes a block of pcapng a good one (draft-ietf-opsawg-pcapng, section 4): what is in it. */
#include <stdlib.h>

#include "ringbuf/clock.h"
#include "writer/inspect_state.h"

enum {
	BLOCK_OLD_PACKET = 2,
	BLOCK_SIMPLE_PACKET = 3,
	BLOCK_NAMES = 4,
	BLOCK_SECRETS = 10,
	SECTION_LEAST = 28,
	INTERFACE_LEAST = 20,
	STATISTICS_LEAST = 24,
	PACKET_LEAST = 32,
	SIMPLE_LEAST = 16,
	JOURNAL_LEAST = 36, /* the timestamp that each entry has */
	SECRETS_LEAST = 20,
	CUSTOM_LEAST = 16,
	OPTION_HEAD = 4,
	SHB_USERAPPL = 4,
	IF_TSRESOL = 9,
	IF_FILTER = 11,
	IF_TSOFFSET = 14,
	EPB_FLAGS = 2,
	EPB_DROPCOUNT = 4,
	EPB_PACKETID = 5,
	EPB_QUEUE = 6,
	EPB_VERDICT = 7,
	ISB_IFRECV = 4,
	ISB_OSDROP = 7,
	ISB_USRDELIV = 8,
	MICROSECONDS = 6,
	NANOSECONDS = 9,
	DECIMAL_MOST = 19, /* digits of a second, beyond which libpcap does not read */
	BINARY_MOST = 63
};

/* Link types whose frames may be longer than WH_SNAPSHOT_MOST (libpcap, max_snaplen_for_dlt). */
enum { LINK_DBUS = 231, LINK_USBPCAP = 249, LINK_EBHSCR = 279 };

struct options {
	const uint8_t *at, *end;
	bool swapped;
	const char *fault;
};

struct option {
	uint16_t code, length;
	const uint8_t *value;
};

/* Takes the next option (section 3.5). False at the end of the list, or where it is broken: then there is a fault. */
static bool option_next(struct options *options, struct option *option)
{
	if (options->at == options->end)
		return false;
	if (options->end - options->at < OPTION_HEAD) {
		options->fault = "options end within an option";
		return false;
	}
	option->code = wh_get16(options->swapped, options->at);
	option->length = wh_get16(options->swapped, options->at + 2);
	option->value = options->at + OPTION_HEAD;
	if (option->code == 0) {
		if (option->length != 0)
			options->fault = "the end of options has a length";
		return false;
	}
	bool custom = (option->code & 0x7fff) == 2988 || (option->code & 0x7fff) == 2989;
	if (custom && option->length < 4) {
		options->fault = "a custom option is too short";
		return false;
	}
	size_t padded = ((size_t)option->length + 3) & ~(size_t)3;
	if ((size_t)(options->end - option->value) < padded) {
		options->fault = "an option is longer than its block";
		return false;
	}
	options->at = option->value + padded;
	return true;
}

static struct options options_of(const uint8_t *block, uint32_t length, uint32_t from, bool swapped)
{
	return (struct options){ .at = block + from, .end = block + length - 4, .swapped = swapped };
}

/* Whether an option of a packet has the length that readers insist on. */
static bool is_packet_option(const struct option *option)
{
	switch (option->code) {
	case EPB_FLAGS:
	case EPB_QUEUE:
		return option->length == 4;
	case EPB_DROPCOUNT:
	case EPB_PACKETID:
		return option->length == 8;
	case EPB_VERDICT:
		return option->length > 0;
	default:
		return true;
	}
}

/* What is wrong with the options of a packet, or NULL; *LOST becomes what they tell of frames that were lost. */
static const char *packet_options_check(struct options options, uint64_t *lost)
{
	struct option option;
	*lost = 0;
	while (option_next(&options, &option)) {
		if (!is_packet_option(&option))
			return "an option of a packet has a wrong length";
		if (option.code == EPB_DROPCOUNT)
			*lost = wh_sum(*lost, wh_get64(options.swapped, option.value));
	}
	return options.fault;
}

/* TICKS of an interface as ns since 1970; 0 where that cannot be said. */
static uint64_t ns_of(const struct wh_described *interface, uint64_t ticks)
{
	uint32_t digits = interface->resolution & 0x7f;
	uint64_t ns = ticks;
	if ((interface->resolution & 0x80) != 0) { /* binary digits */
		if (digits > 34)
			return 0;
		uint64_t seconds = ticks >> digits;
		uint64_t rest = ticks & ((UINT64_C(1) << digits) - 1);
		if (seconds >= UINT64_MAX / WH_NS_PER_SECOND)
			return 0;
		ns = seconds * WH_NS_PER_SECOND + (rest * WH_NS_PER_SECOND >> digits);
	} else {
		for (; digits < NANOSECONDS; digits++) {
			if (ns > UINT64_MAX / 10)
				return 0;
			ns *= 10;
		}
		for (; digits > NANOSECONDS && ns != 0; digits--)
			ns /= 10;
	}
	uint64_t shift_s = interface->offset_s < 0 ? -(uint64_t)interface->offset_s : (uint64_t)interface->offset_s;
	if (shift_s >= UINT64_MAX / WH_NS_PER_SECOND)
		return 0;
	uint64_t shift = shift_s * WH_NS_PER_SECOND;
	if (interface->offset_s < 0)
		return ns < shift ? 0 : ns - shift;
	return wh_sum(ns, shift) == UINT64_MAX ? 0 : ns + shift;
}

static const struct wh_described guessed = { .snapshot = WH_SNAPSHOT_MOST, .link_type = 1, .resolution = NANOSECONDS };

/* What a description that is missing is taken to have said: libpcap reads a file only where all link types and snapshot
 * lengths are the same. */
static struct wh_described guess_like(const struct wh_section *section)
{
	struct wh_described guess = guessed;
	if (section->interface_count > 0) {
		guess.link_type = section->interfaces[0].link_type;
		guess.snapshot = section->interfaces[0].snapshot;
	}
	return guess;
}

static bool interfaces_reserve(struct wh_walker *walker, uint32_t count)
{
	struct wh_section *section = &walker->section;
	if (count <= section->interface_room)
		return true;
	uint32_t room = section->interface_room == 0 ? 64 : section->interface_room;
	while (room < count)
		room *= 2;
	struct wh_described *more = realloc(section->interfaces, room * sizeof(*more));
	if (more == NULL) {
		walker->status = wh_error_set(walker->error, WH_ERR_MEMORY, "no memory for its interfaces");
		return false;
	}
	section->interfaces = more;
	section->interface_room = room;
	return true;
}

bool wh_inspect_guess(struct wh_walker *walker, uint32_t from, uint32_t count)
{
	struct wh_section *section = &walker->section;
	if (!interfaces_reserve(walker, section->interface_count + count))
		return false;
	const struct wh_described guess = guess_like(section);
	memmove(section->interfaces + from + count, section->interfaces + from,
		(section->interface_count - from) * sizeof(section->interfaces[0]));
	for (uint32_t i = 0; i < count; i++)
		section->interfaces[from + i] = guess;
	section->interface_count += count;
	return true;
}

/* Takes what OPTION says of an interface. False: no reader takes that. */
static bool described_by(struct wh_described *described, const struct option *option, bool swapped)
{
	switch (option->code) {
	case IF_TSRESOL:
		if (option->length != 1)
			return false;
		described->resolution = option->value[0];
		return (described->resolution & 0x80) != 0 ? (described->resolution & 0x7f) <= BINARY_MOST
							   : described->resolution <= DECIMAL_MOST;
	case IF_TSOFFSET:
		if (option->length != 8)
			return false;
		described->offset_s = (int64_t)wh_get64(swapped, option->value);
		return true;
	case IF_FILTER:
		return option->length > 0;
	default:
		return true;
	}
}

static const char *interface_take(struct wh_walker *walker, uint64_t at, const uint8_t *block, uint32_t length,
				  struct wh_tally *tally)
{
	struct wh_section *section = &walker->section;
	bool swapped = section->swapped;
	if (length < INTERFACE_LEAST)
		return "an interface description is too short";
	/* Room for guesses stays. */
	if (section->interface_count >= WH_INSPECT_INTERFACES - WH_INSPECT_GUESSES)
		return "there are too many interfaces";
	struct wh_described described = { .link_type = wh_get16(swapped, block + 8),
					  .snapshot = wh_get32(swapped, block + 12),
					  .resolution = MICROSECONDS,
					  .at = at };
	struct options options = options_of(block, length, 16, swapped);
	struct option option;
	while (option_next(&options, &option))
		if (!described_by(&described, &option, swapped))
			return "an interface is described wrongly";
	if (options.fault != NULL || !interfaces_reserve(walker, section->interface_count + 1))
		return options.fault != NULL ? options.fault : "there is no memory for it";
	section->interfaces[section->interface_count++] = described;
	tally->described++;
	return NULL;
}

/* Takes note that INTERFACE is used by the block at AT. In a chunk its description may have been lost. */
static const char *interface_use(struct wh_walker *walker, enum wh_row_kind kind, uint64_t at, uint32_t interface,
				 struct wh_tally *tally)
{
	const struct wh_section *section = &walker->section;
	if (interface >= section->interface_count) {
		if (kind == WH_ROW_OUTSIDE || interface >= WH_INSPECT_INTERFACES ||
		    interface - section->interface_count >= WH_INSPECT_GUESSES)
			return "a block is of an interface that was not described";
		if (tally->undescribed == 0)
			tally->undescribed_at = at;
		uint32_t missing = interface + 1 - section->interface_count;
		if (missing > tally->undescribed)
			tally->undescribed = missing;
	}
	return NULL;
}

static const struct wh_described *described_as(const struct wh_section *section, uint32_t interface)
{
	return interface < section->interface_count ? &section->interfaces[interface] : &guessed;
}

static void frame_count(struct wh_tally *tally, const struct wh_described *interface, bool timed, uint64_t ticks)
{
	uint64_t ns = timed ? ns_of(interface, ticks) : 0;
	if (tally->frames == 0 || ticks < tally->first_ticks)
		tally->first_ticks = ticks;
	if (ticks > tally->last_ticks)
		tally->last_ticks = ticks;
	if (ns != 0 && (tally->first_ns == 0 || ns < tally->first_ns))
		tally->first_ns = ns;
	if (ns > tally->last_ns)
		tally->last_ns = ns;
	tally->frames++;
	tally->statistics = false;
}

bool wh_inspect_takes_long(uint16_t link_type)
{
	return link_type == LINK_DBUS || link_type == LINK_USBPCAP || link_type == LINK_EBHSCR;
}

/* An Enhanced Packet Block; or its predecessor, whose interface is half as wide. */
static const char *packet_take(struct wh_walker *walker, enum wh_row_kind kind, uint64_t at, const uint8_t *block,
			       uint32_t length, bool old, struct wh_tally *tally)
{
	bool swapped = walker->section.swapped;
	if (length < PACKET_LEAST)
		return "a packet block is too short";
	uint32_t number = old ? wh_get16(swapped, block + 8) : wh_get32(swapped, block + 8);
	const struct wh_section *section = &walker->section;
	const struct wh_described *interface = described_as(section, number);
	uint32_t captured = wh_get32(swapped, block + 20);
	uint32_t padded = (captured + 3) & ~UINT32_C(3);
	if (captured > length - PACKET_LEAST || padded > length - PACKET_LEAST)
		return "a frame is longer than its block";
	if (captured > wh_get32(swapped, block + 24))
		return "a frame is longer than it was on the wire";
	uint32_t snapshot = number < section->interface_count ? interface->snapshot : guess_like(section).snapshot;
	bool too_long = snapshot != 0 && captured > snapshot;
	/* In a chunk of wirehaul's it may be the description that is damaged. */
	bool mendable = kind != WH_ROW_OUTSIDE && interface->at != 0 && interface->at >= section->header &&
			interface->at < section->header_end &&
			(tally->too_long == 0 || tally->too_long == number + 1) && !(number == 0 && section->simple);
	if ((too_long && !mendable) || (captured > WH_SNAPSHOT_MOST && !wh_inspect_takes_long(interface->link_type)))
		return "a frame is longer than the snapshot length";
	uint64_t lost;
	const char *fault = packet_options_check(options_of(block, length, 28 + padded, swapped), &lost);
	if (fault == NULL)
		fault = interface_use(walker, kind, at, number, tally);
	if (fault != NULL)
		return fault;
	uint64_t ticks = (uint64_t)wh_get32(swapped, block + 12) << 32 | wh_get32(swapped, block + 16);
	frame_count(tally, interface, true, ticks);
	tally->lost = wh_sum(tally->lost, lost);
	if (too_long && tally->too_long == 0) {
		tally->too_long = number + 1;
		tally->too_long_at = at;
	}
	if (too_long && captured > tally->longest)
		tally->longest = captured;
	return NULL;
}

static const char *simple_packet_take(struct wh_walker *walker, const uint8_t *block, uint32_t length,
				      struct wh_tally *tally)
{
	const struct wh_section *section = &walker->section;
	if (length < SIMPLE_LEAST)
		return "a packet block is too short";
	if (section->interface_count == 0)
		return "a block is of an interface that was not described";
	uint32_t captured = wh_get32(section->swapped, block + 8);
	uint32_t snapshot = section->interfaces[0].snapshot;
	if (snapshot != 0 && captured > snapshot)
		captured = snapshot;
	/* Its length is told by the first interface's snapshot length alone: that is not mended any more. */
	if (captured > length - SIMPLE_LEAST || tally->too_long == 1)
		return "a frame is longer than its block";
	if (length - SIMPLE_LEAST - captured > 3)
		return "a frame is shorter than its block";
	walker->section.simple = true;
	frame_count(tally, &section->interfaces[0], false, 0);
	return NULL;
}

static const char *statistics_take(struct wh_walker *walker, enum wh_row_kind kind, uint64_t at, const uint8_t *block,
				   uint32_t length, struct wh_tally *tally)
{
	bool swapped = walker->section.swapped;
	if (length < STATISTICS_LEAST)
		return "interface statistics are too short";
	uint64_t received = 0, dropped = 0, delivered = 0;
	uint32_t told = 0;
	struct options options = options_of(block, length, 20, swapped);
	struct option option;
	while (option_next(&options, &option)) {
		if (option.length != 8 ||
		    (option.code != ISB_IFRECV && option.code != ISB_OSDROP && option.code != ISB_USRDELIV))
			continue;
		uint64_t value = wh_get64(swapped, option.value);
		if (option.code == ISB_IFRECV)
			received = value;
		else if (option.code == ISB_OSDROP)
			dropped = value;
		else
			delivered = value;
		told |= 1u << option.code;
	}
	const char *fault = options.fault;
	if (fault == NULL)
		fault = interface_use(walker, kind, at, wh_get32(swapped, block + 8), tally);
	if (fault != NULL)
		return fault;
	if (told == (1u << ISB_IFRECV | 1u << ISB_OSDROP | 1u << ISB_USRDELIV) && received != dropped + delivered)
		tally->wrong_sum = true;
	tally->statistics = true;
	return NULL;
}

static const char *note_take(const struct wh_walker *walker, const uint8_t *block, uint32_t length,
			     struct wh_tally *tally)
{
	bool swapped = walker->section.swapped;
	if (length != WH_NOTE_BYTES || wh_get16(swapped, block + 8) != WH_NOTE_VERSION)
		return NULL; /* of a later version, or another program's: a local block like any other */
	const struct wh_note last = tally->note;
	tally->note = (struct wh_note){
		.flags = wh_get16(swapped, block + 10),
		.next_session = wh_get64(swapped, block + 16),
		.next_sequence = wh_get64(swapped, block + 24),
		.chunks_missing = wh_get64(swapped, block + 32),
		.frames_missing = wh_get64(swapped, block + 40),
		.offset = wh_get64(swapped, block + 48),
		.left_out = wh_get64(swapped, block + 56),
	};
	/* A chunk that was mended twice has two notes. */
	if ((tally->note.flags & WH_NOTE_JUMP) == 0) {
		tally->note.next_session = last.next_session;
		tally->note.next_sequence = last.next_sequence;
	}
	tally->note.flags |= last.flags;
	tally->noted = true;
	tally->chunks_missing = wh_sum(tally->chunks_missing, tally->note.chunks_missing);
	tally->frames_missing = wh_sum(tally->frames_missing, tally->note.frames_missing);
	return NULL;
}

static const char *names_take(const struct wh_walker *walker, const uint8_t *block, uint32_t length)
{
	bool swapped = walker->section.swapped;
	uint32_t at = 8, end = length - 4;
	while (end - at >= 4) {
		uint32_t type = wh_get16(swapped, block + at), bytes = wh_get16(swapped, block + at + 2);
		if (type == 0)
			return NULL;
		bytes = (bytes + 3) & ~UINT32_C(3);
		if (bytes > end - at - 4)
			return "a name is longer than its block";
		at += 4 + bytes;
	}
	return "a list of names has no end";
}

static const char *secrets_take(const struct wh_walker *walker, const uint8_t *block, uint32_t length)
{
	if (length < SECRETS_LEAST || wh_get32(walker->section.swapped, block + 12) > length - SECRETS_LEAST)
		return "secrets are longer than their block";
	return NULL;
}

const char *wh_inspect_content(struct wh_walker *walker, enum wh_row_kind kind, uint64_t at, const uint8_t *block,
			       uint32_t type, uint32_t length, struct wh_tally *tally)
{
	switch (type) {
	case WH_PCAPNG_EPB:
		return packet_take(walker, kind, at, block, length, false, tally);
	case BLOCK_OLD_PACKET:
		return packet_take(walker, kind, at, block, length, true, tally);
	case BLOCK_SIMPLE_PACKET:
		return simple_packet_take(walker, block, length, tally);
	case WH_PCAPNG_IDB:
		return interface_take(walker, at, block, length, tally);
	case WH_PCAPNG_ISB:
		return statistics_take(walker, kind, at, block, length, tally);
	case WH_PCAPNG_NOTE:
		return note_take(walker, block, length, tally);
	case WH_PCAPNG_JOURNAL:
		return length < JOURNAL_LEAST ? "a journal entry is too short" : NULL;
	case BLOCK_NAMES:
		return names_take(walker, block, length);
	case BLOCK_SECRETS:
		return secrets_take(walker, block, length);
	case WH_BLOCK_CUSTOM:
	case WH_BLOCK_CUSTOM_UNCOPIED:
		return length < CUSTOM_LEAST ? "a custom block is too short" : NULL;
	case WH_PCAPNG_FILLER:
		walker->section.ours = true;
		return NULL;
	default:
		return NULL;
	}
}

/* Whether the options of a section header say that wirehaul wrote it; *FAULT where they are broken. */
static bool is_ours(struct options options, const char **fault)
{
	static const char name[] = "wirehaul ";
	struct option option;
	bool ours = false;
	while (option_next(&options, &option))
		ours |= option.code == SHB_USERAPPL && option.length >= sizeof(name) - 1 &&
			memcmp(option.value, name, sizeof(name) - 1) == 0;
	*fault = options.fault;
	return ours;
}

bool wh_inspect_section_header(struct wh_walker *walker, uint64_t at, bool *swapped, uint32_t *length, bool *ours,
			       const char **reason)
{
	const char *ignored;
	if (reason == NULL)
		reason = &ignored;
	*length = 0;
	*reason = "the file ends within the section header";
	const uint8_t *block = wh_window_at(&walker->window, at, WH_BLOCK_LEAST);
	if (block == NULL)
		return false;
	*reason = "the section header is damaged";
	*swapped = wh_get32(true, block + 8) == WH_BYTE_ORDER_MAGIC;
	if (wh_get32(false, block) != WH_PCAPNG_SHB || wh_get32(*swapped, block + 8) != WH_BYTE_ORDER_MAGIC)
		return false;
	uint32_t claimed = wh_get32(*swapped, block + 4);
	if (claimed < SECTION_LEAST || claimed % 4 != 0 || claimed > WH_BLOCK_MOST)
		return false;
	*length = claimed;
	*reason = "the file ends within the section header";
	block = wh_window_at(&walker->window, at, claimed);
	if (block == NULL)
		return false;
	*reason = "the section header is damaged";
	if (wh_get32(*swapped, block + claimed - 4) != claimed || wh_get16(*swapped, block + 12) != 1)
		return false;
	uint16_t minor = wh_get16(*swapped, block + 14);
	if (minor != 0 && minor != 2) /* what there is; readers refuse others */
		return false;
	const char *fault;
	*ours = is_ours(options_of(block, claimed, 24, *swapped), &fault);
	if (fault != NULL)
		*reason = fault;
	return fault == NULL;
}
