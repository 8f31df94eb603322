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

/*
 * Compiles EXPRESSION (NULL or empty: everything) for adapter NAME of LINK_TYPE (DLT_*), to keep SNAPSHOT_LENGTH bytes.
 * The compiler is asked through a live handle, so that it knows how this adapter hands VLAN tags over (libpcap's
 * pcap-linux.c, "SKF_AD_VLAN_TAG_PRESENT"). With OUTGOING_ONLY frames that come in are refused first. *FILTER is owned
 * by the caller: wh_filter_free(). WH_ERR_INPUT: the expression does not compile; the message has libpcap's words and
 * the place. Needs CAP_NET_RAW when there is an expression. May ask a name server for names in the expression.
 */
WH_MUST_CHECK enum wh_status wh_filter_compile(const char *name, int link_type, uint32_t snapshot_length,
					       bool outgoing_only, const char *expression, struct wh_filter *filter,
					       struct wh_error *error);

/* Attaches FILTER to socket FD; NULL: one that refuses everything. */
WH_MUST_CHECK enum wh_status wh_filter_attach(int fd, const struct wh_filter *filter, struct wh_error *error);

void wh_filter_free(struct wh_filter *filter);

/* Fills ERROR with MESSAGE (libpcap's) and the place in EXPRESSION where it went wrong. COMPILES says whether a text
 * compiles; it is asked for ever shorter beginnings of EXPRESSION. */
enum wh_status wh_filter_explain(const char *expression, const char *message,
				 bool (*compiles)(void *context, const char *text), void *context,
				 struct wh_error *error);

#endif
