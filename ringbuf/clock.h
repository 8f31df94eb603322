/* SPDX-License-Identifier: BSD-3-Clause */
/* Time in nanoseconds, always 64 bits wide before anything is multiplied. */
#ifndef WH_RINGBUF_CLOCK_H
#define WH_RINGBUF_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define WH_NS_PER_SECOND 1000000000ULL
#define WH_NS_PER_MS     1000000ULL

/* Seconds and nanoseconds as the kernel's ring tells them (both u32) to ns since 1970. Good until the year 2106. */
static inline uint64_t wh_ns_from_parts(uint32_t seconds, uint32_t nanoseconds)
{
	return (uint64_t)seconds * WH_NS_PER_SECOND + nanoseconds;
}

static inline uint64_t wh_ns_from_timespec(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * WH_NS_PER_SECOND + (uint64_t)time->tv_nsec;
}

/* Nanoseconds on the clock that is never set; for intervals and deadlines. */
static inline uint64_t wh_ns_monotonic(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return wh_ns_from_timespec(&now);
}

/* Nanoseconds since 1970, as the wall clock says just now. */
static inline uint64_t wh_ns_wall(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return wh_ns_from_timespec(&now);
}

/* Takes note that a thread has come round its loop, for whoever watches it (relaxed: a time that is a moment old is as
 * good). */
static inline void wh_beat(_Atomic uint64_t *beat_ns)
{
	atomic_store_explicit(beat_ns, wh_ns_monotonic(), memory_order_relaxed);
}

#endif
