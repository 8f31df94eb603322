/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that are not there: the chain goes on as ever, and no file system hears of it. */
#include "writer/file.h"

static enum wh_status discard_directory_open(const char *directory, int *fd, struct wh_error *error)
{
	(void)directory, (void)error;
	*fd = -1;
	return WH_OK;
}

static enum wh_status discard_open(struct wh_file *file, const char *path, enum wh_file_direct direct,
				   const uint8_t *header, uint32_t length, struct wh_error *error)
{
	(void)path, (void)direct, (void)header, (void)error;
	/* Said to allocate, so that nothing is promised to writers of the same process that do use a disk. */
	*file = (struct wh_file){
		.buffered_fd = -1, .direct_fd = -1, .allocates = true, .length = length, .valid = length
	};
	return WH_OK;
}

static enum wh_status discard_allocate(struct wh_file *file, uint64_t end, struct wh_error *error)
{
	(void)error;
	if (end > file->allocated)
		file->allocated = end;
	return WH_OK;
}

static bool discard_has_name(const struct wh_file *file)
{
	(void)file;
	return true;
}

static enum wh_status discard_finish(struct wh_file *file, struct wh_error *error)
{
	(void)file, (void)error;
	return WH_OK;
}

static void discard_abandon(struct wh_file *file)
{
	(void)file;
}

static enum wh_status discard_remove(const char *path, bool at_once, struct wh_error *error)
{
	(void)path, (void)at_once, (void)error;
	return WH_OK;
}

const struct wh_file_ops wh_file_discard_ops = {
	.directory_open = discard_directory_open,
	.open = discard_open,
	.allocate = discard_allocate,
	.has_name = discard_has_name,
	.finish = discard_finish,
	.abandon = discard_abandon,
	.remove = discard_remove,
};
