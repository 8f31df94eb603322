/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-blast IFACE (--size N | --mix N,N,... | --imix | --pcap FILE) [--count N] [--seconds S] [--rate PPS | --gbps G]
 *          [--burst N] [--threads N] [--cpus LIST] [--vlan ID[,ID]] [--first N] [--tapped] [--progress FILE]
 *          [--method M]
 *
 * Sends numbered frames (numbered.h) over an Ethernet interface: as fast as it can, or evenly at a rate. Sizes are
 * those of the frame without VLAN tags; tags come on top. --count 0 sends until the time is over or a signal says stop.
 *
 * Each of several threads has its own socket and its own numbers, from --first on. Within a thread frames keep their
 * order, none is sent twice and no number is left out: a frame that the kernel refused is sent again until it is taken.
 *
 * Without --tapped, frames go round the queueing discipline, the fastest way out; then no capture on IFACE itself sees
 * them, only one on its peer. --tapped sends them the usual way, past the capture taps.
 *
 * --method xdp sends nothing: the kernel makes the frames and takes them as received on IFACE, twice to three times as
 * many as otherwise, in runs of 2^20 with about 25 ms in between, and at no rate that could be asked for.
 *
 * --progress: the first 8 bytes of FILE, which must exist, always hold how many frames the kernel has taken so far.
 *
 * Prints one JSON object. "sent" counts frames that the kernel took to the other end. With --tapped a frame may have
 * passed the taps and be refused by the peer afterwards (a full backlog): sending it again would double it in the
 * capture, so it counts as sent, and in "refused_by_peer" too. "rate" and "gbps" are what was reached,
 * "pace_error_percent" how far that is from what was asked for.
 *
 * Exit status: 0 sent as asked or stopped by a signal; 1 could not send; 2 usage.
 */
#include "blast.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

struct sender {
	const struct wh_blast_orders *orders;
	void *state; /* of the method */
	pthread_t id;
	uint64_t start_ns, end_ns;
	uint64_t share; /* of the frames; UINT64_MAX: no end */
	uint8_t thread;
	bool failed;
	atomic_bool ended;
	char why[WH_BLAST_WHY_BYTES];
	struct wh_blast_tally tally;
	_Atomic uint64_t *progress; /* of all threads; NULL: nobody looks */
};

enum { LOOK_NS = 10000000 };

/* Set by the signal handler, or by a thread that cannot go on, for all of them. */
static atomic_bool stopping;

static void on_signal(int number)
{
	(void)number;
	atomic_store_explicit(&stopping, true, memory_order_relaxed);
}

const struct wh_blast_method *wh_blast_method_named(const char *name)
{
	static const struct wh_blast_method *const methods[] = { &wh_blast_sendmmsg, &wh_blast_xdp };
	/* xdp is faster, but its frames go another way: nobody gets that unasked. */
	if (strcmp(name, "auto") == 0)
		return &wh_blast_sendmmsg;
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(methods[i]->name, name) == 0)
			return methods[i];
	return NULL;
}

static bool map_progress(const char *path, _Atomic uint64_t **progress, char *why)
{
	if (path == NULL)
		return true;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *page = MAP_FAILED;
	if (fd >= 0 && ftruncate(fd, sizeof(**progress)) == 0)
		page = mmap(NULL, sizeof(**progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		snprintf(why, WH_BLAST_WHY_BYTES, "--progress needs a file that exists and can be written: %s: %s",
			 path, strerror(errno));
	else
		*progress = page;
	if (fd >= 0)
		close(fd);
	return page != MAP_FAILED;
}

/* Sends all of COUNT frames, however often it takes, unless it is told to stop. */
static bool send_all(struct sender *sender, uint64_t number, unsigned int count)
{
	while (count > 0) {
		uint64_t before = sender->tally.sent;
		int taken = sender->orders->method->send(sender->state, number, count, &sender->tally, sender->why);
		if (sender->progress != NULL)
			atomic_fetch_add_explicit(sender->progress, sender->tally.sent - before, memory_order_release);
		if (taken < 0)
			return false;
		number += (unsigned int)taken;
		count -= (unsigned int)taken;
		if (count > 0 && atomic_load_explicit(&stopping, memory_order_relaxed))
			return true;
		if (taken == 0)
			sched_yield();
	}
	return true;
}

/* Returns false when the kernel takes no more. */
static bool send_share(struct sender *sender)
{
	/* The default slack of 50 us would make bursts of what should be an even stream. */
	prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
	struct wh_blast_pace pace;
	wh_blast_pace_init(&pace, sender->orders, sender->thread, sender->start_ns);
	while (sender->tally.sent < sender->share) {
		uint64_t left = sender->share - sender->tally.sent;
		unsigned int most =
		    left < sender->orders->method->batch ? (unsigned int)left : sender->orders->method->batch;
		uint64_t number = sender->orders->first + sender->tally.sent;
		unsigned int count = wh_blast_pace_wait(&pace, number, most, &stopping);
		if (count == 0)
			return true;
		if (!send_all(sender, number, count))
			return false;
	}
	wh_blast_pace_finish(&pace, &stopping);
	return true;
}

static void *run_sender(void *context)
{
	struct sender *sender = context;
	if (!send_share(sender)) {
		sender->failed = true;
		atomic_store_explicit(&stopping, true, memory_order_relaxed);
	}
	sender->end_ns = wh_blast_now_ns();
	atomic_store_explicit(&sender->ended, true, memory_order_relaxed);
	return NULL;
}

static void close_senders(struct sender *senders, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		senders[i].orders->method->close(senders[i].state);
}

/* Opens the method for all threads, or for none. */
static bool open_senders(struct sender *senders, const struct wh_blast_orders *orders, char *why)
{
	const struct wh_blast_method *method = orders->method;
	for (uint8_t i = 0; i < orders->threads; i++) {
		senders[i].state = method->open(orders, i, why);
		if (senders[i].state == NULL) {
			close_senders(senders, i);
			return false;
		}
	}
	return true;
}

/* The processor for a thread: they go round those that were listed. */
static size_t processor(const struct sender *sender)
{
	const cpu_set_t *cpus = &sender->orders->cpus;
	int skip = sender->thread % CPU_COUNT(cpus);
	size_t cpu = 0;
	while (!CPU_ISSET(cpu, cpus) || skip-- > 0)
		cpu++;
	return cpu;
}

/* A thread that is to be pinned is from its first step on. */
static bool start(struct sender *sender, char *why)
{
	bool pinned = CPU_COUNT(&sender->orders->cpus) > 0;
	size_t cpu = pinned ? processor(sender) : 0;
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	if (pinned)
		pthread_attr_setaffinity_np(&attributes, sizeof(one), &one);
	int error = pthread_create(&sender->id, &attributes, run_sender, sender);
	pthread_attr_destroy(&attributes);
	if (error == EINVAL && pinned)
		snprintf(why, WH_BLAST_WHY_BYTES, "--cpus: there is no processor %zu that this may run on", cpu);
	else if (error != 0)
		snprintf(why, WH_BLAST_WHY_BYTES, "cannot start thread %d: %s", sender->thread, strerror(error));
	return error == 0;
}

static bool all_ended(const struct sender *senders, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		if (!atomic_load_explicit(&senders[i].ended, memory_order_relaxed))
			return false;
	return true;
}

/* Sees to it that threads end when they should, where the method is too deep in the kernel to look itself. */
static void watch(struct sender *senders, const struct wh_blast_orders *orders, unsigned int count)
{
	struct timespec pause = { .tv_nsec = LOOK_NS };
	while (orders->method->stop != NULL && !all_ended(senders, count)) {
		if (wh_blast_now_ns() - senders[0].start_ns >= orders->length_ns)
			atomic_store_explicit(&stopping, true, memory_order_relaxed);
		if (atomic_load_explicit(&stopping, memory_order_relaxed))
			for (unsigned int i = 0; i < count; i++)
				orders->method->stop(senders[i].state);
		nanosleep(&pause, NULL);
	}
}

/* Runs all threads to their end. */
static bool run(struct sender *senders, const struct wh_blast_orders *orders, char *why)
{
	bool done = true;
	uint64_t start_ns = wh_blast_now_ns();
	unsigned int started = 0;
	while (started < orders->threads && done) {
		senders[started].start_ns = senders[started].end_ns = start_ns;
		done = start(&senders[started], why);
		started += done;
	}
	if (!done)
		atomic_store_explicit(&stopping, true, memory_order_relaxed);
	watch(senders, orders, started);
	for (unsigned int i = 0; i < started; i++) {
		pthread_join(senders[i].id, NULL);
		if (senders[i].failed && done) {
			memcpy(why, senders[i].why, WH_BLAST_WHY_BYTES);
			done = false;
		}
	}
	return done;
}

static void divide(struct sender *senders, const struct wh_blast_orders *orders, _Atomic uint64_t *progress)
{
	for (uint8_t i = 0; i < orders->threads; i++) {
		uint64_t share = orders->count / orders->threads + (i < orders->count % orders->threads);
		senders[i].orders = orders;
		senders[i].thread = i;
		senders[i].progress = progress;
		senders[i].share = orders->count == 0 ? UINT64_MAX : share;
	}
}

static void report(const struct sender *senders, const struct wh_blast_orders *orders)
{
	struct wh_blast_tally all = { 0 };
	double seconds = 1e-9; /* nobody divides by it when no thread has run */
	for (uint8_t i = 0; i < orders->threads; i++) {
		all.sent += senders[i].tally.sent;
		all.bytes += senders[i].tally.bytes;
		all.refused += senders[i].tally.refused;
		all.refused_by_peer += senders[i].tally.refused_by_peer;
		double own = (double)(senders[i].end_ns - senders[i].start_ns) / WH_BLAST_NS_PER_S;
		seconds = own > seconds ? own : seconds;
	}
	double rate = (double)all.sent / seconds;
	double gbps = 8 * (double)all.bytes / seconds / WH_BLAST_NS_PER_S;
	printf(
	    "{\"sent\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"first\": %llu, \"refused\": %llu, "
	    "\"refused_by_peer\": %llu, \"method\": \"%s\", \"rate\": %.1f, \"gbps\": %.6f, \"pace_error_percent\": ",
	    (unsigned long long)all.sent, (unsigned long long)all.bytes, seconds, (unsigned long long)orders->first,
	    (unsigned long long)all.refused, (unsigned long long)all.refused_by_peer, orders->method->name, rate, gbps);
	if (orders->rate != 0)
		printf("%.3f", 100 * (rate / (double)orders->rate - 1));
	else if (orders->gbps > 0)
		printf("%.3f", 100 * (gbps / orders->gbps - 1));
	else
		printf("null");
	printf(", \"threads\": [");
	for (uint8_t i = 0; i < orders->threads; i++)
		printf("%s{\"thread\": %d, \"sent\": %llu, \"bytes\": %llu}", i == 0 ? "" : ", ", i,
		       (unsigned long long)senders[i].tally.sent, (unsigned long long)senders[i].tally.bytes);
	printf("]}\n");
}

/* Everything behind the command line. */
static bool blast(struct wh_blast_orders *orders, char *why)
{
	static struct sender senders[WH_NUMBERED_THREADS];
	_Atomic uint64_t *progress = NULL;
	if (!wh_blast_check_interface(orders, why) || !map_progress(orders->progress_path, &progress, why))
		return false;
	wh_numbered_init();
	divide(senders, orders, progress);
	if (!open_senders(senders, orders, why))
		return false;
	bool done = run(senders, orders, why);
	close_senders(senders, orders->threads);
	report(senders, orders);
	return done;
}

int main(int argc, char **argv)
{
	char why[WH_BLAST_WHY_BYTES] = "";
	struct wh_blast_orders orders;
	struct sigaction stop = { .sa_handler = on_signal };
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	int status = wh_blast_parse(argc, argv, &orders, why);
	if (status == 0 && orders.help)
		fputs(wh_blast_usage, stdout);
	else if (status == 0 && !blast(&orders, why))
		status = 1;
	if (status != 0)
		fprintf(stderr, "wh-blast: %s\n", why);
	wh_numbered_shape_free(&orders.shape);
	return status;
}
