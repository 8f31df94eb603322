/* SPDX-License-Identifier: BSD-3-Clause */
#include "ringbuf/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct wh_error *error, enum wh_status status, int os_error, const char *format, va_list arguments)
{
	error->status = status;
	error->os_error = os_error;
	int length = vsnprintf(error->text, sizeof(error->text), format, arguments);
	if (os_error == 0 || length < 0 || (size_t)length >= sizeof(error->text))
		return;
	char words[128];
	snprintf(error->text + length, sizeof(error->text) - (size_t)length, ": %s",
		 strerror_r(os_error, words, sizeof(words)));
}

enum wh_status wh_error_set(struct wh_error *error, enum wh_status status, const char *format, ...)
{
	if (error != NULL) {
		va_list arguments;
		va_start(arguments, format);
		fill(error, status, 0, format, arguments);
		va_end(arguments);
	}
	return status;
}

static enum wh_status status_of(int os_error)
{
	switch (os_error) {
	case EPERM:
	case EACCES:
		return WH_ERR_PERMISSION;
	case ENOSPC:
	case EDQUOT:
		return WH_ERR_NO_SPACE;
	case ENOMEM:
		return WH_ERR_MEMORY;
	case ENODEV:
	case ENXIO:
		return WH_ERR_GONE;
	default:
		return WH_ERR_SYSTEM;
	}
}

enum wh_status wh_error_system(struct wh_error *error, int os_error, const char *format, ...)
{
	enum wh_status status = status_of(os_error);
	if (error != NULL) {
		va_list arguments;
		va_start(arguments, format);
		fill(error, status, os_error, format, arguments);
		va_end(arguments);
	}
	return status;
}
