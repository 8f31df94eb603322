/* SPDX-License-Identifier: BSD-3-Clause */
#include "threads.h"

#include <pthread.h>
#include <time.h>

#include "ringbuf/clock.h"

void wh_bench_cpus_find(struct wh_bench_cpus *cpus)
{
	int found = 0;
	pthread_getaffinity_np(pthread_self(), sizeof(cpus->allowed), &cpus->allowed);
	for (size_t cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET(cpu, &cpus->allowed))
			cpus->cpu[found++] = cpu;
	cpus->two = found == 2;
}

void wh_bench_cpus_take(const struct wh_bench_cpus *cpus, int which)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpus->cpu[which], &set);
	if (cpus->two)
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

void wh_bench_cpus_leave(const struct wh_bench_cpus *cpus)
{
	pthread_setaffinity_np(pthread_self(), sizeof(cpus->allowed), &cpus->allowed);
}

uint64_t wh_bench_process_cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return wh_ns_from_timespec(&now);
}
