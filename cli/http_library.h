/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libmicrohttpd, taken in when somebody wants metrics. Linked as other libraries are, it would bring GnuTLS and its
 * self-tests into every start: five times the CPU time of the rest of loading (`perf stat wirehaul --version`).
 */
#ifndef WH_CLI_HTTP_LIBRARY_H
#define WH_CLI_HTTP_LIBRARY_H

#include <microhttpd.h>
#include <wirehaul.h>

/* The calls that are used, each of its own type: MHD_start_daemon() and so on. */
struct http_library {
	__typeof__(&MHD_start_daemon) start_daemon;
	__typeof__(&MHD_stop_daemon) stop_daemon;
	__typeof__(&MHD_get_daemon_info) get_daemon_info;
	__typeof__(&MHD_get_connection_info) get_connection_info;
	__typeof__(&MHD_get_timeout) get_timeout;
	__typeof__(&MHD_run) run;
	__typeof__(&MHD_create_response_from_buffer) create_response_from_buffer;
	__typeof__(&MHD_add_response_header) add_response_header;
	__typeof__(&MHD_queue_response) queue_response;
	__typeof__(&MHD_destroy_response) destroy_response;
};

/* Fills *LIBRARY. It stays loaded to the end of the process. WH_RESULT_USAGE with *MESSAGE where it is not installed.
 * Any thread; blocks as long as the disk does. */
WH_MUST_USE enum wh_result http_library_open(struct http_library *library, struct wh_message *message);

#endif
