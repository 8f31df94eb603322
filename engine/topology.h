/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which core and which memory node serve which adapter (hwloc). A capture thread belongs near its adapter's PCI slot,
 * not on the core that handles the adapter's interrupts where there is another one, and not on a core that already
 * has a capture thread while a free one is left.
 */
#ifndef WH_ENGINE_TOPOLOGY_H
#define WH_ENGINE_TOPOLOGY_H

#include <stdint.h>

#include "ringbuf/status.h"

struct wh_topology;

/*
 * Loads the machine's topology, with PCI and network objects where there is more than one place they can be. Only CPUs
 * that the process may run on (sched_getaffinity) count. CPU_LIST: "0,2-3" restricts the choice, NULL: all. A list that
 * names a CPU that is not there or not allowed is WH_ERR_INPUT. The caller owns *TOPOLOGY. Takes about a millisecond,
 * with devices ten. Nothing is loaded where one CPU is left and there is one memory node: then there is no choice.
 */
WH_MUST_CHECK enum wh_status wh_topology_open(const char *cpu_list, struct wh_topology **topology,
					      struct wh_error *error);

/* The NUMA node of adapter NAME as the kernel numbers it, or -1 where it has none (virtual adapters) or the machine
 * has a single node. */
int wh_topology_node(const struct wh_topology *topology, const char *name);

/*
 * Chooses the CPU for the next capture thread of adapter NAME and counts it as taken: one with the fewest threads
 * given so far, so that none is shared while another is free; among those the nearest to the adapter (same NUMA
 * node), then one whose core has the fewest threads on its other hardware threads, then one that does not serve the
 * adapter's interrupts (msi_irqs in sysfs, /proc/interrupts, effective affinity in /proc/irq), then the highest
 * number (low CPUs do the house-keeping). Returns the CPU's number as the kernel has it. Reads sysfs and procfs:
 * milliseconds. One thread at a time for this call and the next.
 */
int wh_topology_take_cpu(struct wh_topology *topology, const char *name);

/* Gives a CPU back that wh_topology_take_cpu() chose. */
void wh_topology_return_cpu(struct wh_topology *topology, int cpu);

/* Pins the calling thread to CPU. Any thread, several at a time. */
WH_MUST_CHECK enum wh_status wh_topology_pin(const struct wh_topology *topology, int cpu, struct wh_error *error);

/* Binds what the calling thread will allocate to NODE, preferring it rather than failing; -1: back to the default.
 * To be called before a ring is made: the kernel takes the ring's pages under the caller's policy. Any thread. */
void wh_topology_bind_memory(const struct wh_topology *topology, int node);

/* NULL is allowed. */
void wh_topology_close(struct wh_topology *topology);

/* Pure: the CPUs in "0,2-3" as a bit set; for tests. Returns WH_ERR_INPUT for anything else, CPUs above 1023 too. */
WH_MUST_CHECK enum wh_status wh_cpu_list_parse(const char *text, uint64_t bits[16], struct wh_error *error);

#endif
