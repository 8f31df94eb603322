/* SPDX-License-Identifier: BSD-3-Clause */
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "walk_formats.h"

bool wh_walk_fault(struct wh_walk *walk, enum wh_walk_state state, const char *reason)
{
	walk->state = state;
	walk->reason = reason;
	return false;
}

uint64_t wh_walk_zeros_from(const struct wh_walk *walk, uint64_t start)
{
	static const uint8_t zeros[WH_WALK_PAGE];
	uint64_t end = walk->size;
	/* A preallocated file may end in a hundred million of them. */
	while (end - start >= sizeof(zeros) && memcmp(walk->bytes + end - sizeof(zeros), zeros, sizeof(zeros)) == 0)
		end -= sizeof(zeros);
	while (end > start && walk->bytes[end - 1] == 0)
		end--;
	return end;
}

static void look_behind(struct wh_walk *walk)
{
	uint64_t zeros = walk->size - wh_walk_zeros_from(walk, walk->at);
	/* A chunk that was cut off may end in the zeros of its filler; and fewer than 4 are but a block's length. */
	if (walk->state == WH_WALK_DAMAGED && zeros >= 4)
		walk->zero_tail = zeros;
	for (uint64_t at = (walk->at / WH_WALK_PAGE + 1) * WH_WALK_PAGE; at + 8 <= walk->size; at += WH_WALK_PAGE)
		walk->chunks_behind += wh_walk_get32(walk, walk->bytes + at) == WH_WALK_BLOCK_CHUNK;
}

static bool run_pcapng(struct wh_walk *walk)
{
	while (walk->at < walk->size)
		if (!wh_walk_pcapng_block(walk))
			return false;
	return true;
}

static bool run_pcap(struct wh_walk *walk)
{
	if (!wh_walk_pcap_header(walk))
		return false;
	while (walk->at < walk->size)
		if (!wh_walk_pcap_record(walk))
			return false;
	return true;
}

static bool run_raw(struct wh_walk *walk)
{
	walk->interfaces[0] = (struct wh_walk_interface){ .link_type = 1, .ns_per_tick = 1 };
	walk->interface_count = 1;
	walk->sections = 1;
	while (walk->at < walk->end)
		if (!wh_walk_raw_block(walk))
			return false;
	return true;
}

static bool refuse(struct wh_walk *walk)
{
	if (walk->size < 4)
		return wh_walk_fault(walk, WH_WALK_TRUNCATED,
				     walk->size == 0 ? "file is empty" : "file ends inside a block");
	return wh_walk_fault(walk, WH_WALK_DAMAGED, "neither pcapng nor pcap nor raw blocks");
}

void wh_walk_run(struct wh_walk *walk, const struct wh_walk_listener *listener)
{
	walk->listener = listener;
	bool good = false;
	switch (walk->format) {
	case WH_WALK_PCAPNG:
		good = run_pcapng(walk);
		break;
	case WH_WALK_PCAP:
		good = run_pcap(walk);
		break;
	case WH_WALK_RAW:
		good = run_raw(walk);
		break;
	case WH_WALK_UNKNOWN:
		good = refuse(walk);
		break;
	}
	walk->offset = walk->at;
	if (!good)
		look_behind(walk);
}

static enum wh_walk_format recognise(struct wh_walk *walk)
{
	if (walk->size >= 4 && wh_walk_get32(walk, walk->bytes) == WH_WALK_BLOCK_SECTION)
		return WH_WALK_PCAPNG;
	if (wh_walk_is_pcap(walk))
		return WH_WALK_PCAP;
	return wh_walk_is_raw(walk) ? WH_WALK_RAW : WH_WALK_UNKNOWN;
}

void wh_walk_open_bytes(struct wh_walk *walk, const uint8_t *bytes, uint64_t size, uint32_t raw_block_bytes)
{
	*walk = (struct wh_walk){
		.bytes = bytes, .size = size, .end = size, .raw_block_bytes = raw_block_bytes, .reason = ""
	};
	walk->format = recognise(walk);
}

/* Maps the file. Returns what it is that cannot be done, NULL when it is done. */
static const char *map_file(int fd, const uint8_t **bytes, uint64_t *size)
{
	struct stat status;
	if (fstat(fd, &status) < 0)
		return strerror(errno);
	if (!S_ISREG(status.st_mode))
		return "not a regular file";
	*size = (uint64_t)status.st_size;
	if (*size == 0)
		return NULL;
	void *mapped = mmap(NULL, (size_t)*size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (mapped == MAP_FAILED)
		return strerror(errno);
	madvise(mapped, (size_t)*size, MADV_SEQUENTIAL);
	*bytes = mapped;
	return NULL;
}

bool wh_walk_open(struct wh_walk *walk, const char *path, uint32_t raw_block_bytes)
{
	const uint8_t *bytes = NULL;
	uint64_t size = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *why = fd >= 0 ? map_file(fd, &bytes, &size) : strerror(errno);
	if (fd >= 0)
		close(fd);
	wh_walk_open_bytes(walk, bytes, bytes != NULL ? size : 0, raw_block_bytes);
	walk->mapped = bytes != NULL;
	if (why != NULL)
		walk->reason = why;
	return why == NULL;
}

void wh_walk_close(struct wh_walk *walk)
{
	if (walk->mapped)
		munmap((void *)walk->bytes, (size_t)walk->size);
	walk->bytes = NULL;
	walk->mapped = false;
}
