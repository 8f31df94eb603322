/* SPDX-License-Identifier: BSD-3-Clause */
/* Two threads, each on a CPU of its own, that wait for one another by looking. */
#ifndef WH_BENCH_THREADS_H
#define WH_BENCH_THREADS_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct wh_bench_cpus {
	cpu_set_t allowed; /* to the process, before anybody was pinned */
	size_t cpu[2];     /* the first two of them */
	bool two;          /* there are as many; else nobody is pinned */
};

/* To be called by the thread that wh_bench_cpus_leave() will put back. */
void wh_bench_cpus_find(struct wh_bench_cpus *cpus);

/* Pins the calling thread to CPU number WHICH (0 or 1) of the two. Threads that it makes inherit that. */
void wh_bench_cpus_take(const struct wh_bench_cpus *cpus, int which);

void wh_bench_cpus_leave(const struct wh_bench_cpus *cpus);

/* CPU time of all threads of the process. */
uint64_t wh_bench_process_cpu_ns(void);

/* Spinning is what is measured, but where both threads have one CPU the other one must get it. */
static inline void wh_bench_spin(unsigned *spins)
{
	enum { SPINS = 1000 };
	if (++*spins % SPINS == 0)
		sched_yield();
}

#endif
