/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loops around a ring. Each file that has one says first what it is (struct ring; ring_open(), ring_close(),
 * ring_push(), ring_pop(), ring_is_empty(), as in ringbuf/spsc.h) and includes this then, so that the loops are
 * compiled around the ring itself, the same ones for each.
 */
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "ringbuf/clock.h"
#include "ringbuf/spsc.h"
#include "threads.h"

struct passage {
	struct ring ring;
	/* Each side's own, so that they are on no line of the ring's. */
	alignas(WH_CACHE_LINE) uint64_t count; /* written before the start */
	bool announced;                        /* the consumer sleeps until it is woken */
	struct wh_bench_cpus cpus;
	alignas(WH_CACHE_LINE) _Atomic bool go;
	alignas(WH_CACHE_LINE) _Atomic bool sleeping; /* both sides exchange it */
};

/* Inlined, so that BATCH is a constant for either ring's compiler run. */
static inline __attribute__((always_inline)) uint64_t one_thread(struct passage *passage, unsigned batch)
{
	uint64_t start_ns = wh_ns_monotonic();
	for (uint64_t i = 0; i < passage->count; i += batch) {
		for (unsigned k = 0; k < batch; k++)
			if (!ring_push(&passage->ring, passage))
				abort();
		for (unsigned k = 0; k < batch; k++)
			if (ring_pop(&passage->ring) != passage)
				abort();
	}
	return wh_ns_monotonic() - start_ns;
}

/* As wh_writer_wake() does; looking stands in for the sleep itself, which would be all that is seen. */
static void consumer_wake(struct passage *passage)
{
	/* Releases the pushes before it: pairs with the exchange in consumer_sleep(). */
	atomic_exchange_explicit(&passage->sleeping, false, memory_order_acq_rel);
}

static void consumer_sleep(struct passage *passage, unsigned *spins)
{
	/* Acquires the pushes, if the producer's exchange came first. */
	atomic_exchange_explicit(&passage->sleeping, true, memory_order_acq_rel);
	if (!ring_is_empty(&passage->ring)) {
		atomic_store_explicit(&passage->sleeping, false, memory_order_relaxed);
		return;
	}
	/* Acquire: pairs with the exchange in consumer_wake(). */
	while (atomic_load_explicit(&passage->sleeping, memory_order_acquire))
		wh_bench_spin(spins);
}

static void *producer_main(void *argument)
{
	struct passage *passage = argument;
	unsigned spins = 0;
	wh_bench_cpus_take(&passage->cpus, 1);
	/* Acquire: pairs with the release in two_threads(). */
	while (!atomic_load_explicit(&passage->go, memory_order_acquire))
		wh_bench_spin(&spins);
	for (uint64_t i = 0; i < passage->count; i++) {
		while (!ring_push(&passage->ring, passage))
			wh_bench_spin(&spins);
		if (passage->announced &&
		    (i % WH_RING_BATCH_ITEMS == WH_RING_BATCH_ITEMS - 1 || i + 1 == passage->count))
			consumer_wake(passage);
	}
	return NULL;
}

/* One thread pushes as fast as it can, the other one takes. ANNOUNCED: the consumer takes what there is and then looks
 * no more until the producer, WH_RING_BATCH_ITEMS pushes later, says that there is something: as the writer does. */
static uint64_t two_threads(struct passage *passage)
{
	pthread_t producer;
	unsigned spins = 0;
	wh_bench_cpus_find(&passage->cpus);
	if (pthread_create(&producer, NULL, producer_main, passage) != 0)
		abort();
	wh_bench_cpus_take(&passage->cpus, 0);
	uint64_t start_ns = wh_ns_monotonic();
	/* Release: pairs with the acquire in producer_main(). */
	atomic_store_explicit(&passage->go, true, memory_order_release);
	for (uint64_t taken = 0; taken < passage->count;) {
		if (ring_pop(&passage->ring) != NULL)
			taken++;
		else if (passage->announced)
			consumer_sleep(passage, &spins);
		else
			wh_bench_spin(&spins);
	}
	uint64_t ns = wh_ns_monotonic() - start_ns;
	pthread_join(producer, NULL);
	wh_bench_cpus_leave(&passage->cpus);
	return ns;
}

static uint64_t pass(struct passage *passage, int pattern)
{
	switch (pattern) {
	case WH_RING_ALONE:
		return one_thread(passage, 1);
	case WH_RING_ALONE_BATCH:
		return one_thread(passage, WH_RING_BATCH_ITEMS);
	default:
		return two_threads(passage);
	}
}

static struct wh_bench_sample ring_run(const struct wh_bench_case *this, uint64_t iterations)
{
	static struct passage passage; /* on the same lines each time */
	passage.count = iterations * (this->kind == WH_RING_ALONE_BATCH ? WH_RING_BATCH_ITEMS : 1);
	passage.announced = this->kind == WH_RING_BATCH;
	atomic_store(&passage.go, false);
	atomic_store(&passage.sleeping, false);
	if (!ring_open(&passage.ring, this->size))
		abort();
	uint64_t cpu_ns = wh_bench_process_cpu_ns();
	uint64_t ns = pass(&passage, this->kind);
	cpu_ns = wh_bench_process_cpu_ns() - cpu_ns;
	ring_close(&passage.ring);
	return (struct wh_bench_sample){ .ns = ns, .items = passage.count, .cpu_ns = cpu_ns };
}
