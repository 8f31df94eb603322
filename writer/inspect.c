/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ringbuf/clock.h"
#include "writer/inspect_state.h"

#define PCAP_MICROSECONDS 0xA1B2C3D4u
#define PCAP_NANOSECONDS  0xA1B23C4Du
enum { PCAP_VERSION = 2, PCAP_LINK_TYPE = 0x0FFFFFFF, LOOKS = 3 };

void wh_walker_worsen(struct wh_walker *walker, enum wh_health health, const char *format, ...)
{
	struct wh_inspection *found = walker->found;
	if (health <= found->health)
		return;
	found->health = health;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(found->what, sizeof(found->what), format, arguments);
	va_end(arguments);
}

void wh_walker_stop_reader(struct wh_walker *walker, uint64_t at)
{
	if (walker->reader_stopped)
		return;
	walker->reader_stopped = true;
	walker->found->readable_bytes = at;
}

void wh_walker_tell(struct wh_walker *walker, struct wh_item *item)
{
	const struct wh_section *section = &walker->section;
	item->swapped = section->swapped;
	item->ours = section->named || section->ours;
	item->is_pcap = walker->found->format == WH_CAPTURE_PCAP;
	item->interfaces = section->interface_count;
	item->link_type = section->interface_count > 0 ? section->interfaces[0].link_type : 1;
	if (item->kind != WH_ITEM_SNAPSHOT)
		item->snapshot = section->interface_count > 0 ? section->interfaces[0].snapshot : WH_SNAPSHOT_MOST;
	item->session = section->session;
	item->next_sequence = section->expected;
	walker->found->items++;
	if (walker->listener != NULL && walker->status == WH_OK)
		walker->status = walker->listener->item(walker->listener->context, item, walker->error);
}

void wh_walker_count(struct wh_walker *walker, const struct wh_tally *tally)
{
	struct wh_inspection *found = walker->found;
	found->frames += tally->frames;
	if (tally->first_ns != 0 && (found->first_ns == 0 || tally->first_ns < found->first_ns))
		found->first_ns = tally->first_ns;
	if (tally->last_ns > found->last_ns)
		found->last_ns = tally->last_ns;
	if (walker->section.interface_count > found->interfaces)
		found->interfaces = walker->section.interface_count;
}

/* ---- sections ---- */

static void section_end(struct wh_walker *walker)
{
	const struct wh_section *section = &walker->section;
	if (!section->known || !section->ours || section->closed)
		return;
	/* Without an interface there is nothing to close a file with. */
	if (section->interface_count > 0)
		wh_walker_worsen(walker, WH_HEALTH_OPEN,
				 "it was not closed: a capture is still writing it, or was killed");
	struct wh_item item = { .kind = WH_ITEM_END };
	wh_walker_tell(walker, &item);
}

static void section_set(struct wh_walker *walker, uint64_t at, bool swapped, bool named)
{
	struct wh_section *section = &walker->section;
	struct wh_described *interfaces = section->interfaces;
	uint32_t room = section->interface_room;
	*section = (struct wh_section){ .known = true,
					.swapped = swapped,
					.named = named,
					.start = at,
					.interfaces = interfaces,
					.interface_room = room };
	walker->found->format = WH_CAPTURE_PCAPNG;
}

void wh_walker_section_make_up(struct wh_walker *walker, uint64_t at, bool swapped)
{
	section_set(walker, at, swapped, true);
	walker->section.ours = true;
	walker->section.losses = true;
	walker->section.unsure = true;
	struct wh_item item = { .kind = WH_ITEM_SECTION };
	wh_walker_tell(walker, &item);
}

/* A section header should be at *AT. */
static void section_take(struct wh_walker *walker, uint64_t *at)
{
	bool swapped, ours;
	uint32_t length;
	const char *reason;
	if (!wh_inspect_section_header(walker, *at, &swapped, &length, &ours, &reason)) {
		uint64_t left = walker->window.size - *at;
		bool cut = left < 12 || length > left;
		wh_inspect_recover(walker, *at, cut, reason, at);
		return;
	}
	section_end(walker);
	section_set(walker, *at, swapped, ours);
	struct wh_item item = { .kind = WH_ITEM_SECTION, .offset = *at, .length = length };
	wh_walker_tell(walker, &item);
	*at += length;
}

/* Blocks that are in no chunk: the file's header, or all of another program's file. */
static void blocks_take(struct wh_walker *walker, uint64_t *at)
{
	struct wh_section *section = &walker->section;
	struct wh_tally tally = { 0 };
	uint64_t from = *at;
	const char *reason = NULL;
	enum wh_row_end how =
	    wh_inspect_row(walker, WH_ROW_OUTSIDE, at, walker->window.size, UINT64_MAX, &tally, &reason);
	if (wh_walker_ended(walker))
		return;
	wh_walker_count(walker, &tally);
	section->loose_frames = wh_sum(section->loose_frames, tally.frames);
	if (tally.frames > 0 || tally.described > 0 || tally.statistics)
		section->closed = tally.statistics;
	if (*at > from) {
		struct wh_item item = { .kind = WH_ITEM_BLOCKS, .offset = from, .length = *at - from };
		wh_walker_tell(walker, &item);
		if (section->header_end == 0) {
			section->header = from;
			section->header_end = item.offset + item.length;
		}
	}
	if (how == WH_ROW_CUT || how == WH_ROW_BAD)
		wh_inspect_recover(walker, *at, how == WH_ROW_CUT, reason, at);
	else if (how == WH_ROW_HEAD)
		wh_inspect_chunk(walker, at);
}

static void pcapng_walk(struct wh_walker *walker)
{
	uint64_t at = 0, last = UINT64_MAX;
	uint32_t stays = 0;
	while (at < walker->window.size && !wh_walker_ended(walker)) {
		/* A section may be made up where the walk stands. More stays than that would be a mistake, which must
		   not go on for ever. */
		stays = at == last ? stays + 1 : 0;
		if (stays > 1)
			at += WH_FILE_ALIGNMENT;
		last = at;
		const uint8_t *type = wh_window_at(&walker->window, at, 4);
		bool section = type != NULL && wh_get32(false, type) == WH_PCAPNG_SHB;
		if (section)
			section_take(walker, &at);
		else if (walker->section.known)
			blocks_take(walker, &at);
		else
			wh_inspect_recover(walker, at, false, "the file does not begin with a section header", &at);
	}
	if (!wh_walker_ended(walker))
		section_end(walker);
}

/* ---- classic pcap ---- */

static bool is_pcap(struct wh_walker *walker, bool *nanoseconds)
{
	const uint8_t *bytes = wh_window_at(&walker->window, 0, 4);
	for (int order = 0; bytes != NULL && order < 2; order++) {
		uint32_t magic = wh_get32(order == 1, bytes);
		*nanoseconds = magic == PCAP_NANOSECONDS;
		if (magic == PCAP_MICROSECONDS || *nanoseconds) {
			walker->section.swapped = order == 1;
			return true;
		}
	}
	return false;
}

/* Why the record at AT is not a whole one; NULL where it is, with its LENGTH and time. *CUT: the file ends in it. */
static const char *pcap_record(struct wh_walker *walker, uint64_t at, bool nanoseconds, bool *cut, uint64_t *length,
			       uint64_t *ns)
{
	static const uint8_t zeros[WH_PCAP_RECORD_HEADER];
	bool swapped = walker->section.swapped;
	const uint8_t *record = wh_window_at(&walker->window, at, WH_PCAP_RECORD_HEADER);
	*cut = record == NULL;
	if (record == NULL)
		return "the file ends within a record";
	/* A hole, which may be terabytes long; readers take it for empty frames of 1970. */
	if (memcmp(record, zeros, sizeof(zeros)) == 0)
		return "there are zeros instead of a record";
	uint64_t fraction = (uint64_t)wh_get32(swapped, record + 4) * (nanoseconds ? 1 : 1000);
	uint32_t captured = wh_get32(swapped, record + 8);
	if (fraction >= WH_NS_PER_SECOND)
		return "a record has more than a second of fraction";
	if (captured > wh_get32(swapped, record + 12))
		return "a frame is longer than it was on the wire";
	/* Beyond the file's own snapshot length readers do read, and some programs write. */
	bool is_long = captured > WH_SNAPSHOT_MOST && !wh_inspect_takes_long(walker->section.interfaces[0].link_type);
	if (is_long || captured > WH_BLOCK_MOST - WH_PCAP_RECORD_HEADER)
		return "a frame is longer than any reader takes";
	*length = WH_PCAP_RECORD_HEADER + (uint64_t)captured;
	*ns = wh_ns_from_parts(wh_get32(swapped, record), (uint32_t)fraction);
	*cut = *length > walker->window.size - at;
	return *cut ? "the file ends within a record" : NULL;
}

/* The header, which is there as a whole. False: no memory. */
static bool pcap_header(struct wh_walker *walker)
{
	struct wh_section *section = &walker->section;
	if (!wh_inspect_guess(walker, 0, 1))
		return false;
	const uint8_t *header = wh_window_at(&walker->window, 0, WH_PCAP_FILE_HEADER);
	if (header == NULL)
		return false;
	section->known = true;
	section->interfaces[0].snapshot = wh_get32(section->swapped, header + 16);
	section->interfaces[0].link_type = (uint16_t)(wh_get32(section->swapped, header + 20) & PCAP_LINK_TYPE);
	return true;
}

static void pcap_walk(struct wh_walker *walker, bool nanoseconds)
{
	walker->found->format = WH_CAPTURE_PCAP;
	const uint8_t *header = wh_window_at(&walker->window, 0, WH_PCAP_FILE_HEADER);
	if (header == NULL || wh_get16(walker->section.swapped, header + 4) != PCAP_VERSION) {
		wh_walker_stop_reader(walker, 0);
		wh_walker_worsen(walker, header == NULL ? WH_HEALTH_CUT : WH_HEALTH_DAMAGED,
				 header == NULL ? "it ends within its header" : "its header is damaged");
		return;
	}
	if (!pcap_header(walker))
		return;
	struct wh_tally tally = { 0 };
	uint64_t at = WH_PCAP_FILE_HEADER;
	while (at < walker->window.size && !wh_walker_ended(walker)) {
		bool cut;
		uint64_t length, ns;
		const char *reason = pcap_record(walker, at, nanoseconds, &cut, &length, &ns);
		if (reason != NULL) {
			wh_walker_stop_reader(walker, at);
			wh_walker_worsen(walker, cut ? WH_HEALTH_CUT : WH_HEALTH_DAMAGED, "at byte %llu: %s",
					 (unsigned long long)at, reason);
			break;
		}
		if (tally.first_ns == 0 || ns < tally.first_ns)
			tally.first_ns = ns;
		if (ns > tally.last_ns)
			tally.last_ns = ns;
		tally.frames++;
		at += length;
	}
	wh_walker_count(walker, &tally);
	struct wh_item item = { .kind = WH_ITEM_BLOCKS, .length = at };
	wh_walker_tell(walker, &item);
}

/* ---- the whole ---- */

/* Whether so few bytes may be the beginning of a capture file. */
static bool is_beginning(struct wh_walker *walker)
{
	static const uint8_t beginnings[][4] = { { 0x0A, 0x0D, 0x0D, 0x0A },
						 { 0xA1, 0xB2, 0xC3, 0xD4 },
						 { 0xD4, 0xC3, 0xB2, 0xA1 },
						 { 0xA1, 0xB2, 0x3C, 0x4D },
						 { 0x4D, 0x3C, 0xB2, 0xA1 } };
	uint64_t size = walker->window.size;
	const uint8_t *bytes = wh_window_at(&walker->window, 0, size);
	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (size == 0 || (bytes != NULL && memcmp(bytes, beginnings[i], (size_t)size) == 0))
			return true;
	return false;
}

/* Why a file that is none that is known may be none, as far as its first bytes tell. */
static const char *foreign_what(struct wh_walker *walker)
{
	static const struct {
		uint8_t length, magic[6];
	} packers[] = { { 2, { 0x1F, 0x8B } },
			{ 3, { 'B', 'Z', 'h' } },
			{ 4, { 0x28, 0xB5, 0x2F, 0xFD } },
			{ 4, { 0x04, 0x22, 0x4D, 0x18 } },
			{ 6, { 0xFD, '7', 'z', 'X', 'Z', 0 } } };
	const uint8_t *bytes = wh_window_at(&walker->window, 0, sizeof(packers[0].magic));
	for (size_t i = 0; bytes != NULL && i < sizeof(packers) / sizeof(packers[0]); i++)
		if (memcmp(bytes, packers[i].magic, packers[i].length) == 0)
			return "it is compressed: unpack it first";
	return "it is no capture file";
}

static void walk(struct wh_walker *walker)
{
	struct wh_inspection *found = walker->found;
	bool nanoseconds;
	if (walker->window.size < 4) {
		bool beginning = is_beginning(walker);
		wh_walker_stop_reader(walker, 0);
		wh_walker_worsen(walker, beginning ? WH_HEALTH_CUT : WH_HEALTH_FOREIGN, "%s",
				 walker->window.size == 0 ? "it is empty"
				 : beginning              ? "it ends within its first block"
							  : "it is no capture file");
	} else if (is_pcap(walker, &nanoseconds)) {
		pcap_walk(walker, nanoseconds);
	} else {
		const uint8_t *type = wh_window_at(&walker->window, 0, 4);
		bool begins = type != NULL && wh_get32(false, type) == WH_PCAPNG_SHB;
		pcapng_walk(walker);
		if (begins)
			found->format = WH_CAPTURE_PCAPNG;
		else if (found->items == 0)
			wh_walker_worsen(walker, WH_HEALTH_FOREIGN, "%s", foreign_what(walker));
	}
}

static void repaired_tell(struct wh_inspection *found)
{
	unsigned long long chunks = found->chunks_missing, frames = found->frames_missing;
	if (chunks == 0 && frames == 0)
		snprintf(found->what, sizeof(found->what), "it was repaired, and nothing is known to be missing");
	else
		snprintf(found->what, sizeof(found->what),
			 "it was repaired: %llu chunk%s and %llu frame%s are known to be missing", chunks,
			 chunks == 1 ? "" : "s", frames, frames == 1 ? "" : "s");
}

enum wh_status wh_inspect(const struct wh_inspect_source *source, const struct wh_inspect_listener *listener,
			  struct wh_inspection *found, struct wh_error *error)
{
	struct wh_error ignored;
	if (error == NULL)
		error = &ignored;
	*found = (struct wh_inspection){ .bytes = source->size };
	struct wh_walker *walker = calloc(1, sizeof(*walker));
	if (walker == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	walker->window =
	    (struct wh_window){ .fd = source->fd, .memory = source->memory, .size = source->size, .error = error };
	walker->listener = listener;
	walker->found = found;
	walker->error = error;
	walker->strays_left = WH_INSPECT_STRAYS;
	walker->strangers_left = WH_INSPECT_STRANGERS;
	walk(walker);
	found->ours = walker->section.ours || found->chunks > 0;
	if (!walker->reader_stopped)
		found->readable_bytes = walker->window.size;
	if (found->health == WH_HEALTH_WHOLE && found->repaired)
		repaired_tell(found);
	enum wh_status status = walker->window.failed ? error->status : walker->status;
	free(walker->section.interfaces);
	wh_window_close(&walker->window);
	free(walker);
	return status;
}

static enum wh_status is_ordinary(const struct stat *about, const char *path, struct wh_error *error)
{
	if (S_ISDIR(about->st_mode))
		return wh_error_set(error, WH_ERR_INPUT, "%s is a directory: name the files in it", path);
	if (!S_ISREG(about->st_mode))
		return wh_error_set(error, WH_ERR_INPUT, "%s is no ordinary file: copy it to one first", path);
	return WH_OK;
}

/* REASON may lie in the name that was given, or in the system. */
static enum wh_status not_opened(int reason, const char *path, struct wh_error *error)
{
	enum wh_status status = wh_error_system(error, reason, "cannot open %s", path);
	if (reason != ENOENT && reason != ENOTDIR && reason != ELOOP && reason != ENAMETOOLONG && reason != EACCES)
		return status;
	if (error != NULL)
		error->status = WH_ERR_INPUT;
	return WH_ERR_INPUT;
}

enum wh_status wh_inspect_open(const char *path, int *fd, uint64_t *size, struct wh_error *error)
{
	struct stat about;
	*fd = -1;
	/* Who only opens a pipe lets its writer run into nothing; a device may do whatever it does. */
	enum wh_status status =
	    stat(path, &about) != 0 ? not_opened(errno, path, error) : is_ordinary(&about, path, error);
	if (status != WH_OK)
		return status;
	/* It may be another one by now, which must not be waited for. */
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0)
		return not_opened(errno, path, error);
	if (fstat(*fd, &about) != 0)
		status = wh_error_system(error, errno, "cannot look at %s", path);
	else
		status = is_ordinary(&about, path, error);
	if (status != WH_OK) {
		close(*fd);
		*fd = -1;
		return status;
	}
	/* Only a hint. */
	posix_fadvise(*fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	*size = (uint64_t)about.st_size;
	return WH_OK;
}

/* Whether the file has been written to since ABOUT; then that is renewed. */
static bool has_changed(int fd, struct stat *about)
{
	struct stat now;
	if (fstat(fd, &now) != 0)
		return false;
	bool changed = now.st_size != about->st_size || now.st_mtim.tv_sec != about->st_mtim.tv_sec ||
		       now.st_mtim.tv_nsec != about->st_mtim.tv_nsec;
	*about = now;
	return changed;
}

enum wh_status wh_inspect_file(const char *path, struct wh_inspection *found, struct wh_error *error)
{
	int fd;
	uint64_t size;
	enum wh_status status = wh_inspect_open(path, &fd, &size, error);
	if (status != WH_OK)
		return status;
	struct stat about = { 0 };
	has_changed(fd, &about);
	for (int look = 0; look < LOOKS; look++) {
		const struct wh_inspect_source source = { .fd = fd, .size = (uint64_t)about.st_size };
		struct wh_error why = { 0 };
		status = wh_inspect(&source, NULL, found, &why);
		if (status != WH_OK) {
			*error = why;
			snprintf(error->text, sizeof(error->text), "%.300s: %.200s", path, why.text);
			break;
		}
		bool changed = has_changed(fd, &about);
		/* It may have been looked at in the middle of a write. */
		if (!changed || found->health == WH_HEALTH_WHOLE || found->health == WH_HEALTH_OPEN)
			break;
		if (found->health == WH_HEALTH_CUT && (uint64_t)about.st_size >= found->bytes) {
			found->health = WH_HEALTH_OPEN;
			snprintf(found->what, sizeof(found->what), "it is being written");
			break;
		}
	}
	close(fd);
	return status;
}
