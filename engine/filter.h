/* SPDX-License-Identifier: BSD-3-Clause */
/* Capture filters: libpcap compiles the expression for the very adapter, the kernel runs it. */
#ifndef WH_ENGINE_FILTER_H
#define WH_ENGINE_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

#include "ringbuf/status.h"

struct wh_filter {
	struct sock_filter *code;
	uint16_t count;
};

enum wh_filter_direction { WH_FILTER_BOTH, WH_FILTER_INCOMING, WH_FILTER_OUTGOING };

/*
 * Compiles EXPRESSION (NULL or empty: everything) for adapter NAME of LINK_TYPE (DLT_*), to keep SNAPSHOT_LENGTH bytes.
 * The compiler is asked through a live handle, so that it knows how this adapter hands VLAN tags over (libpcap's
 * pcap-linux.c, "SKF_AD_VLAN_TAG_PRESENT"). Frames of the other direction than DIRECTION are refused first. *FILTER is
 * owned by the caller: wh_filter_free(). WH_ERR_INPUT: the expression does not compile; the message has libpcap's words
 * and the place. Needs CAP_NET_RAW when there is an expression. May ask a name server for names in the expression.
 */
WH_MUST_CHECK enum wh_status wh_filter_compile(const char *name, int link_type, uint32_t snapshot_length,
					       enum wh_filter_direction direction, const char *expression,
					       struct wh_filter *filter, struct wh_error *error);

/* Attaches FILTER to socket FD; NULL: one that refuses everything. */
WH_MUST_CHECK enum wh_status wh_filter_attach(int fd, const struct wh_filter *filter, struct wh_error *error);

void wh_filter_free(struct wh_filter *filter);

struct pcap; /* a pcap_t */

/* Says in ERROR why HANDLE has just refused to compile EXPRESSION, and where the mistake is if that can be found. Has
 * HANDLE compile beginnings of EXPRESSION. Returns WH_ERR_INPUT. */
enum wh_status wh_filter_explain(struct pcap *handle, const char *expression, struct wh_error *error);

#endif
