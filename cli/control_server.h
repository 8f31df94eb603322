/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket of a running capture: answers `wirehaul status`, rotate, stop and mark (control_protocol.h). One
 * thread serves all, after everything else that wants the processor, and waits for none of them: how many there may be
 * at a time, what they may say, and how long they may take is bounded. Only root and the user of this process are
 * served.
 */
#ifndef WH_CLI_CONTROL_SERVER_H
#define WH_CLI_CONTROL_SERVER_H

#include <wirehaul.h>

struct control_server;

/* What the server says and needs of the program around it. Called from the server's thread. */
struct control_callbacks {
	void *context;
	/* One line that a person should know of, as in struct wh_config; or of severity CONTROL_ASKED: somebody else
	 * ends the capture, and who. NULL: nobody is told. */
	void (*report)(void *context, int severity, const char *line);
	const char *output; /* what -w says, or NULL; borrowed until control_server_close() */
};

enum { CONTROL_ASKED = 3 };

/*
 * Makes the control socket at PLACE, the value of --control, and listens there, but answers nobody yet. CALLBACKS is
 * copied; CAPTURE is borrowed until control_server_close(), which must come before wh_capture_close(). Call it as the
 * user that the process is to stay, so after wh_capture_open(). WH_RESULT_USAGE with *MESSAGE where it cannot be done;
 * nothing is left behind then.
 */
WH_MUST_USE enum wh_result control_server_open(const char *place, struct wh_capture *capture,
					       const struct control_callbacks *callbacks,
					       struct control_server **server, struct wh_message *message);

/*
 * Starts the thread that answers. CAPTURE must have been started. WH_RESULT_ERROR with *MESSAGE where there can be no
 * thread.
 */
WH_MUST_USE enum wh_result control_server_start(struct control_server *server, struct wh_message *message);

/*
 * Ends the thread, if there is one, and removes the socket, if it is still this one. Who waits for the end of the
 * capture is told of it before, if it has come. NULL is allowed. Waits for nobody but the thread, some milliseconds.
 */
void control_server_close(struct control_server *server);

#endif
