/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the metrics are told: the value of --metrics, and what a person is told of it. */
#ifndef WH_CLI_METRICS_ADDRESS_H
#define WH_CLI_METRICS_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>
#include <wirehaul.h>

struct metrics_address {
	struct sockaddr_storage socket;
	socklen_t length;
};

/*
 * Reads where to listen: HOST:PORT with an IPv4 address or "localhost", [HOST]:PORT with an IPv6 address, or PORT
 * alone, which is 127.0.0.1:PORT. PORT 0 lets the kernel choose. Names of hosts are refused, and so is whatever could
 * mean more addresses than it says. Returns WH_RESULT_USAGE with *MESSAGE where TEXT is none of this. Any thread; does
 * not block.
 */
WH_MUST_USE enum wh_result metrics_address_parse(const char *text, struct metrics_address *address,
						 struct wh_message *message);

/* The port of ADDRESS. Any thread. */
uint16_t metrics_address_port(const struct metrics_address *address);

/* Where to ask, "http://127.0.0.1:9817/metrics", as URL's text. Any thread. */
void metrics_address_url(const struct metrics_address *address, struct wh_message *url);

#endif
