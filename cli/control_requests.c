/* SPDX-License-Identifier: BSD-3-Clause */
#include "control_server_state.h"

#include "statistics_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* However many ask, and however often, the capture notices little of it. */
enum { MARKS_PER_SECOND = 50 };
#define STATUS_AGE_NS (CONTROL_SECOND_NS / 10) /* a status is made anew after this */
#define ROTATE_GAP_NS (CONTROL_SECOND_NS / 10) /* what comes sooner becomes one */

/* ---- replies ---- */

/* Takes OBJECT, which may be NULL. */
static struct control_text *text_make(json_t *object)
{
	struct control_text *text = calloc(1, sizeof(*text));
	if (text == NULL) {
		json_decref(object);
		return NULL;
	}
	text->references = 1;
	text->text = control_line(object, &text->bytes);
	if (text->text != NULL)
		return text;
	free(text);
	return NULL;
}

void control_text_release(struct control_text *text)
{
	if (text == NULL || --text->references > 0)
		return;
	free(text->text);
	free(text);
}

void control_reply_send(struct control_server *server, struct control_peer *peer)
{
	while (peer->sent < peer->reply->bytes) {
		ssize_t count = send(peer->fd, peer->reply->text + peer->sent, peer->reply->bytes - peer->sent,
				     MSG_NOSIGNAL | MSG_DONTWAIT);
		if (count == -1 && errno == EINTR)
			continue;
		if (count == -1 && errno == EAGAIN)
			return;
		if (count <= 0) {
			control_peer_drop(server, peer);
			return;
		}
		peer->sent += (size_t)count;
	}
	control_text_release(peer->reply);
	peer->reply = NULL;
	peer->deadline_ns = control_now_ns() + CONTROL_PATIENCE_NS;
	if (peer->closing)
		control_peer_drop(server, peer);
}

/* Takes TEXT. Without one there was no memory for it, and the end of the connection is all that can be said. */
static void reply(struct control_server *server, struct control_peer *peer, struct control_text *text)
{
	if (text == NULL) {
		control_peer_drop(server, peer);
		return;
	}
	peer->reply = text;
	peer->sent = 0;
	peer->deadline_ns = control_now_ns() + CONTROL_PATIENCE_NS;
	control_reply_send(server, peer);
}

void control_reply_refuse(struct control_server *server, struct control_peer *peer, const char *error)
{
	peer->closing = true;
	reply(server, peer, text_make(control_refusal(error)));
}

/* The same of what was begun, and has failed. */
static void reply_failure(struct control_server *server, struct control_peer *peer, const char *error)
{
	json_t *object = control_refusal(error);
	if (json_object_set_new(object, "failed", json_true()) != 0) {
		json_decref(object);
		object = NULL;
	}
	peer->closing = true;
	reply(server, peer, text_make(object));
}

/* {"ok":true} and what is in OBJECT, which is taken and may be NULL. */
static json_t *agree(json_t *object)
{
	if (json_object_set_new(object, "ok", json_true()) == 0)
		return object;
	json_decref(object);
	return NULL;
}

/* ---- status ---- */

static json_t *describe_status(const struct control_server *server)
{
	json_t *status = statistics_json(server->capture);
	const char *output = server->callbacks.output;
	int failed = json_object_set_new(status, "stopping", json_boolean(server->stopping && !server->ended));
	failed |= json_object_set_new(status, "started", json_integer((json_int_t)server->began));
	failed |= json_object_set_new(status, "output", output != NULL ? statistics_json_text(output) : json_null());
	failed |= json_object_set_new(status, "pid", json_integer(getpid()));
	failed |= json_object_set_new(status, "version", json_string(WIREHAUL_VERSION));
	json_t *object = json_object();
	failed |= json_object_set(object, "status", status);
	json_decref(status);
	if (failed == 0)
		return agree(object);
	json_decref(object);
	return NULL;
}

void control_status_forget(struct control_server *server)
{
	control_text_release(server->status);
	server->status = NULL;
}

static struct control_text *share_status(struct control_server *server)
{
	uint64_t now = control_now_ns();
	if (server->status == NULL || now - server->status_ns >= STATUS_AGE_NS) {
		control_status_forget(server);
		server->status = text_make(describe_status(server));
		server->status_ns = now;
	}
	if (server->status != NULL)
		server->status->references++;
	return server->status;
}

/* ---- what changes something ---- */

void control_rotate_if_due(struct control_server *server)
{
	uint64_t now = control_now_ns();
	if (now < server->rotate_due_ns)
		return;
	server->rotate_due_ns = CONTROL_NEVER;
	server->rotated_ns = now;
	wh_capture_rotate(server->capture);
}

static void rotate(struct control_server *server, struct control_peer *peer)
{
	if (server->ended) {
		control_reply_refuse(server, peer, "the capture has ended");
		return;
	}
	if (server->callbacks.output != NULL && strcmp(server->callbacks.output, "-") == 0) {
		control_reply_refuse(server, peer, "the capture goes to standard output, which has no files to change");
		return;
	}
	if (server->rotate_due_ns == CONTROL_NEVER) {
		server->rotate_due_ns = server->rotated_ns + ROTATE_GAP_NS;
		control_report(server, 0, "uid %u asks for a new file over the control socket", peer->who.uid);
	}
	control_rotate_if_due(server);
	control_status_forget(server);
	reply(server, peer, text_make(agree(json_object())));
}

static bool mark_is_due(struct control_server *server)
{
	uint64_t now = control_now_ns();
	if (now - server->marks_since_ns >= CONTROL_SECOND_NS) {
		server->marks_since_ns = now;
		server->marks = 0;
	}
	if (server->marks >= MARKS_PER_SECOND)
		return false;
	server->marks++;
	return true;
}

static void mark(struct control_server *server, struct control_peer *peer, const char *text)
{
	struct wh_message message = { "" };
	if (!mark_is_due(server)) {
		control_reply_refuse(server, peer, "there are too many marks at once; give at most 50 a second");
		return;
	}
	enum wh_result result = wh_capture_mark(server->capture, text, &message);
	control_status_forget(server);
	if (result == WH_RESULT_USAGE) {
		control_reply_refuse(server, peer, message.text);
		return;
	}
	if (result != WH_RESULT_OK) {
		reply_failure(server, peer, message.text);
		return;
	}
	json_t *object = json_object();
	int failed = message.text[0] != '\0' ? json_object_set_new(object, "note", json_string(message.text)) : 0;
	if (failed != 0) {
		json_decref(object);
		object = NULL;
	}
	reply(server, peer, text_make(agree(object)));
}

/* The exit status of a capture that has ended so. */
static enum wh_result end_result(const struct wh_statistics *sum)
{
	if (sum->stop_reason == WH_STOP_ERROR || sum->flawed)
		return WH_RESULT_ERROR;
	return sum->stop_reason == WH_STOP_LOW_SPACE ? WH_RESULT_LOW_SPACE : WH_RESULT_OK;
}

/* The sums, why it ended, and how. */
static void reply_end(struct control_server *server, struct control_peer *peer)
{
	struct wh_statistics sum;
	json_t *object = statistics_json(server->capture);
	wh_capture_statistics(server->capture, &sum);
	json_object_del(object, "interfaces");
	if (json_object_set_new(object, "result", json_integer(end_result(&sum))) != 0) {
		json_decref(object);
		object = NULL;
	}
	peer->waiting = false;
	peer->closing = true;
	reply(server, peer, text_make(agree(object)));
}

static void ask_to_stop(struct control_server *server, const struct control_peer *peer)
{
	if (server->stopping || server->ended)
		return;
	server->stopping = true;
	control_status_forget(server);
	control_report(server, CONTROL_ASKED, "uid %u (process %d) asks over the control socket to stop", peer->who.uid,
		       (int)peer->who.pid);
	wh_capture_stop(server->capture);
}

static void stop(struct control_server *server, struct control_peer *peer, bool wait)
{
	ask_to_stop(server, peer);
	if (server->ended) {
		reply_end(server, peer);
		return;
	}
	if (wait) {
		peer->waiting = true;
		peer->deadline_ns = CONTROL_NEVER;
		return;
	}
	json_t *object = json_object();
	if (json_object_set_new(object, "state", json_string("stopping")) != 0) {
		json_decref(object);
		object = NULL;
	}
	reply(server, peer, text_make(agree(object)));
}

void control_end_tell(struct control_server *server)
{
	server->ended = true;
	server->rotate_due_ns = CONTROL_NEVER;
	control_status_forget(server);
	for (unsigned i = 0; i < CONTROL_PEERS_MAX; i++) {
		if (server->peers[i].fd != -1 && server->peers[i].waiting)
			reply_end(server, &server->peers[i]);
	}
}

void control_request_handle(struct control_server *server, struct control_peer *peer, size_t bytes)
{
	struct control_request request;
	struct wh_message message = { "" };
	if (control_request_parse(peer->request, bytes, &request, &message) != WH_RESULT_OK) {
		control_reply_refuse(server, peer, message.text);
		return;
	}
	switch (request.action) {
	case CONTROL_ROTATE:
		rotate(server, peer);
		break;
	case CONTROL_STOP:
		stop(server, peer, request.wait);
		break;
	case CONTROL_MARK:
		mark(server, peer, request.text);
		break;
	case CONTROL_STATUS:
	case CONTROL_ACTIONS:
	default:
		reply(server, peer, share_status(server));
		break;
	}
}
