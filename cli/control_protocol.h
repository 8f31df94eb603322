/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is spoken over the control socket: a request is one JSON object on one line, and so is its reply.
 *
 *   {"do":"status"}             {"ok":true,"status":{...}}
 *   {"do":"rotate"}             {"ok":true}
 *   {"do":"mark","text":"..."}  {"ok":true}, or {"ok":true,"note":"the disk has not taken it yet"}
 *   {"do":"stop","wait":true}   {"ok":true,"state":"stopped","stop_reason":"signal","result":0,...}
 *   anything else               {"ok":false,"error":"one line for a person"}; with "failed":true if it is not refused
 *                               but did not succeed
 *
 * Both sides use these functions; they touch no socket and no file. What comes from the other side may be anything:
 * its size and its depth are bounded, and nothing of it is repeated in a message but the error of a reply, cleaned. Any
 * thread; none blocks.
 */
#ifndef WH_CLI_CONTROL_PROTOCOL_H
#define WH_CLI_CONTROL_PROTOCOL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wirehaul.h>

/* Where an instance that is known by its name alone has its socket: DIRECTORY/NAME/SOCKET. It is the service's runtime
 * directory. */
#define CONTROL_DIRECTORY "/run/wirehaul"
#define CONTROL_SOCKET    "control.sock"

enum {
	CONTROL_PATH_BYTES = 108,          /* what the kernel takes for the path of a socket, its NUL counted */
	CONTROL_REQUEST_BYTES_MAX = 4096,  /* its line end counted */
	CONTROL_REPLY_BYTES_MAX = 4 << 20, /* a thousand adapters take 300 KB */
	CONTROL_MARK_BYTES_MAX = 1000      /* of UTF-8 */
};

enum control_action { CONTROL_STATUS = 0, CONTROL_ROTATE, CONTROL_STOP, CONTROL_MARK, CONTROL_ACTIONS };

struct control_request {
	enum control_action action;
	bool wait;                             /* CONTROL_STOP: the reply comes when the capture has ended */
	char text[CONTROL_MARK_BYTES_MAX + 1]; /* CONTROL_MARK */
};

/* "status", "rotate", "stop", "mark". */
const char *control_action_name(enum control_action action);

/* Whether NAME is one of these, and which. */
bool control_action_find(const char *name, enum control_action *action);

/*
 * Turns the value of --control into the path of a socket: what has a slash is a path, anything else the name of an
 * instance. PATH takes CONTROL_PATH_BYTES. WH_RESULT_USAGE with *MESSAGE where it is neither, or too long.
 */
WH_MUST_USE enum wh_result control_path(const char *place, char *path, struct wh_message *message);

/* Whether TEXT can be a mark: one line of UTF-8, 1 to CONTROL_MARK_BYTES_MAX bytes. WH_RESULT_USAGE says why not. */
WH_MUST_USE enum wh_result control_text_check(const char *text, struct wh_message *message);

/*
 * Reads a request of BYTES bytes at LINE, without its line end. WH_RESULT_OK with all of *REQUEST set, or
 * WH_RESULT_USAGE with a *MESSAGE for whoever sent it.
 */
WH_MUST_USE enum wh_result control_request_parse(const char *line, size_t bytes, struct control_request *request,
						 struct wh_message *message);

/* REQUEST as a line, with its end; the caller frees it. NULL: no memory, or a text that is not UTF-8. */
char *control_request_format(const struct control_request *request);

/* OBJECT as a line, with its end, and its length in *BYTES; the caller frees it. Takes OBJECT, which may be NULL where
 * it could not be made. NULL: no memory. */
char *control_line(json_t *object, size_t *bytes);

/* The reply to what is not done, and why. NULL: no memory. */
json_t *control_refusal(const char *error);

/*
 * Reads a reply of BYTES bytes at LINE, without its line end. WH_RESULT_OK: *REPLY is the object, which the caller
 * releases. WH_RESULT_USAGE: it was refused, *MESSAGE says why in one line. WH_RESULT_ERROR: it failed, or that is no
 * reply.
 */
WH_MUST_USE enum wh_result control_reply_parse(const char *line, size_t bytes, json_t **reply,
					       struct wh_message *message);

#endif
