/* SPDX-License-Identifier: BSD-3-Clause */
#include "http_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum wh_result http_library_open(struct http_library *library, struct wh_message *message)
{
	void *handle = dlopen(WH_MICROHTTPD_SONAME, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL) {
		snprintf(
		    message->text, sizeof(message->text),
		    "--metrics needs libmicrohttpd, which cannot be loaded (%s): install the package libmicrohttpd12, "
		    "or leave out --metrics",
		    dlerror());
		return WH_RESULT_USAGE;
	}
	const struct {
		const char *name;
		void *place;
	} calls[] = {
		{ "MHD_start_daemon", &library->start_daemon },
		{ "MHD_stop_daemon", &library->stop_daemon },
		{ "MHD_get_daemon_info", &library->get_daemon_info },
		{ "MHD_get_connection_info", &library->get_connection_info },
		{ "MHD_get_timeout", &library->get_timeout },
		{ "MHD_run", &library->run },
		{ "MHD_create_response_from_buffer", &library->create_response_from_buffer },
		{ "MHD_add_response_header", &library->add_response_header },
		{ "MHD_queue_response", &library->queue_response },
		{ "MHD_destroy_response", &library->destroy_response },
	};
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		void *call = dlsym(handle, calls[i].name);
		if (call == NULL) {
			snprintf(message->text, sizeof(message->text),
				 "--metrics: this libmicrohttpd has no %s: install the one of the distribution",
				 calls[i].name);
			return WH_RESULT_USAGE;
		}
		/* POSIX lets a pointer from dlsym() be a function's; C has no cast for it. */
		memcpy(calls[i].place, &call, sizeof(call));
	}
	return WH_RESULT_OK;
}
