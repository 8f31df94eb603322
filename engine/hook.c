/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	NICE_LOWEST = 19,
	IOPRIO_WHO_PROCESS = 1,
	IOPRIO_IDLE = 3 << 13,
	EXIT_NOT_STARTED = 127,
	ARGUMENTS_FIRST = 5 /* behind sh -c SCRIPT sh SCRIPT */
};
/* Runs a script, its first argument, with each of the others in turn. */
static const char each_script[] = "script=$1; shift; for path do /bin/sh -c \"$script\" sh \"$path\"; done";

struct waiting {
	struct waiting *next;
	char path[];
};

struct wh_hooks {
	char *script; /* the command and "$1" */
	struct waiting *first, *last;
	size_t count; /* of those that wait */
	struct waiting *running;
	pid_t child;
	int child_fd; /* pidfd of the running command, -1: none */
};

enum wh_status wh_hooks_open(const char *command, struct wh_hooks **opened, struct wh_error *error)
{
	struct wh_hooks *hooks = calloc(1, sizeof(*hooks));
	size_t length = strlen(command) + sizeof(" \"$1\"");
	char *script = malloc(length);
	if (hooks == NULL || script == NULL) {
		free(hooks);
		free(script);
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory");
	}
	snprintf(script, length, "%s \"$1\"", command);
	hooks->script = script;
	hooks->child_fd = -1;
	*opened = hooks;
	return WH_OK;
}

/* In the child, where only async-signal-safe calls are allowed. The mask, SIGPIPE and SIGXFSZ are as a program expects
 * them; of our descriptors only 0, 1 and 2 are left. */
static _Noreturn void command_become(char *const *arguments)
{
	/* Before the CPU is left to others: rings and the directory's lock would last for as long as this waits for its
	 * turn. Before Linux 5.9 they close when the program begins. */
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	/* Ctrl+C on the terminal is meant for the capture: it goes to a whole process group, so the command has its
	 * own. */
	setpgid(0, 0);
	setpriority(PRIO_PROCESS, 0, NICE_LOWEST);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
	int nothing = open("/dev/null", O_RDONLY);
	if (nothing >= 0)
		dup2(nothing, STDIN_FILENO);
	execv("/bin/sh", arguments);
	_exit(EXIT_NOT_STARTED);
}

static enum wh_status command_start(const struct wh_hooks *hooks, char *path, pid_t *child, struct wh_error *error)
{
	char *const arguments[] = { "sh", "-c", hooks->script, "sh", path, NULL };
	*child = fork();
	if (*child == 0)
		command_become(arguments);
	if (*child < 0)
		return wh_error_system(error, errno, "cannot run the command on %s (-z)", path);
	return WH_OK;
}

static struct waiting *waiting_take(struct wh_hooks *hooks)
{
	struct waiting *waiting = hooks->first;
	if (waiting != NULL) {
		hooks->first = waiting->next;
		hooks->count--;
		if (hooks->first == NULL)
			hooks->last = NULL;
	}
	return waiting;
}

static enum wh_status next_start(struct wh_hooks *hooks, struct wh_error *error)
{
	struct waiting *waiting = waiting_take(hooks);
	if (waiting == NULL)
		return WH_OK;
	enum wh_status status = command_start(hooks, waiting->path, &hooks->child, error);
	if (status == WH_OK) {
		hooks->child_fd = (int)syscall(SYS_pidfd_open, hooks->child, 0);
		if (hooks->child_fd < 0) {
			/* Without pidfd (before Linux 5.3) the command is waited for; it is rare enough. */
			waitpid(hooks->child, NULL, 0);
			free(waiting);
			return WH_OK;
		}
		fcntl(hooks->child_fd, F_SETFD, FD_CLOEXEC);
		hooks->running = waiting;
		return WH_OK;
	}
	free(waiting);
	return status;
}

enum wh_status wh_hooks_add(struct wh_hooks *hooks, const char *path, struct wh_error *error)
{
	size_t length = strlen(path) + 1;
	if (hooks->count == WH_HOOKS_WAITING_MOST)
		return wh_error_set(error, WH_ERR_MEMORY,
				    "the command (-z) is %d files behind, which is the most: it is not run on %s",
				    WH_HOOKS_WAITING_MOST, path);
	struct waiting *waiting = malloc(sizeof(*waiting) + length);
	if (waiting == NULL)
		return wh_error_set(error, WH_ERR_MEMORY, "out of memory: the command (-z) is not run on %s", path);
	waiting->next = NULL;
	memcpy(waiting->path, path, length);
	if (hooks->last != NULL)
		hooks->last->next = waiting;
	else
		hooks->first = waiting;
	hooks->last = waiting;
	hooks->count++;
	return hooks->child_fd < 0 ? next_start(hooks, error) : WH_OK;
}

int wh_hooks_fd(const struct wh_hooks *hooks)
{
	return hooks != NULL ? hooks->child_fd : -1;
}

enum wh_status wh_hooks_reap(struct wh_hooks *hooks, char **failed_path, struct wh_error *error)
{
	int status = 0;
	*failed_path = NULL;
	if (waitpid(hooks->child, &status, WNOHANG) == 0)
		return WH_OK;
	close(hooks->child_fd);
	hooks->child_fd = -1;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		*failed_path = strdup(hooks->running->path);
	free(hooks->running);
	hooks->running = NULL;
	return next_start(hooks, error);
}

/* One shell for as many of those that wait as the system takes for arguments: a process for each could be thousands. */
static void rest_start(struct wh_hooks *hooks)
{
	const size_t room = (size_t)sysconf(_SC_ARG_MAX) / 4;
	struct waiting *end = hooks->first;
	size_t count = 0, bytes = 0;
	for (; end != NULL && (count == 0 || bytes < room); end = end->next, count++)
		bytes += strlen(end->path) + 1 + sizeof(char *);
	char **arguments = calloc(ARGUMENTS_FIRST + count + 1, sizeof(*arguments));
	if (arguments != NULL) {
		const struct waiting *waiting = hooks->first;
		char *const first[] = { "sh", "-c", (char *)each_script, "sh", hooks->script };
		memcpy(arguments, first, sizeof(first));
		for (size_t i = 0; i < count; i++, waiting = waiting->next)
			arguments[ARGUMENTS_FIRST + i] = (char *)waiting->path; /* execv() changes none */
		/* Whoever could be told of a failure is about to go. */
		if (fork() == 0)
			command_become(arguments);
	}
	while (hooks->first != end)
		free(waiting_take(hooks));
	free(arguments);
}

void wh_hooks_close(struct wh_hooks *hooks)
{
	if (hooks == NULL)
		return;
	while (hooks->first != NULL)
		rest_start(hooks);
	if (hooks->child_fd >= 0)
		close(hooks->child_fd);
	free(hooks->running);
	free(hooks->script);
	free(hooks);
}
