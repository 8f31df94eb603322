/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Captures from an adapter to a chain of pcapng files until Ctrl+C. Build it with the installed library:
 *     cc -o capture capture.c $(pkg-config --cflags --libs wirehaul)
 *     sudo ./capture eth0 trace.pcapng
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <wirehaul.h>

static struct wh_capture *capture;

static void stop(int number)
{
	(void)number;
	wh_capture_stop(capture);
}

static void show(void *context, int severity, const char *line)
{
	(void)context;
	if (severity > 0)
		fprintf(stderr, "%s\n", line);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s ADAPTER FILE\n", argv[0]);
		return WH_RESULT_USAGE;
	}
	const char *const interfaces[] = { argv[1] };
	struct wh_config config;
	wh_config_init(&config);
	config.interfaces = interfaces;
	config.interface_count = 1;
	config.output = argv[2];
	config.report = show;

	struct wh_message message;
	enum wh_result result = wh_capture_open(&config, &capture, &message);
	if (result == WH_RESULT_OK) {
		signal(SIGINT, stop);
		signal(SIGTERM, stop);
		result = wh_capture_start(capture, &message);
	}
	if (result == WH_RESULT_OK) {
		struct wh_statistics total;
		result = wh_capture_wait(capture, &message);
		wh_capture_statistics(capture, &total);
		printf("%" PRIu64 " frames received, %" PRIu64 " written, %" PRIu64 " dropped\n", total.frames_received,
		       total.frames_written, total.frames_dropped);
	}
	fprintf(stderr, "%s\n", message.text);
	wh_capture_close(capture);
	return (int)result;
}
