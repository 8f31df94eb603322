/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: any bytes, as a request, as a reply, and as a path. What is refused is refused with one line; what
 * is accepted is within its limits and comes back the same when it is sent on; what a person is shown is text.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_protocol.h"
#include "control_view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(const struct wh_message *message)
{
	if (message->text[0] == '\0')
		abort();
	for (const char *at = message->text; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			abort();
	}
}

/* Sent on as we would send it, it must be the same request. */
static void check_request(const struct control_request *request)
{
	struct control_request again;
	struct wh_message message;
	if (request->action == CONTROL_MARK && control_text_check(request->text, &message) != WH_RESULT_OK)
		abort();
	char *line = control_request_format(request);
	if (line == NULL)
		abort();
	size_t bytes = strlen(line);
	if (bytes == 0 || bytes > CONTROL_REQUEST_BYTES_MAX || memchr(line, '\n', bytes) != line + bytes - 1)
		abort();
	if (control_request_parse(line, bytes - 1, &again, &message) != WH_RESULT_OK)
		abort();
	if (again.action != request->action || again.wait != request->wait || strcmp(again.text, request->text) != 0)
		abort();
	free(line);
}

static void try_request(const char *text, size_t bytes)
{
	struct control_request request;
	struct wh_message message = { "" };
	enum wh_result result = control_request_parse(text, bytes, &request, &message);
	if (result == WH_RESULT_OK)
		check_request(&request);
	else if (result == WH_RESULT_USAGE)
		check_message(&message);
	else
		abort();
}

/* Shows a status as the first look and as the second. */
static void show(const json_t *reply)
{
	char *text = NULL;
	size_t size = 0;
	const json_t *status = json_object_get(reply, "status");
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return;
	control_view_print(out, json_object_get(reply, "before"), status, 1700000000000000000U);
	if (fclose(out) != 0 || size != strlen(text))
		abort();
	for (const char *at = text; *at != '\0'; at++) {
		if (((unsigned char)*at < ' ' && *at != '\n') || *at == 0x7f)
			abort();
	}
	free(text);
}

static void try_reply(const char *text, size_t bytes)
{
	json_t *reply = NULL;
	struct wh_message message = { "" };
	if (control_reply_parse(text, bytes, &reply, &message) == WH_RESULT_OK)
		show(reply);
	else if (reply != NULL)
		abort();
	else
		check_message(&message);
	json_decref(reply);
}

static void try_path(const char *text)
{
	char path[CONTROL_PATH_BYTES];
	struct wh_message message = { "" };
	if (control_path(text, path, &message) != WH_RESULT_OK)
		check_message(&message);
	else if (path[0] == '\0' || strlen(path) >= CONTROL_PATH_BYTES || strchr(path, '/') == NULL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Exactly as long as it is, so that a byte read too many is seen. */
	char *text = malloc(size + 1);
	if (text == NULL)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	try_path(text);
	char *line = malloc(size > 0 ? size : 1);
	if (line != NULL) {
		memcpy(line, text, size);
		try_request(line, size);
		try_reply(line, size);
	}
	free(line);
	free(text);
	return 0;
}
