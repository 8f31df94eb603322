/* SPDX-License-Identifier: BSD-3-Clause */
#include "writer/space.h"

#include <sys/statvfs.h>

/* Kept back for what allocating a file costs the file system itself: extent trees, directory blocks, reservations. */
enum { METADATA_MARGIN = 1024 * 1024 };

uint64_t wh_space_limit(const struct wh_space *space, double percent)
{
	double exact = (double)space->total_bytes / 100.0 * percent;
	if (exact >= (double)UINT64_MAX) /* which is 2^64, one more than can be told */
		return UINT64_MAX;
	uint64_t whole = (uint64_t)exact;
	return whole + (exact > (double)whole ? 1 : 0);
}

uint64_t wh_space_grant(const struct wh_space *space, double percent, uint64_t wanted, uint64_t alignment)
{
	if (percent <= 0 || space->total_bytes == 0)
		return wanted;
	uint64_t limit = wh_space_limit(space, percent);
	if (space->available_bytes <= limit || space->available_bytes - limit <= METADATA_MARGIN)
		return 0;
	uint64_t most = (space->available_bytes - limit - METADATA_MARGIN) / 2;
	return (most < wanted ? most : wanted) & ~(alignment - 1);
}

double wh_space_percent(const struct wh_space *space)
{
	if (space->total_bytes == 0)
		return 0;
	return (double)space->available_bytes * 100.0 / (double)space->total_bytes;
}

/* Network and FUSE file systems tell of sizes that they do not mean. */
static uint64_t bytes_of(uint64_t blocks, uint64_t block_bytes)
{
	return block_bytes != 0 && blocks > UINT64_MAX / block_bytes ? UINT64_MAX : blocks * block_bytes;
}

enum wh_status wh_space_read(int fd, struct wh_space *space)
{
	struct statvfs found;
	if (fstatvfs(fd, &found) != 0)
		return WH_ERR_SYSTEM;
	space->total_bytes = bytes_of(found.f_blocks, found.f_frsize);
	space->available_bytes = bytes_of(found.f_bavail, found.f_frsize);
	return WH_OK;
}
