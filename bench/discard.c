/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-bench-discard IFACE [--block-size N] [--blocks N] [--timeout MS] [--cpu N] [--seconds S]
 *
 * The least that a consumer of a TPACKET_V3 ring can do: each block goes back to the kernel as soon as it is seen, and
 * nothing behind its header is read. What is lost nevertheless is the kernel's own limit; nobody can lose less with the
 * same ring. A witness must not have the mistakes of whom it is to testify about, so this shares no code with the
 * engine; the ring is the same: PACKET_RESERVE, private area, promiscuous mode, edge-triggered waiting.
 *
 * Says on standard error when it has begun. Ends with SIGINT, SIGTERM, or after S seconds: then nothing more is let in,
 * what is in the ring is counted, and one JSON object is printed: frames (in the blocks), received and dropped (as the
 * kernel counts, drops included in the former), blocks, and seconds and CPU seconds since it had begun.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "wh-bench-discard"

enum {
	RESERVE_BYTES = 2,   /* what the engine asks for with Ethernet, so that slots are as large as its own */
	PRIVATE_BYTES = 208, /* the same */
	FRAME_BYTES = 2048,  /* without meaning in version 3; must divide a block */
	MS_PER_SECOND = 1000,
	COUNTERS_EVERY_MS = 1000, /* 32 bits are not overrun in that time */
	GRACE_MS = 2000,          /* for the last block to come, beyond the block timeout */
	SECONDS_MOST = 1000000
};

struct orders {
	const char *interface;
	uint32_t block_bytes, blocks, timeout_ms;
	int cpu;             /* -1: wherever the scheduler wants */
	uint64_t seconds_ms; /* 0: until a signal */
};

struct ring {
	int fd, epoll_fd, signal_fd;
	uint8_t *memory;
	uint32_t block_bytes, blocks;
	uint32_t next; /* the block that the kernel hands over next */
};

struct tally {
	uint64_t frames, received, dropped, blocks;
};

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * MS_PER_SECOND + (uint64_t)now.tv_nsec / 1000000;
}

static double cpu_seconds(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Gives back what is there, once around the ring at most. Returns how many blocks that were. */
static uint32_t blocks_discard(struct ring *ring, struct tally *tally)
{
	uint32_t count = 0;
	for (; count < ring->blocks; count++) {
		uint8_t *base = ring->memory + (size_t)ring->next * ring->block_bytes;
		struct tpacket_block_desc *block = (struct tpacket_block_desc *)(void *)base;
		_Atomic uint32_t *status = (_Atomic uint32_t *)&block->hdr.bh1.block_status;
		/* Acquire: the kernel writes the status after all else of the header. */
		if (!(atomic_load_explicit(status, memory_order_acquire) & TP_STATUS_USER))
			break;
		tally->frames += block->hdr.bh1.num_pkts;
		/* Release: the header has been read before the kernel may write it again. */
		atomic_store_explicit(status, TP_STATUS_KERNEL, memory_order_release);
		ring->next = ring->next + 1 == ring->blocks ? 0 : ring->next + 1;
	}
	tally->blocks += count;
	return count;
}

/* The kernel clears its counters when they are read. */
static void counters_read(const struct ring *ring, struct tally *tally)
{
	struct tpacket_stats_v3 counted = { 0 };
	socklen_t length = sizeof(counted);
	if (getsockopt(ring->fd, SOL_PACKET, PACKET_STATISTICS, &counted, &length) != 0)
		return;
	tally->received += counted.tp_packets; /* drops included */
	tally->dropped += counted.tp_drops;
}

/* Sleeps until a block was handed over since the last time, TIMEOUT_MS have passed, or a signal came: then true. */
static bool wait_for_more(const struct ring *ring, uint64_t timeout_ms)
{
	struct epoll_event events[2];
	bool signalled = false;
	int count = epoll_wait(ring->epoll_fd, events, 2, (int)timeout_ms);
	for (int i = 0; i < count; i++) {
		if (events[i].data.fd == ring->signal_fd) {
			signalled = true;
		} else if (events[i].events & EPOLLERR) {
			/* The adapter went down; the ring goes on when it comes up again. Reading the error clears it.
			 */
			int reason;
			socklen_t length = sizeof(reason);
			getsockopt(ring->fd, SOL_SOCKET, SO_ERROR, &reason, &length);
		}
	}
	return signalled;
}

static uint64_t until(uint64_t now, uint64_t due)
{
	return due > now ? due - now : 0;
}

static void discard(struct ring *ring, const struct orders *orders, struct tally *tally)
{
	uint64_t now = now_ms(), end = orders->seconds_ms != 0 ? now + orders->seconds_ms : UINT64_MAX;
	uint64_t counters_due = now + COUNTERS_EVERY_MS;
	bool signalled = false;
	while (!signalled && now < end) {
		bool busy = blocks_discard(ring, tally) == ring->blocks;
		now = now_ms();
		if (now >= counters_due) {
			counters_read(ring, tally);
			counters_due = now + COUNTERS_EVERY_MS;
		}
		uint64_t due = end < counters_due ? end : counters_due;
		signalled = wait_for_more(ring, busy ? 0 : until(now, due));
		now = now_ms();
	}
}

/* Lets nothing more in and takes what was let in: the last block comes when its timeout is over. False where not all of
 * it came. */
static bool drain(struct ring *ring, const struct orders *orders, struct tally *tally)
{
	struct sock_filter refuse = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog program = { .len = 1, .filter = &refuse };
	setsockopt(ring->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
	/* A frame that passed the old filter may still be on its way into the ring, so the counters are good only after
	 * a while. */
	uint64_t settled = now_ms() + orders->timeout_ms, give_up = settled + GRACE_MS;
	for (;;) {
		uint64_t now = now_ms();
		blocks_discard(ring, tally);
		counters_read(ring, tally);
		bool all = tally->frames + tally->dropped >= tally->received;
		if ((all && now >= settled) || now >= give_up)
			return all;
		const struct timespec moment = { .tv_nsec = 5000000 };
		nanosleep(&moment, NULL);
	}
}

/* ---- the ring ---- */

static bool failed(const char *what, const char *interface)
{
	fprintf(stderr, PROGRAM ": %s %s: %s\n", what, interface, strerror(errno));
	return false;
}

static int option_set(int fd, int name, int value)
{
	return setsockopt(fd, SOL_PACKET, name, &value, sizeof(value));
}

/* On the loopback adapter each frame passes twice, out and in. */
static int outgoing_ignore(int fd, const char *interface)
{
	struct ifreq request = { 0 };
	memcpy(request.ifr_name, interface, strlen(interface)); /* if_nametoindex() knew it, so it fits */
	if (ioctl(fd, SIOCGIFFLAGS, &request) != 0)
		return -1;
	return request.ifr_flags & IFF_LOOPBACK ? option_set(fd, PACKET_IGNORE_OUTGOING, 1) : 0;
}

static bool watch_make(struct ring *ring)
{
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0)
		return false;
	ring->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	ring->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event block = { .events = EPOLLIN | EPOLLET, .data.fd = ring->fd };
	struct epoll_event signal = { .events = EPOLLIN, .data.fd = ring->signal_fd };
	return ring->signal_fd >= 0 && ring->epoll_fd >= 0 &&
	       epoll_ctl(ring->epoll_fd, EPOLL_CTL_ADD, ring->fd, &block) == 0 &&
	       epoll_ctl(ring->epoll_fd, EPOLL_CTL_ADD, ring->signal_fd, &signal) == 0;
}

/* On failure what was opened stays so: the process ends. */
static bool ring_open(struct ring *ring, const struct orders *orders)
{
	const char *interface = orders->interface;
	unsigned index = if_nametoindex(interface);
	if (index == 0)
		return failed("there is no adapter", interface);
	/* Protocol 0 receives nothing; binding it begins. */
	ring->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (ring->fd < 0)
		return failed("cannot capture on", interface);
	struct tpacket_req3 request = {
		.tp_block_size = orders->block_bytes,
		.tp_block_nr = orders->blocks,
		.tp_frame_size = FRAME_BYTES,
		.tp_frame_nr = orders->block_bytes / FRAME_BYTES * orders->blocks,
		.tp_retire_blk_tov = orders->timeout_ms,
		.tp_sizeof_priv = PRIVATE_BYTES,
	};
	if (option_set(ring->fd, PACKET_VERSION, TPACKET_V3) != 0 ||
	    option_set(ring->fd, PACKET_RESERVE, RESERVE_BYTES) != 0 || outgoing_ignore(ring->fd, interface) != 0 ||
	    setsockopt(ring->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) != 0)
		return failed("cannot make such a ring for", interface);
	ring->block_bytes = orders->block_bytes;
	ring->blocks = orders->blocks;
	size_t bytes = (size_t)orders->block_bytes * orders->blocks;
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (memory == MAP_FAILED || !watch_make(ring))
		return failed("cannot watch the ring of", interface);
	ring->memory = memory;
	const struct sockaddr_ll address = { .sll_family = AF_PACKET,
					     .sll_protocol = htons(ETH_P_ALL),
					     .sll_ifindex = (int)index };
	const struct packet_mreq promiscuous = { .mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC };
	if (bind(ring->fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
	    setsockopt(ring->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) != 0)
		return failed("cannot capture on", interface);
	return true;
}

/* ---- what is asked for ---- */

static bool number_parse(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
	char *end;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *value >= least && *value <= most;
}

static bool wrong(const char *what, const char *text)
{
	fprintf(stderr, PROGRAM ": %s, not \"%s\"\n", what, text);
	return false;
}

static bool option_parse(int option, const char *text, struct orders *orders)
{
	uint64_t value;
	switch (option) {
	case 's':
		if (!number_parse(text, 4096, 1 << 24, &value) || (value & (value - 1)) != 0)
			return wrong("--block-size takes a power of two from 4096 to 16777216", text);
		orders->block_bytes = (uint32_t)value;
		return true;
	case 'n':
		if (!number_parse(text, 2, 4096, &value))
			return wrong("--blocks takes a number from 2 to 4096", text);
		orders->blocks = (uint32_t)value;
		return true;
	case 't':
		if (!number_parse(text, 1, 10000, &value))
			return wrong("--timeout takes milliseconds, 1 to 10000", text);
		orders->timeout_ms = (uint32_t)value;
		return true;
	case 'c':
		if (!number_parse(text, 0, CPU_SETSIZE - 1, &value))
			return wrong("--cpu takes the number of a CPU", text);
		orders->cpu = (int)value;
		return true;
	case 'd':
		if (!number_parse(text, 1, SECONDS_MOST, &value))
			return wrong("--seconds takes a number from 1 to 1000000", text);
		orders->seconds_ms = value * MS_PER_SECOND;
		return true;
	default: /* getopt_long() has said why */
		return false;
	}
}

static bool parse(int argc, char **argv, struct orders *orders)
{
	static const struct option options[] = {
		{ "block-size", required_argument, NULL, 's' }, { "blocks", required_argument, NULL, 'n' },
		{ "timeout", required_argument, NULL, 't' },    { "cpu", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 'd' },    { NULL, 0, NULL, 0 },
	};
	int option;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!option_parse(option, optarg, orders))
			return false;
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: " PROGRAM " IFACE [--block-size N] [--blocks N] [--timeout MS] [--cpu N] "
				"[--seconds S]\n");
		return false;
	}
	orders->interface = argv[optind];
	return true;
}

static bool pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == 0)
		return true;
	fprintf(stderr, PROGRAM ": cannot run on CPU %d: %s\n", cpu, strerror(errno));
	return false;
}

int main(int argc, char **argv)
{
	struct orders orders = { .block_bytes = 1 << 20, .blocks = 64, .timeout_ms = 100, .cpu = -1 };
	struct ring ring = { .fd = -1 };
	if (!parse(argc, argv, &orders) || (orders.cpu >= 0 && !pin(orders.cpu)) || !ring_open(&ring, &orders))
		return 2;
	struct tally tally = { 0 };
	double start_cpu = cpu_seconds();
	uint64_t start = now_ms();
	fprintf(stderr, PROGRAM ": discarding what comes on %s\n", orders.interface);
	discard(&ring, &orders, &tally);
	bool all = drain(&ring, &orders, &tally);
	printf("{\"frames\": %llu, \"received\": %llu, \"dropped\": %llu, \"blocks\": %llu, \"seconds\": %.3f, "
	       "\"cpu_seconds\": %.4f}\n",
	       (unsigned long long)tally.frames, (unsigned long long)tally.received, (unsigned long long)tally.dropped,
	       (unsigned long long)tally.blocks, (double)(now_ms() - start) / MS_PER_SECOND, cpu_seconds() - start_cpu);
	if (!all)
		fprintf(stderr, PROGRAM ": %llu frames never came out of the ring\n",
			(unsigned long long)(tally.received - tally.dropped - tally.frames));
	return all ? 0 : 1;
}
