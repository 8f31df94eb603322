/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The HTTP server of --metrics: GET /metrics tells the statistics of a capture as Prometheus wants them.
 *
 * It has one thread of its own, "wh-metrics", of lower priority, with all signals blocked, which shares nothing with
 * the capture but the library's statistics calls and makes those four times a second at most, however many ask. Memory,
 * connections and the time that each may take are bounded; when there are too many, the oldest makes room. There is
 * neither encryption nor a password: who can reach the address can read the counters and the names of adapters.
 */
#ifndef WH_CLI_METRICS_SERVER_H
#define WH_CLI_METRICS_SERVER_H

#include <stdint.h>
#include <wirehaul.h>

struct metrics_server;

/*
 * Listens on ADDRESS and starts to tell of CAPTURE, which must stay open until metrics_server_close(). On success
 * *SERVER is owned by the caller. Returns WH_RESULT_USAGE with *MESSAGE, and nothing is left open, when it cannot
 * listen there. Any thread; does not block.
 */
WH_MUST_USE enum wh_result metrics_server_open(const char *address, struct wh_capture *capture,
					       struct metrics_server **server, struct wh_message *message);

/* The port that it listens on. Any thread. */
uint16_t metrics_server_port(const struct metrics_server *server);

/* Where to ask, "http://127.0.0.1:9817/metrics", as URL's text. Any thread. */
void metrics_server_url(const struct metrics_server *server, struct wh_message *url);

/* Ends connections and thread, and gives back everything. Takes some milliseconds at most. NULL is allowed. */
void metrics_server_close(struct metrics_server *server);

#endif
