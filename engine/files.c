/* SPDX-License-Identifier: BSD-3-Clause */
/* The public calls for capture files that are there already. */
#include <stdio.h>
#include <string.h>

#include "wirehaul.h"
#include "writer/repair.h"

_Static_assert((int)WH_FILE_WHOLE == (int)WH_HEALTH_WHOLE && (int)WH_FILE_OPEN == (int)WH_HEALTH_OPEN &&
		   (int)WH_FILE_CUT == (int)WH_HEALTH_CUT && (int)WH_FILE_DAMAGED == (int)WH_HEALTH_DAMAGED &&
		   (int)WH_FILE_FOREIGN == (int)WH_HEALTH_FOREIGN,
	       "the two are one");

static void check_fill(struct wh_file_check *check, const struct wh_inspection *found)
{
	static const char *const formats[] = {
		[WH_CAPTURE_UNKNOWN] = "", [WH_CAPTURE_PCAPNG] = "pcapng", [WH_CAPTURE_PCAP] = "pcap"
	};
	*check = (struct wh_file_check){
		.health = (enum wh_file_health)found->health,
		.ours = found->ours,
		.bytes = found->bytes,
		.readable_bytes = found->readable_bytes,
		.frames = found->frames,
		.chunks = found->chunks,
		.chunks_missing = found->chunks_missing,
		.chunks_damaged = found->chunks_damaged,
		.session = found->session,
		.first_chunk = found->first_chunk,
		.last_chunk = found->last_chunk,
		.dropped = found->dropped,
		.first_ns = found->first_ns,
		.last_ns = found->last_ns,
		.interfaces = found->interfaces,
		.repaired = found->repaired,
		.frames_missing = found->frames_missing,
	};
	snprintf(check->format, sizeof(check->format), "%s", formats[found->format]);
	snprintf(check->what, sizeof(check->what), "%s", found->what);
}

static enum wh_result result_of(enum wh_status status, const struct wh_error *error, struct wh_message *message)
{
	if (status == WH_OK)
		return WH_RESULT_OK;
	snprintf(message->text, sizeof(message->text), "%s", error->text);
	return status == WH_ERR_INPUT ? WH_RESULT_USAGE : WH_RESULT_ERROR;
}

enum wh_result wh_file_verify(const char *path, struct wh_file_check *check, struct wh_message *message)
{
	struct wh_inspection found = { .health = WH_HEALTH_FOREIGN };
	struct wh_error error = { .text = "" };
	enum wh_status status = wh_inspect_file(path, &found, &error);
	check_fill(check, &found);
	return result_of(status, &error, message);
}

enum wh_result wh_file_repair(const char *path, const char *out, struct wh_file_check *check,
			      struct wh_message *message)
{
	struct wh_inspection made = { .health = WH_HEALTH_FOREIGN };
	struct wh_error error = { .text = "" };
	enum wh_status status = wh_repair_file(path, out, "wirehaul " WIREHAUL_VERSION, &made, &error);
	if (check != NULL)
		check_fill(check, &made);
	return result_of(status, &error, message);
}

const char *wh_file_health_name(enum wh_file_health health)
{
	static const char *const names[] = { "whole", "open", "cut", "damaged", "foreign" };
	return (size_t)health < sizeof(names) / sizeof(names[0]) ? names[health] : "";
}
