/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-test-blast IFACE --count N (--size N | --mix N,N,...) [--rate PPS] [--vlan ID[,ID]] [--first N] [--seconds S]
 *               [--tapped] [--progress FILE]
 *
 * Sends numbered frames (numbered.h) over a packet socket: as fast as one core can, or evenly at PPS. --size is the
 * frame without VLAN tags; tags come on top. --count 0 sends until the time is over or a signal says stop.
 *
 * Without --tapped, frames go round the queueing discipline (PACKET_QDISC_BYPASS), the fastest way out; then no
 * capture on IFACE itself sees them, only one on its peer. --tapped sends them the usual way, past the capture taps.
 *
 * --progress: the first 8 bytes of FILE, which must exist, always hold how many frames the kernel has taken so far.
 *
 * Prints one JSON object. "sent" counts frames that the kernel took to the other end of the pair; a frame that it
 * refused is sent again until it is taken. With --tapped a frame may have passed the taps and be refused by the peer
 * afterwards (a full backlog): sending it again would double it in the capture, so it counts as sent, and in
 * "refused_by_peer" too.
 */
#include "numbered.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, PAUSE_MIN_NS = 50000, SECONDS_DEFAULT = 60, NS_PER_S = 1000000000 };

struct orders {
	const char *interface;
	const char *progress_path;
	struct wh_numbered_shape shape;
	uint64_t count, first, rate, seconds;
	bool tapped;
};

struct sender {
	int socket;
	uint64_t start_ns;
	uint64_t sent, bytes, refused, refused_by_peer;
	_Atomic uint64_t *progress;
	_Atomic uint64_t unwatched; /* where progress points when nobody asked for it */
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH][2];
	uint8_t heads[BATCH][WH_NUMBERED_HEAD_MAX];
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int open_socket(const struct orders *orders)
{
	unsigned int index = if_nametoindex(orders->interface);
	if (index == 0) {
		fprintf(stderr, "wh-test-blast: no interface %s\n", orders->interface);
		return -1;
	}
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		perror("wh-test-blast: packet socket");
		return -1;
	}
	/* Protocol 0: the socket receives nothing, so sending costs no copy back to ourselves. */
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_ifindex = (int)index };
	int bypass = !orders->tapped;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof(bypass)) < 0) {
		perror("wh-test-blast: packet socket");
		close(fd);
		return -1;
	}
	return fd;
}

static bool map_progress(struct sender *sender, const char *path)
{
	sender->progress = &sender->unwatched;
	if (path == NULL)
		return true;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || ftruncate(fd, sizeof(*sender->progress)) < 0) {
		perror(path);
		return false;
	}
	void *page = mmap(NULL, sizeof(*sender->progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page == MAP_FAILED) {
		perror(path);
		return false;
	}
	sender->progress = page;
	return true;
}

/* Only the head of a frame is built here; the kernel takes the pattern from the table itself. */
static void prepare(struct sender *sender, const struct orders *orders, uint64_t first, unsigned int count)
{
	uint64_t now_ns = clock_ns(CLOCK_REALTIME);
	for (unsigned int i = 0; i < count; i++) {
		uint64_t number = first + i;
		size_t head = wh_numbered_head(&orders->shape, number, now_ns, sender->heads[i]);
		size_t rest = wh_numbered_bytes(&orders->shape, number) - head;
		sender->parts[i][0] = (struct iovec){ .iov_base = sender->heads[i], .iov_len = head };
		/* sendmsg() only reads, but iov_base is not const. */
		void *pattern = (void *)wh_numbered_pattern(number);
		sender->parts[i][1] = (struct iovec){ .iov_base = pattern, .iov_len = rest };
		sender->messages[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = sender->parts[i], .msg_iovlen = 2 } };
	}
}

static void account(struct sender *sender, unsigned int from, unsigned int count)
{
	for (unsigned int i = from; i < from + count; i++)
		sender->bytes += sender->parts[i][0].iov_len + sender->parts[i][1].iov_len;
	sender->sent += count;
	atomic_store_explicit(sender->progress, sender->sent, memory_order_release);
}

/*
 * Sends all of a prepared batch, or returns false on an error that will not pass. sendmmsg() says how many it has
 * sent and forgets why the next one failed. With taps that matters (see the top of this file), so there frames go one
 * at a time.
 */
static bool send_batch(struct sender *sender, bool tapped, unsigned int count)
{
	unsigned int done = 0;
	while (done < count) {
		unsigned int most = tapped ? 1 : count - done;
		int taken = sendmmsg(sender->socket, sender->messages + done, most, 0);
		if (taken > 0) {
			account(sender, done, (unsigned int)taken);
			done += (unsigned int)taken;
		} else if (errno == ENOBUFS && tapped) {
			sender->refused_by_peer++;
			account(sender, done++, 1);
		} else if (errno == ENOBUFS || errno == EAGAIN || errno == EINTR) {
			sender->refused++;
			if (stopping)
				return true;
			sched_yield();
		} else {
			perror("wh-test-blast: sending");
			return false;
		}
	}
	return true;
}

/* How many frames are due by now, at most a batch. Waits until there is at least one, or until time is up. */
static unsigned int wait_until_due(const struct sender *sender, const struct orders *orders, uint64_t end_ns)
{
	uint64_t left = orders->count == 0 ? BATCH : orders->count - sender->sent;
	unsigned int most = left < BATCH ? (unsigned int)left : BATCH;
	while (orders->rate != 0 && !stopping) {
		uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
		uint64_t elapsed_ns = now_ns - sender->start_ns;
		/* Seconds and the rest apart: the product of hours and a rate does not fit in 64 bits. */
		uint64_t due =
		    elapsed_ns / NS_PER_S * orders->rate + elapsed_ns % NS_PER_S * orders->rate / NS_PER_S + 1;
		if (due > sender->sent)
			return due - sender->sent < most ? (unsigned int)(due - sender->sent) : most;
		if (now_ns >= end_ns)
			return 0;
		uint64_t next_ns = sender->start_ns + sender->sent / orders->rate * NS_PER_S +
				   sender->sent % orders->rate * NS_PER_S / orders->rate;
		if (next_ns < now_ns + PAUSE_MIN_NS)
			next_ns = now_ns + PAUSE_MIN_NS;
		if (next_ns > end_ns)
			next_ns = end_ns;
		struct timespec until = { .tv_sec = (time_t)(next_ns / NS_PER_S),
					  .tv_nsec = (long)(next_ns % NS_PER_S) };
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	}
	return most;
}

static bool run(struct sender *sender, const struct orders *orders)
{
	uint64_t end_ns = sender->start_ns + orders->seconds * NS_PER_S;
	while (!stopping && (orders->count == 0 || sender->sent < orders->count)) {
		unsigned int count = wait_until_due(sender, orders, end_ns);
		if (stopping || clock_ns(CLOCK_MONOTONIC) >= end_ns)
			break;
		prepare(sender, orders, orders->first + sender->sent, count);
		if (!send_batch(sender, orders->tapped, count))
			return false;
	}
	return true;
}

static bool parse_value(struct orders *orders, const char *name, const char *value)
{
	if (strcmp(name, "--count") == 0)
		return wh_numbered_parse_u64(value, UINT64_MAX, &orders->count);
	if (strcmp(name, "--first") == 0)
		return wh_numbered_parse_u64(value, UINT64_MAX, &orders->first);
	if (strcmp(name, "--rate") == 0)
		return wh_numbered_parse_u64(value, NS_PER_S, &orders->rate);
	if (strcmp(name, "--seconds") == 0)
		return wh_numbered_parse_u64(value, 86400, &orders->seconds);
	if (strcmp(name, "--size") == 0 || strcmp(name, "--mix") == 0)
		return wh_numbered_parse_sizes(&orders->shape, value);
	if (strcmp(name, "--vlan") == 0)
		return wh_numbered_parse_vlans(&orders->shape, value);
	if (strcmp(name, "--progress") == 0) {
		orders->progress_path = value;
		return true;
	}
	return false;
}

static bool parse(int argc, char **argv, struct orders *orders)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--tapped") == 0) {
			orders->tapped = true;
		} else if (argv[i][0] != '-' && orders->interface == NULL) {
			orders->interface = argv[i];
		} else if (i + 1 == argc || !parse_value(orders, argv[i], argv[i + 1])) {
			fprintf(stderr, "wh-test-blast: bad argument: %s\n", argv[i]);
			return false;
		} else {
			i++;
		}
	}
	if (orders->interface == NULL || orders->shape.size_count == 0) {
		fprintf(stderr, "usage: wh-test-blast IFACE --count N (--size N | --mix N,N,...) [--rate PPS] "
				"[--vlan ID[,ID]] [--first N] [--seconds S] [--tapped] [--progress FILE]\n");
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct orders orders = { .first = 1, .seconds = SECONDS_DEFAULT };
	if (!parse(argc, argv, &orders))
		return 2;
	struct sigaction stop = { .sa_handler = on_signal };
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	/* The default slack of 50 us would make bursts of what should be an even stream. */
	prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
	wh_numbered_init();

	static struct sender sender;
	sender.socket = open_socket(&orders);
	if (sender.socket < 0 || !map_progress(&sender, orders.progress_path))
		return 1;
	sender.start_ns = clock_ns(CLOCK_MONOTONIC);
	bool done = run(&sender, &orders);
	double seconds = (double)(clock_ns(CLOCK_MONOTONIC) - sender.start_ns) / NS_PER_S;
	close(sender.socket);
	printf("{\"sent\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"first\": %llu, \"refused\": %llu, "
	       "\"refused_by_peer\": %llu}\n",
	       (unsigned long long)sender.sent, (unsigned long long)sender.bytes, seconds,
	       (unsigned long long)orders.first, (unsigned long long)sender.refused,
	       (unsigned long long)sender.refused_by_peer);
	return done ? 0 : 1;
}
