/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "writer/chain.h"

enum wh_status wh_directory_lock(const char *path, int *fd, struct wh_error *error)
{
	struct wh_chain_name name;
	*fd = -1;
	enum wh_status status = wh_chain_name_parse(path, NULL, &name, error);
	if (status != WH_OK)
		return status;
	int directory = open(name.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return WH_OK;
	if (flock(directory, LOCK_EX | LOCK_NB) == 0) {
		*fd = directory;
		return WH_OK;
	}
	int reason = errno;
	close(directory);
	if (reason != EWOULDBLOCK)
		return WH_OK;
	return wh_error_set(error, WH_ERR_INPUT,
			    "another capture writes to the directory %s: stop it, or choose another directory",
			    name.directory);
}

void wh_directory_unlock(int fd)
{
	if (fd < 0)
		return;
	/* A command (-z) that has been forked and not yet become a program holds the descriptor, too: closing ours
	 * would leave the lock with it. */
	flock(fd, LOCK_UN);
	close(fd);
}
