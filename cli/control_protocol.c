/* SPDX-License-Identifier: BSD-3-Clause */
#include "control_protocol.h"

#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Brackets within brackets: a request is flat, in a status there are interfaces. */
enum { REQUEST_DEPTH_MAX = 1, REPLY_DEPTH_MAX = 8 };

static const char *const action_names[CONTROL_ACTIONS] = {
	[CONTROL_STATUS] = "status",
	[CONTROL_ROTATE] = "rotate",
	[CONTROL_STOP] = "stop",
	[CONTROL_MARK] = "mark",
};

static enum wh_result refuse(struct wh_message *message, const char *words)
{
	snprintf(message->text, sizeof(message->text), "%s", words);
	return WH_RESULT_USAGE;
}

const char *control_action_name(enum control_action action)
{
	return action_names[action];
}

bool control_action_find(const char *name, enum control_action *action)
{
	for (int i = 0; i < CONTROL_ACTIONS; i++) {
		if (strcmp(name, action_names[i]) == 0) {
			*action = (enum control_action)i;
			return true;
		}
	}
	return false;
}

enum wh_result control_path(const char *place, char *path, struct wh_message *message)
{
	if (place[0] == '\0')
		return refuse(message, "--control: the value is empty; give a path with a slash in it, or the name of "
				       "an instance");
	int length;
	if (strchr(place, '/') != NULL)
		length = snprintf(path, CONTROL_PATH_BYTES, "%s", place);
	else if (place[0] == '.')
		return refuse(message, "--control: no instance has a name that begins with a dot; give a path with a "
				       "slash in it, such as ./control.sock");
	else
		length = snprintf(path, CONTROL_PATH_BYTES, CONTROL_DIRECTORY "/%s/" CONTROL_SOCKET, place);
	if (length >= 0 && length < CONTROL_PATH_BYTES)
		return WH_RESULT_OK;
	snprintf(message->text, sizeof(message->text),
		 "--control: the path of a socket has at most %d bytes, and this one would have %d; choose a shorter "
		 "one",
		 CONTROL_PATH_BYTES - 1, length);
	return WH_RESULT_USAGE;
}

enum wh_result control_text_check(const char *text, struct wh_message *message)
{
	size_t length = strlen(text);
	if (length == 0)
		return refuse(message, "a mark needs a text, such as \"restarted the proxy\"");
	if (length > CONTROL_MARK_BYTES_MAX) {
		snprintf(message->text, sizeof(message->text),
			 "the text of a mark has at most %d bytes, and this one has %zu", CONTROL_MARK_BYTES_MAX,
			 length);
		return WH_RESULT_USAGE;
	}
	for (const char *at = text; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return refuse(message, "a mark is one line of text: leave out line ends, tabs and control "
					       "characters");
	}
	json_t *string = json_string(text);
	if (string == NULL)
		return refuse(message, "the text of a mark must be UTF-8");
	json_decref(string);
	return WH_RESULT_OK;
}

/* jansson goes a call deeper for each bracket: what is too deep is not even shown to it. */
static bool is_shallow(const char *text, size_t bytes, size_t most)
{
	size_t depth = 0;
	bool quoted = false;
	for (size_t i = 0; i < bytes; i++) {
		char c = text[i];
		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (++depth > most)
				return false;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return true;
}

static json_t *load(const char *line, size_t bytes, size_t depth)
{
	json_error_t error;
	return is_shallow(line, bytes, depth) ? json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &error) : NULL;
}

/* A member that is not known is an error: whoever sent it expects that something comes of it. */
static enum wh_result read_request(json_t *object, struct control_request *request, struct wh_message *message)
{
	const char *name = json_string_value(json_object_get(object, "do"));
	if (name == NULL || !control_action_find(name, &request->action))
		return refuse(message, "\"do\" must be one of \"status\", \"rotate\", \"stop\", \"mark\"");
	const char *text = "";
	const char *key = NULL;
	json_t *value = NULL;
	json_object_foreach(object, key, value)
	{
		if (strcmp(key, "do") == 0)
			continue;
		if (request->action == CONTROL_MARK && strcmp(key, "text") == 0 && json_is_string(value))
			text = json_string_value(value);
		else if (request->action == CONTROL_STOP && strcmp(key, "wait") == 0 && json_is_boolean(value))
			request->wait = json_is_true(value);
		else
			return refuse(message, "there is a member that this request does not have: a mark has a "
					       "\"text\", a stop may have a \"wait\" that is true or false");
	}
	if (request->action != CONTROL_MARK)
		return WH_RESULT_OK;
	enum wh_result result = control_text_check(text, message);
	if (result == WH_RESULT_OK)
		memcpy(request->text, text, strlen(text) + 1);
	return result;
}

enum wh_result control_request_parse(const char *line, size_t bytes, struct control_request *request,
				     struct wh_message *message)
{
	*request = (struct control_request){ .action = CONTROL_STATUS };
	if (bytes >= CONTROL_REQUEST_BYTES_MAX)
		return refuse(message, "the request is too long: it has at most 4096 bytes, with its line end");
	json_t *object = load(line, bytes, REQUEST_DEPTH_MAX);
	if (!json_is_object(object)) {
		json_decref(object);
		return refuse(message, "a request is one flat JSON object on one line, such as {\"do\":\"status\"}");
	}
	enum wh_result result = read_request(object, request, message);
	json_decref(object);
	return result;
}

char *control_line(json_t *object, size_t *bytes)
{
	/* Twelve digits tell milliseconds after years; all 17 would make of 10.1 something else. */
	char *text = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
	json_decref(object);
	if (text == NULL)
		return NULL;
	size_t length = strlen(text);
	char *line = realloc(text, length + 2);
	if (line == NULL) {
		free(text);
		return NULL;
	}
	memcpy(line + length, "\n", 2);
	*bytes = length + 1;
	return line;
}

char *control_request_format(const struct control_request *request)
{
	size_t bytes = 0;
	json_t *object = json_object();
	/* jansson takes a value that could not be made, or an object that could not, as an error of its own. */
	int failed = json_object_set_new(object, "do", json_string(control_action_name(request->action)));
	if (request->action == CONTROL_MARK)
		failed |= json_object_set_new(object, "text", json_string(request->text));
	if (request->action == CONTROL_STOP)
		failed |= json_object_set_new(object, "wait", json_boolean(request->wait));
	if (failed == 0)
		return control_line(object, &bytes);
	json_decref(object);
	return NULL;
}

json_t *control_refusal(const char *error)
{
	json_t *object = json_object();
	json_t *words = json_string(error);
	int failed = json_object_set_new(object, "ok", json_false());
	failed |= json_object_set_new(object, "error", words != NULL ? words : json_string("it cannot be done"));
	if (failed == 0)
		return object;
	json_decref(object);
	return NULL;
}

enum wh_result control_reply_parse(const char *line, size_t bytes, json_t **reply, struct wh_message *message)
{
	*reply = NULL;
	json_t *object = bytes < CONTROL_REPLY_BYTES_MAX ? load(line, bytes, REPLY_DEPTH_MAX) : NULL;
	const json_t *ok = json_object_get(object, "ok");
	if (json_is_true(ok)) {
		*reply = object;
		return WH_RESULT_OK;
	}
	enum wh_result result = WH_RESULT_ERROR;
	const char *error = json_string_value(json_object_get(object, "error"));
	if (json_is_false(ok) && error != NULL && error[0] != '\0') {
		result = json_is_true(json_object_get(object, "failed")) ? WH_RESULT_ERROR : WH_RESULT_USAGE;
		snprintf(message->text, sizeof(message->text), "%s", error);
		text_clean(message->text, false);
	} else {
		snprintf(message->text, sizeof(message->text), "what answers there does not speak as wirehaul does");
	}
	json_decref(object);
	return result;
}
