/* SPDX-License-Identifier: BSD-3-Clause */
/* The small shared words of every module: what came of a call, and the words for a person about it. */
#ifndef WH_RINGBUF_STATUS_H
#define WH_RINGBUF_STATUS_H

#define WH_MUST_CHECK __attribute__((warn_unused_result))

enum wh_status {
	WH_OK = 0,
	WH_ERR_INPUT,      /* what was asked for makes no sense; the caller's user must change it */
	WH_ERR_SYSTEM,     /* the system refused; wh_error.os_error says with which errno */
	WH_ERR_PERMISSION, /* a capability or a file permission is missing */
	WH_ERR_GONE,       /* the adapter is no longer there */
	WH_ERR_NO_SPACE,   /* the file system is full, or would have less free than it must keep */
	WH_ERR_MEMORY
};

/* Owned by the caller. TEXT is one line without a newline that says what to do. */
struct wh_error {
	enum wh_status status;
	int os_error;
	char text[512];
};

/* Fills *ERROR (which may be NULL) and returns STATUS, so that a failure is one line. os_error is set to 0. */
enum wh_status wh_error_set(struct wh_error *error, enum wh_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: keeps OS_ERROR and appends ": " and its text. The status is WH_ERR_PERMISSION for
 * EPERM and EACCES, WH_ERR_NO_SPACE for ENOSPC and EDQUOT, WH_ERR_MEMORY for ENOMEM, WH_ERR_GONE for ENODEV and
 * ENXIO, WH_ERR_SYSTEM otherwise. Any thread. */
enum wh_status wh_error_system(struct wh_error *error, int os_error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
