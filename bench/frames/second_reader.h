/* SPDX-License-Identifier: BSD-3-Clause */
/* A capture file through libpcap: each packet that the walker comes by must be libpcap's next one, in every byte. */
#ifndef WH_FRAMES_SECOND_READER_H
#define WH_FRAMES_SECOND_READER_H

#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdint.h>

#include "walk.h"

struct wh_second_reader {
	pcap_t *pcap;
	uint64_t frames, differs;
	bool failed; /* it had no packet where the walker had one: counted once for a file */
	char error[PCAP_ERRBUF_SIZE];
};

/* Begins with the file at PATH. What libpcap has against it goes to ERROR. Ended with wh_second_reader_close(). */
void wh_second_reader_open(struct wh_second_reader *second, const char *path);

/* Reads the next packet, which is to be FRAME. Returns what is wrong, NULL when nothing is. */
const char *wh_second_reader_compare(struct wh_second_reader *second, const struct wh_walk *walk,
				     const struct wh_walk_frame *frame);

/* Whatever libpcap still finds behind the walker's end is counted, so a file on which the two disagree shows. */
void wh_second_reader_close(struct wh_second_reader *second);

#endif
