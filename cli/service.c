/* SPDX-License-Identifier: BSD-3-Clause */
#include "service.h"

#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define STATUS_NS     (5 * NS_PER_SECOND)

/* A thread with nothing to do comes round once a second; less than three of that would be a false alarm. */
#define PATIENCE_LEAST_MS 3000

/* A capture on its way to its end is given so much more time at each sign of progress. */
#define STOP_EXTENSION "EXTEND_TIMEOUT_USEC=30000000\n"

void service_open(struct service *service)
{
	uint64_t watchdog_us = 0;
	const char *socket = getenv("NOTIFY_SOCKET");
	*service = (struct service){ .listening = socket != NULL && socket[0] != '\0' };
	/* Not taken out of the environment: a command of -z is another process, and none of the manager's business. */
	if (service->listening && sd_watchdog_enabled(0, &watchdog_us) > 0)
		service->watchdog_ms = watchdog_us / 1000 < UINT32_MAX ? (uint32_t)(watchdog_us / 1000) : UINT32_MAX;
}

bool service_needs_ticks(const struct service *service)
{
	return service->listening;
}

/* How long a thread may stand still: half of the manager's own patience, which begins when the signs of life end. */
static uint32_t patience_ms(const struct service *service)
{
	uint32_t half = service->watchdog_ms / 2;
	return half > PATIENCE_LEAST_MS ? half : PATIENCE_LEAST_MS;
}

/* One line for a person. */
static void describe(struct wh_capture *capture, char *text, size_t size)
{
	struct wh_statistics now;
	wh_capture_statistics(capture, &now);
	char space[64] = "";
	if (now.free_percent >= 0)
		snprintf(space, sizeof(space), ", %.1f %% of the disk free", now.free_percent);
	snprintf(text, size, "%s frames, %s in %s files, %s dropped, ring %.0f %% full%s",
		 text_count(now.frames_received).s, text_bytes(now.bytes_on_disk).s, text_count(now.files).s,
		 text_count(now.frames_dropped + now.frames_dropped_nic).s, now.ring_fill_percent, space);
	/* A line end would begin another assignment. */
	text_clean(text, false);
}

/* A manager that cannot be told is none of the capture's business: it will do what it does when it hears nothing. */
static void tell(const char *state)
{
	int ignored = sd_notify(0, state);
	(void)ignored;
}

void service_ready(struct service *service, struct wh_capture *capture, uint64_t now_ns)
{
	char status[512];
	char state[1024];
	if (!service->listening)
		return;
	describe(capture, status, sizeof(status));
	snprintf(state, sizeof(state), "READY=1\n%sSTATUS=%s\n", service->watchdog_ms > 0 ? "WATCHDOG=1\n" : "",
		 status);
	tell(state);
	service->told_ns = now_ns;
}

void service_tick(struct service *service, struct wh_capture *capture, uint64_t now_ns)
{
	struct wh_message why = { "" };
	char status[768] = "";
	char state[1024];
	if (!service->listening)
		return;
	bool alive = wh_capture_alive(capture, patience_ms(service), &why);
	bool changed = service->stuck == alive;
	service->stuck = !alive;
	bool due = changed || now_ns - service->told_ns >= STATUS_NS;
	if (due && alive) {
		describe(capture, status, sizeof(status));
		service->told_ns = now_ns;
	} else if (due) {
		text_clean(why.text, false);
		snprintf(status, sizeof(status), "%s", why.text);
		service->told_ns = now_ns;
	}
	snprintf(state, sizeof(state), "%s%s%s%s%s", alive && service->watchdog_ms > 0 ? "WATCHDOG=1\n" : "",
		 alive && service->stopping ? STOP_EXTENSION : "", due ? "STATUS=" : "", status, due ? "\n" : "");
	if (state[0] != '\0')
		tell(state);
}

void service_stopping(struct service *service)
{
	if (!service->listening || service->stopping)
		return;
	service->stopping = true;
	tell("STOPPING=1\nSTATUS=stopping: what was received before is being written\n");
}
