/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a service manager is told (sd_notify(3)): that frames are being captured, how it goes, that every thread makes
 * progress, that the end has begun. Where nobody listens (no NOTIFY_SOCKET), nothing is done. Two files know it:
 * service.c with libsystemd, service_none.c without. Main thread only.
 */
#ifndef WH_CLI_SERVICE_H
#define WH_CLI_SERVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <wirehaul.h>

struct service {
	bool listening;       /* there is somebody to tell */
	bool stopping;        /* the end has been told of */
	bool stuck;           /* a thread was found not to make progress */
	uint32_t watchdog_ms; /* the manager wants a sign of life at least so often; 0: it wants none */
	uint64_t told_ns;     /* when the status line was told last; monotonic clock */
};

/* Finds out from the environment who listens. Blocks not. Cannot fail: if it cannot be found out, nobody listens. */
void service_open(struct service *service);

/* Whether service_tick() is to be called each second. */
bool service_needs_ticks(const struct service *service);

/* Tells that CAPTURE has begun, at NOW_NS of the monotonic clock. */
void service_ready(struct service *service, struct wh_capture *capture, uint64_t now_ns);

/*
 * Tells the status line every few seconds, and gives the watchdog its sign of life if every thread of CAPTURE makes
 * progress; an idle link is progress, a disk that hangs is none. While it stops, it asks instead for as much time as
 * the threads go on. Call it each second.
 */
void service_tick(struct service *service, struct wh_capture *capture, uint64_t now_ns);

/* Tells, once, that the capture is on its way to its end. */
void service_stopping(struct service *service);

#endif
