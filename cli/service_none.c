/* SPDX-License-Identifier: BSD-3-Clause */
/* Without libsystemd nobody is told. */
#include "service.h"

void service_open(struct service *service)
{
	*service = (struct service){ .listening = false };
}

bool service_needs_ticks(const struct service *service)
{
	return service->listening;
}

void service_ready(struct service *service, struct wh_capture *capture, uint64_t now_ns)
{
	(void)service, (void)capture, (void)now_ns;
}

void service_tick(struct service *service, struct wh_capture *capture, uint64_t now_ns)
{
	(void)service, (void)capture, (void)now_ns;
}

void service_stopping(struct service *service)
{
	(void)service;
}
