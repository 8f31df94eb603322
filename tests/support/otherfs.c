/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-otherfs.so: for LD_PRELOAD. The program is told of FUSE that it is some other file system, so that what it does
 * only where it is not on FUSE can be made to fail to order (faultfs.c).
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/magic.h>
#include <stddef.h>
#include <sys/vfs.h>

typedef int asker(int fd, struct statfs *found);

__attribute__((visibility("default"))) int fstatfs(int fd, struct statfs *found)
{
	asker *real;
	*(void **)&real = dlsym(RTLD_NEXT, "fstatfs");
	if (real == NULL) {
		errno = ENOSYS;
		return -1;
	}
	int result = real(fd, found);
	if (result == 0 && found->f_type == FUSE_SUPER_MAGIC)
		found->f_type = EXT4_SUPER_MAGIC;
	return result;
}
