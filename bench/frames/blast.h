/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parts of wh-blast, and what they know of each other. blast.c says what the program does.
 *
 *     blast.c            main, the sending threads, what is printed
 *     blast_options.c    command line -> wh_blast_orders
 *     blast_interface.c  whether the interface can take such frames
 *     blast_pace.c       when the next frames are due
 *     blast_sendmmsg.c   how they get to the kernel,
 *     blast_xdp*.c       or are made by it
 *
 * Whatever fails puts one line for a person into WHY, of WH_BLAST_WHY_BYTES bytes, which names what to do about it.
 */
#ifndef WH_FRAMES_BLAST_H
#define WH_FRAMES_BLAST_H

#include "numbered.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { WH_BLAST_WHY_BYTES = 512, WH_BLAST_NS_PER_S = 1000000000 };

struct wh_blast_method;

/* What was asked for. Ended with wh_numbered_shape_free(&shape). */
struct wh_blast_orders {
	const char *interface;
	int interface_index; /* set by wh_blast_check_interface() */
	int mtu;             /* the same */
	struct wh_numbered_shape shape;
	uint64_t count; /* over all threads; 0: until the time is over */
	uint64_t first;
	uint64_t length_ns; /* of the run, at most */
	uint64_t rate;      /* frames a second, over all threads; 0: not asked for */
	double gbps;        /* the same in bits of frames; 0: not asked for */
	uint64_t burst;     /* frames that go back to back, 1 at least */
	uint8_t threads;
	cpu_set_t cpus; /* none: threads go where the scheduler puts them */
	bool tapped, help;
	const char *progress_path;
	const struct wh_blast_method *method;
};

/* What has become of the frames of one thread. Written by that thread alone. */
struct wh_blast_tally {
	uint64_t sent, bytes;
	uint64_t refused;         /* times that the kernel took nothing and was asked again */
	uint64_t refused_by_peer; /* frames that passed the taps, counted as sent, and were refused behind them */
};

/* One way of handing frames to the kernel. Each thread opens its own, and calls the rest for it. */
struct wh_blast_method {
	const char *name;
	unsigned int batch; /* most frames that it sends at once */
	/* Whether frames such as ORDERS ask for can go this way. NULL: any can. */
	bool (*suits)(const struct wh_blast_orders *orders, char *why);
	/* Returns what the others are called with, or NULL. ORDERS must outlive it. */
	void *(*open)(const struct wh_blast_orders *orders, uint8_t thread, char *why);
	/*
	 * Sends frames NUMBER to NUMBER + COUNT - 1, COUNT at most .batch, in order. Returns how many the
	 * kernel has taken, after adding them to TALLY: when it is not all, the caller goes on from there. Returns -1
	 * on a failure that trying again does not mend.
	 */
	int (*send)(void *state, uint64_t number, unsigned int count, struct wh_blast_tally *tally, char *why);
	/* Makes a send() that is under way return before long. Any thread may call it. NULL: it soon does anyway. */
	void (*stop)(void *state);
	void (*close)(void *state);
};

extern const struct wh_blast_method wh_blast_sendmmsg, wh_blast_xdp;

/* The method of this name, or NULL; "auto" is the fastest that suits any frames. */
const struct wh_blast_method *wh_blast_method_named(const char *name);

/* Reads the command line. Returns 0, or the status to exit with and WHY. */
int wh_blast_parse(int argc, char **argv, struct wh_blast_orders *orders, char *why);

/* How to call the program, for --help. */
extern const char wh_blast_usage[];

/* Finds the interface and tells whether it is there, up, of Ethernet, and large enough for the frames. */
bool wh_blast_check_interface(struct wh_blast_orders *orders, char *why);

/* What a failed call of the kernel on a packet socket means and asks for. */
void wh_blast_explain(const struct wh_blast_orders *orders, int error, char *why);

/* When the frames of one thread are due. Times are in ns since the start of the run. */
struct wh_blast_pace {
	const struct wh_numbered_shape *shape;
	uint64_t start_ns; /* of the run, CLOCK_MONOTONIC */
	double end_ns;
	double frame_ns;      /* the time that belongs to a frame, and ... */
	double bit_ns;        /* ... to a bit of it; both 0: frames go as fast as they can */
	uint64_t burst, left; /* frames of a group, and those still to come of the one that has begun */
	double next_ns;       /* when the next frame is due */
	double earliest_ns;   /* no sooner: how catching up is bounded */
};

uint64_t wh_blast_now_ns(void);

/* Prepares the pace of one thread of a run that starts at START_NS. ORDERS must outlive it. */
void wh_blast_pace_init(struct wh_blast_pace *pace, const struct wh_blast_orders *orders, uint8_t thread,
			uint64_t start_ns);

/*
 * Waits until frame NUMBER is due. Returns how many frames are, at most MOST: they are taken for sent. Returns 0 when
 * the time of the run is over or STOPPING has become true, at most 50 ms later.
 */
unsigned int wh_blast_pace_wait(struct wh_blast_pace *pace, uint64_t number, unsigned int most,
				const atomic_bool *stopping);

/*
 * Waits until the time that belongs to the last frame is over: then frames divided by seconds are the rate that was
 * asked for, also when they were few.
 */
void wh_blast_pace_finish(const struct wh_blast_pace *pace, const atomic_bool *stopping);

#endif
