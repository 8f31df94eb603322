/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-faketime.so: for LD_PRELOAD. The program's clocks are those of the system plus what the file named by WH_FAKETIME
 * holds: two 64-bit numbers, the nanoseconds by which the clock on the wall (CLOCK_REALTIME) and the one that only goes
 * forward (CLOCK_MONOTONIC) are set forth. The file may be changed at any time. What the kernel does by itself, such as
 * to stamp frames and to end a sleep after a time, goes by the real clocks.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND INT64_C(1000000000)

typedef int clock_reader(clockid_t clock, struct timespec *now);

enum { WALL, MONOTONIC, CLOCKS };

static clock_reader *real_clock_gettime;
static _Atomic int64_t *offsets; /* CLOCKS of them, in the file */

__attribute__((constructor)) static void set_up(void)
{
	*(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	const char *path = getenv("WH_FAKETIME");
	int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0 || real_clock_gettime == NULL) {
		fputs("wh-faketime: WH_FAKETIME must name a file\n", stderr);
		_exit(127);
	}
	void *memory = mmap(NULL, CLOCKS * sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (memory == MAP_FAILED)
		_exit(127);
	offsets = memory;
}

static int64_t offset_of(clockid_t clock)
{
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
		return offsets != NULL ? atomic_load_explicit(&offsets[WALL], memory_order_relaxed) : 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
		return offsets != NULL ? atomic_load_explicit(&offsets[MONOTONIC], memory_order_relaxed) : 0;
	default:
		return 0;
	}
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now)
{
	/* Another library's constructor may want the time before ours has run. */
	if (real_clock_gettime == NULL)
		*(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	int result = real_clock_gettime(clock, now);
	int64_t offset = offset_of(clock);
	if (result != 0 || offset == 0)
		return result;
	int64_t ns = now->tv_sec * NS_PER_SECOND + now->tv_nsec + offset;
	now->tv_sec = (time_t)(ns / NS_PER_SECOND);
	now->tv_nsec = (long)(ns % NS_PER_SECOND);
	return 0;
}

__attribute__((visibility("default"))) int gettimeofday(struct timeval *now, void *zone)
{
	struct timespec found;
	(void)zone;
	int result = clock_gettime(CLOCK_REALTIME, &found);
	now->tv_sec = found.tv_sec;
	now->tv_usec = (suseconds_t)(found.tv_nsec / 1000);
	return result;
}

__attribute__((visibility("default"))) time_t time(time_t *now)
{
	struct timespec found = { 0 };
	clock_gettime(CLOCK_REALTIME, &found);
	if (now != NULL)
		*now = found.tv_sec;
	return found.tv_sec;
}
