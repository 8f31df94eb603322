/* SPDX-License-Identifier: BSD-3-Clause */
/* The command on each closed file: its order, its place in the world, and what is told of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/hook.h"
#include "engine/lock.h"

enum { PATIENCE_MS = 30000, TEXT_BYTES = 8192 };

struct fixture {
	char directory[64];
	char log[80];
	char fifo[80];
	struct wh_hooks *hooks;
};

static int fixture_make(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	assert_non_null(fixture);
	const char *parent = getenv("TMPDIR");
	snprintf(fixture->directory, sizeof(fixture->directory), "%.40s/wh-hook-XXXXXX",
		 parent != NULL ? parent : "/tmp");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->log, sizeof(fixture->log), "%s/log", fixture->directory);
	snprintf(fixture->fifo, sizeof(fixture->fifo), "%s/fifo", fixture->directory);
	assert_int_equal(mkfifo(fixture->fifo, 0600), 0);
	*state = fixture;
	return 0;
}

static int fixture_drop(void **state)
{
	struct fixture *fixture = *state;
	wh_hooks_close(fixture->hooks);
	/* Whatever still runs is ours; it ends by itself. */
	while (waitpid(-1, NULL, 0) > 0)
		;
	unlink(fixture->log);
	unlink(fixture->fifo);
	rmdir(fixture->directory);
	free(fixture);
	return 0;
}

/* A shell command in which LOG and FIFO stand for the fixture's files. */
static void hooks_open(struct fixture *fixture, const char *body)
{
	char command[1024];
	struct wh_error error;
	snprintf(command, sizeof(command), "LOG=%s; FIFO=%s; run() { %s\n}; run", fixture->log, fixture->fifo, body);
	assert_int_equal(wh_hooks_open(command, &fixture->hooks, &error), WH_OK);
}

static void hook_add(struct fixture *fixture, const char *path)
{
	struct wh_error error;
	if (wh_hooks_add(fixture->hooks, path, &error) != WH_OK)
		fail_msg("%s", error.text);
}

/* Waits for the running command to end and takes its note; returns the path that it failed on, or NULL. */
static char *hook_reap(struct fixture *fixture)
{
	struct pollfd event = { .fd = wh_hooks_fd(fixture->hooks), .events = POLLIN };
	struct wh_error error;
	char *failed = NULL;
	assert_true(event.fd >= 0);
	assert_int_equal(poll(&event, 1, PATIENCE_MS), 1);
	if (wh_hooks_reap(fixture->hooks, &failed, &error) != WH_OK)
		fail_msg("%s", error.text);
	return failed;
}

static void check_log(const struct fixture *fixture, const char *expected)
{
	char text[TEXT_BYTES] = "";
	int fd = open(fixture->log, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ssize_t length = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_true(length >= 0);
	assert_string_equal(text, expected);
}

/* Lets the command that waits in the FIFO go on. Blocks until there is one. */
static void fifo_pass(const struct fixture *fixture)
{
	int fd = open(fixture->fifo, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "go\n", 3), 3);
	close(fd);
}

static void one_at_a_time_and_in_order(void **state)
{
	struct fixture *fixture = *state;
	hooks_open(fixture, "echo begin \"$1\" >> $LOG; read word < $FIFO; echo end \"$1\" >> $LOG");
	assert_int_equal(wh_hooks_fd(fixture->hooks), -1);
	hook_add(fixture, "a");
	hook_add(fixture, "b");
	hook_add(fixture, "c");
	for (int i = 0; i < 3; i++) {
		fifo_pass(fixture);
		assert_null(hook_reap(fixture));
	}
	assert_int_equal(wh_hooks_fd(fixture->hooks), -1);
	check_log(fixture, "begin a\nend a\nbegin b\nend b\nbegin c\nend c\n");
	hook_add(fixture, "d");
	fifo_pass(fixture);
	assert_null(hook_reap(fixture));
	check_log(fixture, "begin a\nend a\nbegin b\nend b\nbegin c\nend c\nbegin d\nend d\n");
}

static void paths_arrive_whole(void **state)
{
	struct fixture *fixture = *state;
	hooks_open(fixture, "printf '%s|' \"$@\" >> $LOG; echo \"$#\" >> $LOG");
	hook_add(fixture, "a b/c d.pcapng");
	hook_add(fixture, "$(touch x) `id` \"'\\; * ?");
	hook_add(fixture, "-n");
	for (int i = 0; i < 3; i++)
		assert_null(hook_reap(fixture));
	check_log(fixture, "a b/c d.pcapng|1\n$(touch x) `id` \"'\\; * ?|1\n-n|1\n");
}

/* The lowest priority for the CPU, no signal blocked, none ignored that we ignore, and nothing of ours open. */
static void place_in_the_world(void **state)
{
	struct fixture *fixture = *state;
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	void (*pipe_before)(int) = signal(SIGPIPE, SIG_IGN);
	void (*size_before)(int) = signal(SIGXFSZ, SIG_IGN);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int ours = fcntl(null, F_DUPFD_CLOEXEC, 77);
	assert_int_equal(ours, 77);
	hooks_open(fixture,
		   "nice >> $LOG; grep ^SigBlk /proc/self/status >> $LOG; "
		   "ignored=0x$(grep ^SigIgn /proc/self/status | cut -f 2); echo $((ignored & 0x1001000)) >> $LOG; "
		   "test -e /proc/$$/fd/77 && echo open >> $LOG; readlink /proc/$$/fd/0 >> $LOG");
	hook_add(fixture, "x");
	char *failed = hook_reap(fixture);
	close(ours);
	close(null);
	signal(SIGPIPE, pipe_before);
	signal(SIGXFSZ, size_before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert_null(failed);
	check_log(fixture, "19\nSigBlk:\t0000000000000000\n0\n/dev/null\n");
}

/* What the terminal sends to our process group is not for the command. */
static void process_group_of_its_own(void **state)
{
	struct fixture *fixture = *state;
	hooks_open(fixture, "read -r pid name run parent group rest < /proc/$$/stat; echo $group >> $LOG; "
			    "test $group = $$ && echo own >> $LOG");
	hook_add(fixture, "x");
	pid_t child_group = 0;
	char word[8] = "";
	assert_null(hook_reap(fixture));
	FILE *log = fopen(fixture->log, "re");
	assert_non_null(log);
	assert_int_equal(fscanf(log, "%d %7s", &child_group, word), 2);
	fclose(log);
	assert_int_not_equal(child_group, getpgrp());
	assert_string_equal(word, "own");
}

static void failures_are_told(void **state)
{
	struct fixture *fixture = *state;
	hooks_open(fixture, "case $1 in bad*) exit 3;; kill*) kill -9 $$;; esac");
	hook_add(fixture, "good 1");
	hook_add(fixture, "bad 2");
	hook_add(fixture, "kill 3");
	hook_add(fixture, "good 4");
	assert_null(hook_reap(fixture));
	char *failed = hook_reap(fixture);
	assert_string_equal(failed, "bad 2");
	free(failed);
	failed = hook_reap(fixture);
	assert_string_equal(failed, "kill 3");
	free(failed);
	assert_null(hook_reap(fixture));
	assert_int_equal(wh_hooks_fd(fixture->hooks), -1);
}

static void a_command_that_is_none(void **state)
{
	struct fixture *fixture = *state;
	struct wh_error error;
	assert_int_equal(wh_hooks_open("/nonexistent/wh-hook 2>/dev/null", &fixture->hooks, &error), WH_OK);
	hook_add(fixture, "file");
	char *failed = hook_reap(fixture);
	assert_string_equal(failed, "file");
	free(failed);
}

/* Asked too early, it takes nothing. */
static void reaping_too_early(void **state)
{
	struct fixture *fixture = *state;
	struct wh_error error;
	char *failed = NULL;
	hooks_open(fixture, "read word < $FIFO");
	hook_add(fixture, "x");
	int fd = wh_hooks_fd(fixture->hooks);
	assert_int_equal(wh_hooks_reap(fixture->hooks, &failed, &error), WH_OK);
	assert_null(failed);
	assert_int_equal(wh_hooks_fd(fixture->hooks), fd);
	fifo_pass(fixture);
	assert_null(hook_reap(fixture));
}

/* At the end the command is run on everything that waits, and nobody waits for it. */
static void the_end_leaves_nothing_out(void **state)
{
	struct fixture *fixture = *state;
	hooks_open(fixture, "read word < $FIFO; echo \"$1\" >> $LOG");
	hook_add(fixture, "a");
	hook_add(fixture, "a");
	hook_add(fixture, "a");
	wh_hooks_close(fixture->hooks);
	fixture->hooks = NULL;
	/* Two hang on the FIFO, or will; the third does later. Lines for all, kept there by an open end of our own. */
	int fd = open(fixture->fifo, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "go\ngo\ngo\n", 9), 9);
	for (int left = 2; left > 0; left--)
		assert_true(waitpid(-1, NULL, 0) > 0);
	close(fd);
	check_log(fixture, "a\na\na\n");
	wh_hooks_close(NULL);
}

/* However many they are, a shell sees to all, in order, whatever one of them does. */
static void the_end_is_no_crowd(void **state)
{
	enum { FILES = 40 };
	struct fixture *fixture = *state;
	char expected[TEXT_BYTES] = "";
	hooks_open(fixture, "case $1 in first) ;; *) echo \"$1\" >> $LOG;; esac; exit 1");
	hook_add(fixture, "first");
	for (int i = 0; i < FILES; i++) {
		char path[32];
		snprintf(path, sizeof(path), "a \"b\" '$%d", i);
		hook_add(fixture, path);
		snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), "%s\n", path);
	}
	wh_hooks_close(fixture->hooks);
	fixture->hooks = NULL;
	assert_true(waitpid(-1, NULL, 0) > 0);
	assert_true(waitpid(-1, NULL, 0) > 0);
	assert_int_equal(waitpid(-1, NULL, 0), -1);
	check_log(fixture, expected);
}

/* A command that hangs for weeks does not fill the memory, and what it is not run on is told. */
static void those_that_wait_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	struct wh_error error;
	hooks_open(fixture, "read word < $FIFO");
	for (int i = 0; i <= WH_HOOKS_WAITING_MOST; i++)
		hook_add(fixture, "waits");
	assert_int_equal(wh_hooks_add(fixture->hooks, "left-out", &error), WH_ERR_MEMORY);
	assert_non_null(strstr(error.text, "left-out"));
	fifo_pass(fixture);
	assert_null(hook_reap(fixture));
	hook_add(fixture, "has room again");
	wh_hooks_close(fixture->hooks);
	fixture->hooks = NULL;
	/* All of them hang, each in a process group of its own; nothing of them is wanted any more. */
	FILE *children = fopen("/proc/thread-self/children", "re");
	assert_non_null(children);
	for (int child; fscanf(children, "%d", &child) == 1;) {
		while (kill(-child, SIGKILL) != 0)
			sched_yield();
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
	fclose(children);
}

/* A command is forked with all descriptors, and whoever else has the directory's would keep its lock. */
static void the_lock_ends_whoever_has_it(void **state)
{
	const struct fixture *fixture = *state;
	struct wh_error error;
	char path[96];
	int first, second;
	snprintf(path, sizeof(path), "%s/t.pcapng", fixture->directory);
	assert_int_equal(wh_directory_lock(path, &first, &error), WH_OK);
	assert_true(first >= 0);
	assert_int_equal(wh_directory_lock(path, &second, &error), WH_ERR_INPUT);
	assert_int_equal(second, -1);
	int same = dup(first);
	assert_true(same >= 0);
	wh_directory_unlock(first);
	assert_int_equal(wh_directory_lock(path, &second, &error), WH_OK);
	wh_directory_unlock(second);
	close(same);
	wh_directory_unlock(-1);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_make, fixture_drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(one_at_a_time_and_in_order),   WITH_FIXTURE(paths_arrive_whole),
		WITH_FIXTURE(place_in_the_world),           WITH_FIXTURE(failures_are_told),
		WITH_FIXTURE(a_command_that_is_none),       WITH_FIXTURE(reaping_too_early),
		WITH_FIXTURE(the_end_leaves_nothing_out),   WITH_FIXTURE(process_group_of_its_own),
		WITH_FIXTURE(the_end_is_no_crowd),          WITH_FIXTURE(those_that_wait_are_bounded),
		WITH_FIXTURE(the_lock_ends_whoever_has_it),
	};
	return cmocka_run_group_tests_name("hook", tests, NULL, NULL);
}
