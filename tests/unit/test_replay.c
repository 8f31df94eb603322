/* SPDX-License-Identifier: BSD-3-Clause */
/* The replay: what a capture file has comes out in blocks like the kernel's, and through the encoders unchanged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pcap/pcap.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "blocks.h"
#include "engine/source.h"
#include "ringbuf/clock.h"

enum { BLOCK_BYTES = 32 * 1024, BLOCKS = 4, FRAMES = 700, SNAPSHOT_MOST = 262144 };
/* What of a block is left for one frame: its head, its slot's header, and the bytes the kernel leaves too. */
enum { FRAME_MOST = BLOCK_BYTES - WH_CHUNK_FIRST_SLOT - 84 - 8 };
#define START_NS (1767225600 * WH_NS_PER_SECOND)

struct fixture {
	char path[64];
	char name[64];                           /* of a pipe */
	uint32_t sizes[FRAMES], lengths[FRAMES]; /* captured and original */
	uint64_t times[FRAMES];
	uint32_t count;
	struct wh_replay_config config;
	struct wh_source *source;
	uint64_t random;
};

static int fixture_make(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	assert_non_null(fixture);
	const char *parent = getenv("TMPDIR");
	snprintf(fixture->path, sizeof(fixture->path), "%.40s/wh-replay-XXXXXX", parent != NULL ? parent : "/tmp");
	int fd = mkstemp(fixture->path);
	assert_true(fd >= 0);
	close(fd);
	fixture->random = 11;
	fixture->config = (struct wh_replay_config){
		.path = fixture->path,
		.snapshot_length = SNAPSHOT_MOST,
		.geometry = { .block_bytes = BLOCK_BYTES, .block_count = BLOCKS, .timeout_ms = 100 }
	};
	*state = fixture;
	return 0;
}

static int fixture_drop(void **state)
{
	struct fixture *fixture = *state;
	if (fixture->source != NULL)
		fixture->source->ops->close(fixture->source);
	unlink(fixture->path);
	free(fixture);
	return 0;
}

/* Byte INDEX of frame NUMBER: an Ethernet header of nobody's, then whatever. */
static uint8_t content(uint32_t number, uint32_t index)
{
	return index < 14 ? (uint8_t)(2 * index) : (uint8_t)(number * 17 + index * 3 + index / 256);
}

/* Writes a file of COUNT frames, up to LARGEST bytes each, by libpcap. */
static void file_make(struct fixture *fixture, uint32_t count, uint32_t largest, u_int precision, int link_type)
{
	static uint8_t bytes[SNAPSHOT_MOST];
	pcap_t *dead = pcap_open_dead_with_tstamp_precision(link_type, SNAPSHOT_MOST, precision);
	assert_non_null(dead);
	pcap_dumper_t *dumper = pcap_dump_open(dead, fixture->path);
	assert_non_null(dumper);
	fixture->count = count;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t unit = precision == PCAP_TSTAMP_PRECISION_NANO ? 1 : 1000;
		fixture->sizes[i] = (uint32_t)(wh_test_random(&fixture->random) % (largest + 1));
		fixture->lengths[i] = fixture->sizes[i] + i % 3 * 100;
		fixture->times[i] = (START_NS + i * 1234567891ULL) / unit * unit;
		for (uint32_t j = 0; j < fixture->sizes[i]; j++)
			bytes[j] = content(i, j);
		const struct pcap_pkthdr header = { .ts = { .tv_sec = (time_t)(fixture->times[i] / WH_NS_PER_SECOND),
							    .tv_usec = (suseconds_t)(fixture->times[i] %
										     WH_NS_PER_SECOND / unit) },
						    .caplen = fixture->sizes[i],
						    .len = fixture->lengths[i] };
		pcap_dump((u_char *)dumper, &header, bytes);
	}
	pcap_dump_close(dumper);
	pcap_close(dead);
}

static void replay_open(struct fixture *fixture)
{
	struct wh_error error = { 0 };
	if (wh_source_replay_open(&fixture->config, &fixture->source, &error) != WH_OK)
		fail_msg("%s", error.text);
}

static bool next(struct fixture *fixture, struct wh_block *block)
{
	if (!fixture->source->ops->next(fixture->source, block))
		return false;
	assert_true(block->frames >= 1);
	assert_true(block->used <= BLOCK_BYTES);
	assert_true(block->index < BLOCKS);
	assert_false(block->losing);
	assert_ptr_equal(block->base, fixture->source->memory + (size_t)block->index * BLOCK_BYTES);
	assert_int_equal(block->base[8] & 1, 1);
	return true;
}

static void release(struct fixture *fixture, uint32_t index)
{
	fixture->source->ops->release(fixture->source, index);
}

/* Encodes BLOCK and checks that it has the frames of the file that come next, those for which WANTED says so. */
static void block_check(struct fixture *fixture, const struct wh_block *block, uint32_t *number,
			bool (*wanted)(const struct fixture *fixture, uint32_t number))
{
	const struct wh_encoding encoding = { .rules = { .snapshot_length = fixture->config.snapshot_length } };
	struct wh_chunk chunk = { 0 };
	wh_pcapng_encode(&encoding, WH_TRANSCRIBE_RUN, block->base, BLOCK_BYTES, block->first_slot, block->frames,
			 &chunk);
	struct wh_test_walk walk = { 0 };
	if (!wh_test_walk_run(&walk, chunk.base, chunk.length, 1))
		fail_msg("%s (at %zu)", walk.problem, walk.problem_at);
	assert_int_equal(walk.frame_count, block->frames);
	for (uint32_t i = 0; i < walk.frame_count; i++, (*number)++) {
		while (wanted != NULL && *number < fixture->count && !wanted(fixture, *number))
			(*number)++;
		assert_true(*number < fixture->count);
		const struct wh_test_record *record = &walk.frames[i];
		uint32_t size = fixture->sizes[*number];
		if (size > fixture->config.snapshot_length)
			size = fixture->config.snapshot_length;
		if (size > FRAME_MOST)
			size = FRAME_MOST;
		assert_int_equal(record->captured, size);
		assert_int_equal(record->original, fixture->lengths[*number]);
		assert_int_equal(record->ns, fixture->times[*number]);
		assert_int_equal(record->flags, 0);
		for (uint32_t j = 0; j < size; j++)
			if (record->data[j] != content(*number, j))
				fail_msg("byte %u of frame %u is wrong", j, *number);
	}
	wh_test_walk_free(&walk);
}

/* Takes all that is in the file, and checks it. Returns the number of frames. */
static uint32_t drain(struct fixture *fixture, bool (*wanted)(const struct fixture *fixture, uint32_t number))
{
	struct wh_block block;
	uint32_t number = 0, frames = 0;
	while (!fixture->source->ops->at_end(fixture->source)) {
		if (!next(fixture, &block)) {
			if (!fixture->source->ops->at_end(fixture->source))
				fixture->source->ops->wait(fixture->source, WH_NS_PER_SECOND);
			continue;
		}
		block_check(fixture, &block, &number, wanted);
		frames += block.frames;
		release(fixture, block.index);
	}
	uint64_t received = 0, dropped = 0;
	fixture->source->ops->statistics(fixture->source, &received, &dropped);
	assert_int_equal(received, frames);
	assert_int_equal(dropped, 0);
	fixture->source->ops->statistics(fixture->source, &received, &dropped);
	assert_int_equal(received, frames); /* told once */
	return frames;
}

static void nanoseconds_pass(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, FRAMES, 3000, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	replay_open(fixture);
	assert_int_equal(fixture->source->link_type, DLT_EN10MB);
	assert_int_equal(fixture->source->block_count, BLOCKS);
	assert_int_equal(drain(fixture, NULL), FRAMES);
	assert_string_equal(fixture->source->problem, "");
}

static void microseconds_pass(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, FRAMES, 300, PCAP_TSTAMP_PRECISION_MICRO, DLT_RAW);
	replay_open(fixture);
	assert_int_equal(fixture->source->link_type, DLT_RAW);
	assert_int_equal(drain(fixture, NULL), FRAMES);
}

static void frames_larger_than_a_block_are_cut(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, 200, 100000, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	replay_open(fixture);
	assert_int_equal(drain(fixture, NULL), 200);
}

static void snapshot_length_cuts(void **state)
{
	static const uint32_t lengths[] = { 1, 14, 96, 1000 };
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct fixture *fixture = *state;
		fixture->config.snapshot_length = lengths[i];
		file_make(fixture, 300, 2000, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
		replay_open(fixture);
		assert_int_equal(drain(fixture, NULL), 300);
		fixture->source->ops->close(fixture->source);
		fixture->source = NULL;
	}
}

static bool is_long(const struct fixture *fixture, uint32_t number)
{
	return fixture->lengths[number] >= 1000;
}

static void filter_chooses(void **state)
{
	struct fixture *fixture = *state;
	fixture->config.filter = "greater 1000";
	file_make(fixture, FRAMES, 2000, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	uint32_t expected = 0;
	for (uint32_t i = 0; i < FRAMES; i++)
		expected += is_long(fixture, i);
	replay_open(fixture);
	assert_true(fixture->source->filters);
	assert_int_equal(drain(fixture, is_long), expected);
	assert_int_equal(fixture->source->filtered, FRAMES - expected);
}

static void filter_that_refuses_all(void **state)
{
	struct fixture *fixture = *state;
	fixture->config.filter = "less 0 and greater 1";
	file_make(fixture, FRAMES, 2000, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	replay_open(fixture);
	assert_int_equal(drain(fixture, NULL), 0);
	assert_int_equal(fixture->source->filtered, FRAMES);
}

/* Blocks come back in any order, and are filled again in the ring's. */
static void release_out_of_order(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, FRAMES, 3000, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	replay_open(fixture);
	struct wh_block blocks[BLOCKS], block;
	uint32_t number = 0;
	for (uint32_t i = 0; i < BLOCKS; i++) {
		assert_true(next(fixture, &blocks[i]));
		assert_int_equal(blocks[i].index, i);
	}
	assert_false(fixture->source->ops->next(fixture->source, &block));
	assert_false(fixture->source->ops->at_end(fixture->source));
	/* Nothing was touched while it was lent. */
	for (uint32_t i = 0; i < BLOCKS; i++)
		block_check(fixture, &blocks[i], &number, NULL);
	release(fixture, 2);
	release(fixture, 1);
	assert_false(fixture->source->ops->next(fixture->source, &block));
	release(fixture, 0);
	for (uint32_t i = 0; i < 3; i++) {
		assert_true(next(fixture, &block));
		assert_int_equal(block.index, i);
		block_check(fixture, &block, &number, NULL);
	}
	assert_false(fixture->source->ops->next(fixture->source, &block));
	for (uint32_t i = 0; i < BLOCKS; i++)
		release(fixture, BLOCKS - 1 - i);
	while (next(fixture, &block)) {
		block_check(fixture, &block, &number, NULL);
		release(fixture, block.index);
	}
	assert_int_equal(number, FRAMES);
}

/* Cut off anywhere: what is whole comes out, and then it is said why there is no more. */
static void damaged_files_say_so(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, 20, 500, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	uint64_t record[21] = { 24 };
	for (uint32_t i = 0; i < 20; i++)
		record[i + 1] = record[i] + 16 + fixture->sizes[i];
	for (uint64_t length = record[20] - 1; length >= 24; length -= 37) {
		uint32_t whole = 0;
		while (record[whole + 1] <= length)
			whole++;
		assert_int_equal(truncate(fixture->path, (off_t)length), 0);
		replay_open(fixture);
		assert_int_equal(drain(fixture, NULL), whole);
		assert_int_equal(fixture->source->problem[0] != '\0', length != record[whole]);
		assert_null(strchr(fixture->source->problem, '\n'));
		fixture->source->ops->close(fixture->source);
		fixture->source = NULL;
		if (length < 24 + 37)
			break;
	}
}

static void absurd_lengths_say_so(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, 3, 100, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	const uint32_t absurd = 0x7FFFFFFF;
	FILE *file = fopen(fixture->path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, 24 + 16 + (long)fixture->sizes[0] + 8, SEEK_SET), 0);
	assert_int_equal(fwrite(&absurd, sizeof(absurd), 1, file), 1);
	fclose(file);
	replay_open(fixture);
	assert_int_equal(drain(fixture, NULL), 1);
	assert_true(fixture->source->problem[0] != '\0');
}

/* Behind the damage nothing is what it seems: what looks like a record there is none. */
static void damage_ends_the_file(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, 3, 100, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	const uint32_t absurd[4] = { 1, 1, 0x7FFFFFFF, 0x7FFFFFFF };
	FILE *file = fopen(fixture->path, "r+b");
	assert_non_null(file);
	long behind_the_first = 24 + 16 + (long)fixture->sizes[0];
	uint8_t rest[512];
	assert_int_equal(fseek(file, behind_the_first, SEEK_SET), 0);
	size_t length = fread(rest, 1, sizeof(rest), file);
	assert_int_equal(fseek(file, behind_the_first, SEEK_SET), 0);
	assert_int_equal(fwrite(absurd, sizeof(absurd), 1, file), 1);
	assert_int_equal(fwrite(rest, 1, length, file), length);
	fclose(file);
	replay_open(fixture);
	assert_int_equal(drain(fixture, NULL), 1);
	assert_true(fixture->source->problem[0] != '\0');
}

/* A record that says that less was on the wire than was captured. */
static void captured_is_never_more_than_there_was(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, 1, 100, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	fixture->lengths[0] = fixture->sizes[0];
	const uint32_t less = fixture->sizes[0] / 2;
	FILE *file = fopen(fixture->path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, 24 + 12, SEEK_SET), 0);
	assert_int_equal(fwrite(&less, sizeof(less), 1, file), 1);
	fclose(file);
	replay_open(fixture);
	assert_int_equal(drain(fixture, NULL), 1);
}

static void empty_file(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, 0, 0, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	replay_open(fixture);
	assert_int_equal(drain(fixture, NULL), 0);
	assert_string_equal(fixture->source->problem, "");
}

static void refuse(struct fixture *fixture, const char *word)
{
	struct wh_error error = { 0 };
	struct wh_source *source;
	assert_int_equal(wh_source_replay_open(&fixture->config, &source, &error), WH_ERR_INPUT);
	if (strstr(error.text, word) == NULL || strchr(error.text, '\n') != NULL)
		fail_msg("\"%s\" does not mention %s", error.text, word);
}

static void what_cannot_be_read_is_refused(void **state)
{
	struct fixture *fixture = *state;
	refuse(fixture, fixture->path); /* of no bytes at all */
	FILE *file = fopen(fixture->path, "wb");
	assert_non_null(file);
	fputs("this is no capture file, however long it may be", file);
	fclose(file);
	refuse(fixture, fixture->path);
	fixture->config.path = "/nonexistent/x.pcap";
	refuse(fixture, "/nonexistent/x.pcap");
	fixture->config.path = fixture->path;
	file_make(fixture, 1, 100, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	fixture->config.filter = "tcp port and udp";
	refuse(fixture, "tcp port and udp");
	fixture->config.filter = "   ";
	replay_open(fixture);
	assert_int_equal(drain(fixture, NULL), 1);
}

static void a_mistake_in_a_filter_is_shown(void **state)
{
	static const struct {
		const char *filter, *said;
	} cases[] = {
		{ "ip and (tcp or", " (at character 15: it ends too soon)" },
		{ "ip and (tcp or  ", " (at character 17: it ends too soon)" },
		{ "tcp port", " (at character 9: it ends too soon)" },
		{ "tcp[13", " (at character 7: it ends too soon)" },
		{ "((tcp[(12", " (at character 10: it ends too soon)" },
		{ "tcp port port 80", " (at character 10: \"port 80\")" },
		{ "ip and foo", " (at character 8: \"foo\")" },
		{ "ip and and tcp", " (at character 8: \"and tcp\")" },
		{ "tcp port 80 and upd port 53", " (at character 17: \"upd port 53\")" },
		{ "port 80 and (upd port 53)", " (at character 14: \"upd port 53)\")" },
		{ "tcp prot 80", " (at character 5: \"prot 80\")" },
		{ "prot 80", " (at character 1: \"prot 80\")" },
		{ "ip or (tcp))", " (at character 12: \")\")" },
		{ "()", " (at character 2: \")\")" },
		{ "tcp[13]&&&2", " (at character 8: \"&&&2\")" },
		{ "host 1.2.3.4 and\tport http port", " (at character 28: \"port\")" },
		{ "net 10.0.0.1/8 or net 10.0.0.1/80", " (at character 5: \"10.0.0.1/8 or net 10.0.0.1/80\")" },
		{ "tcp port 70000", "> 65535" },
	};
	struct fixture *fixture = *state;
	file_make(fixture, 1, 100, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wh_error error = { 0 };
		struct wh_source *source;
		fixture->config.filter = cases[i].filter;
		assert_int_equal(wh_source_replay_open(&fixture->config, &source, &error), WH_ERR_INPUT);
		size_t length = strlen(error.text), end = strlen(cases[i].said);
		if (length < end || strcmp(error.text + length - end, cases[i].said) != 0)
			fail_msg("\"%s\" does not end with \"%s\"", error.text, cases[i].said);
	}
}

/* A thousand hosts, as programs write them: an answer at once, and no place. */
static void a_mistake_in_a_long_filter(void **state)
{
	static char filter[40000];
	struct fixture *fixture = *state;
	file_make(fixture, 1, 100, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	size_t length = 0;
	for (int i = 0; i < 1000; i++)
		length +=
		    (size_t)snprintf(filter + length, sizeof(filter) - length, "host 10.1.%d.%d or ", i / 250, i % 250);
	fixture->config.filter = filter;
	struct wh_error error = { 0 };
	struct wh_source *source;
	clock_t before = clock(); /* of the processor, which others may want, too */
	assert_int_equal(wh_source_replay_open(&fixture->config, &source, &error), WH_ERR_INPUT);
	assert_true(clock() - before < CLOCKS_PER_SEC);
	assert_non_null(strstr(error.text, "syntax error"));
	assert_null(strstr(error.text, "at character"));
	/* The longest for which it is looked for, and that at its very end. */
	for (length = 4096 - 4; memcmp(filter + length, " or ", 4) != 0;)
		length--;
	filter[length + 4] = '\0';
	before = clock();
	assert_int_equal(wh_source_replay_open(&fixture->config, &source, &error), WH_ERR_INPUT);
	assert_true(clock() - before < CLOCKS_PER_SEC);
	assert_non_null(strstr(error.text, "it ends too soon"));
}

/* Makes a pipe descriptor FD for as long as the test runs; returns the end to write to. */
struct plumbing {
	int fd, before, ends[2];
};

static void plumb(struct plumbing *plumbing, int fd)
{
	plumbing->fd = fd;
	assert_int_equal(pipe(plumbing->ends), 0);
	plumbing->before = dup(fd);
	assert_int_equal(dup2(plumbing->ends[0], fd), fd);
}

static void unplumb(const struct plumbing *plumbing)
{
	if (plumbing->before >= 0) {
		dup2(plumbing->before, plumbing->fd);
		close(plumbing->before);
	} else {
		close(plumbing->fd);
	}
	close(plumbing->ends[0]);
	close(plumbing->ends[1]);
}

static void say(const struct plumbing *plumbing, const void *bytes, size_t length)
{
	assert_int_equal(write(plumbing->ends[1], bytes, length), length);
}

/* A pipe falls silent in the middle of a frame: what was whole comes out after the block timeout, and nothing waits for
 * the rest. PATH names the pipe, which is descriptor FD. */
static void silent_pipe(struct fixture *fixture, const char *path, int fd)
{
	struct plumbing plumbing;
	uint8_t bytes[4096];
	file_make(fixture, 5, 100, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	FILE *file = fopen(fixture->path, "rb");
	assert_non_null(file);
	size_t length = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	plumb(&plumbing, fd);
	say(&plumbing, bytes, length);
	say(&plumbing, bytes + 24, 7);
	fixture->config.path = path;
	replay_open(fixture);
	struct wh_block block;
	uint32_t number = 0;
	while (!next(fixture, &block))
		fixture->source->ops->wait(fixture->source, 60 * WH_NS_PER_SECOND);
	block_check(fixture, &block, &number, NULL);
	release(fixture, block.index);
	assert_int_equal(number, 5);
	assert_false(next(fixture, &block));
	assert_false(fixture->source->ops->at_end(fixture->source));
	/* One more, and the end that is asked for: what was let in comes out at once. */
	say(&plumbing, bytes + 24 + 7, 9 + fixture->sizes[0]);
	assert_false(next(fixture, &block));
	fixture->source->ops->stop(fixture->source);
	number = 0;
	assert_true(next(fixture, &block));
	block_check(fixture, &block, &number, NULL);
	release(fixture, block.index);
	assert_int_equal(number, 1);
	assert_false(next(fixture, &block));
	assert_string_equal(fixture->source->problem, "");
	fixture->source->ops->close(fixture->source);
	fixture->source = NULL;
	unplumb(&plumbing);
}

static void silence_is_not_waited_for(void **state)
{
	silent_pipe(*state, "-", STDIN_FILENO);
	silent_pipe(*state, "/dev/fd/99", 99);
}

static void *waker_main(void *argument)
{
	struct wh_source *source = argument;
	const struct timespec moment = { .tv_nsec = 100 * 1000 * 1000 };
	nanosleep(&moment, NULL);
	source->ops->wake(source);
	return NULL;
}

/* Of a form whose frames only libpcap knows, one that is cut off is waited for until somebody asks for the end. */
static void silence_can_be_ended(void **state)
{
	struct fixture *fixture = *state;
	/* Kuznetzov's: its records have a longer head. */
	static const uint32_t bytes[] = { 0xA1B2CD34, 2 | 4 << 16, 0, 0, 65535, 1, 1700000000, 0, 60 };
	struct plumbing plumbing;
	plumb(&plumbing, STDIN_FILENO);
	say(&plumbing, bytes, sizeof(bytes));
	fixture->config.path = "-";
	replay_open(fixture);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, waker_main, fixture->source), 0);
	assert_int_equal(drain(fixture, NULL), 0);
	pthread_join(thread, NULL);
	assert_string_equal(fixture->source->problem, "");
	unplumb(&plumbing);
}

/* ---- byte by byte ---- */

/* A file in one of the forms, and where each of its packets ends. */
struct recording {
	bool swapped;
	uint8_t bytes[4096];
	size_t length, ends[32];
	uint32_t packets;
};

static void put16(struct recording *recording, uint32_t value)
{
	uint16_t word = (uint16_t)(recording->swapped ? __builtin_bswap16((uint16_t)value) : value);
	memcpy(recording->bytes + recording->length, &word, sizeof(word));
	recording->length += sizeof(word);
}

static void put32(struct recording *recording, uint32_t value)
{
	uint32_t word = recording->swapped ? __builtin_bswap32(value) : value;
	memcpy(recording->bytes + recording->length, &word, sizeof(word));
	recording->length += sizeof(word);
}

static void put_data(struct recording *recording, uint32_t length)
{
	memset(recording->bytes + recording->length, 0xEE, length);
	recording->length += length;
}

static void packet_ends(struct recording *recording)
{
	recording->ends[recording->packets++] = recording->length;
}

static void record_pcap(struct recording *recording, uint32_t magic)
{
	static const uint32_t lengths[] = { 60, 0, 1, 300, 61 };
	put32(recording, magic);
	put16(recording, 2);
	put16(recording, 4);
	for (int i = 0; i < 2; i++)
		put32(recording, 0);
	put32(recording, 65535);
	put32(recording, DLT_EN10MB);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		put32(recording, 1700000000);
		put32(recording, (uint32_t)i);
		put32(recording, lengths[i]);
		put32(recording, lengths[i] + 5);
		put_data(recording, lengths[i]);
		packet_ends(recording);
	}
}

static void put_interface(struct recording *recording)
{
	put32(recording, 1);
	put32(recording, 20);
	put16(recording, DLT_EN10MB);
	put16(recording, 0);
	put32(recording, 65535);
	put32(recording, 20);
}

/* What has no packet: a block of a type that nobody knows. */
static void put_other(struct recording *recording, uint32_t data)
{
	put32(recording, 0x0BAD0BAD);
	put32(recording, 12 + data);
	put_data(recording, data);
	put32(recording, 12 + data);
}

static void put_enhanced(struct recording *recording, uint32_t length)
{
	uint32_t total = 32 + (length + 3) / 4 * 4;
	put32(recording, 6);
	put32(recording, total);
	for (int i = 0; i < 3; i++)
		put32(recording, 0); /* interface, time */
	put32(recording, length);
	put32(recording, length);
	put_data(recording, total - 32);
	put32(recording, total);
	packet_ends(recording);
}

static void put_section(struct recording *recording)
{
	put32(recording, 0x0A0D0D0A);
	put32(recording, 28);
	put32(recording, 0x1A2B3C4D);
	put16(recording, 1);
	put16(recording, 0);
	put32(recording, UINT32_MAX);
	put32(recording, UINT32_MAX);
	put32(recording, 28);
}

static void record_pcapng(struct recording *recording)
{
	put_section(recording);
	put_other(recording, 8);
	put_interface(recording);
	put_enhanced(recording, 60);
	put_other(recording, 0);
	put_other(recording, 40);
	put_enhanced(recording, 1);
	put_enhanced(recording, 0);
	put_section(recording);
	put_interface(recording);
	put_enhanced(recording, 333);
	put_other(recording, 4); /* nothing comes behind it */
}

/* Each byte by itself: a frame comes out with its last one, and whoever asks before that is not kept waiting. */
static void check_bytes(struct fixture *fixture, const struct recording *recording, size_t head)
{
	struct plumbing plumbing;
	struct wh_block block;
	uint32_t packets = 0;
	plumb(&plumbing, STDIN_FILENO);
	say(&plumbing, recording->bytes, head);
	fixture->config.path = "-";
	fixture->config.geometry.timeout_ms = 0;
	replay_open(fixture);
	for (size_t i = head; i < recording->length; i++) {
		assert_false(next(fixture, &block));
		say(&plumbing, recording->bytes + i, 1);
		if (packets == recording->packets || i + 1 != recording->ends[packets])
			continue;
		assert_true(next(fixture, &block));
		assert_int_equal(block.frames, 1);
		release(fixture, block.index);
		packets++;
	}
	assert_int_equal(packets, recording->packets);
	assert_false(next(fixture, &block));
	assert_false(fixture->source->ops->at_end(fixture->source));
	close(plumbing.ends[1]);
	assert_false(next(fixture, &block));
	assert_true(fixture->source->ops->at_end(fixture->source));
	assert_string_equal(fixture->source->problem, "");
	fixture->source->ops->close(fixture->source);
	fixture->source = NULL;
	plumbing.ends[1] = dup(STDERR_FILENO);
	unplumb(&plumbing);
}

static void frames_come_with_their_last_byte(void **state)
{
	static const uint32_t magics[] = { 0xA1B2C3D4, 0xA1B23C4D };
	for (int swapped = 0; swapped < 2; swapped++) {
		struct recording recording = { .swapped = swapped == 1 };
		record_pcapng(&recording);
		check_bytes(*state, &recording, 28 + 20 + 20); /* libpcap opens it with the first interface */
		for (size_t i = 0; i < 2; i++) {
			recording = (struct recording){ .swapped = swapped == 1 };
			record_pcap(&recording, magics[i]);
			check_bytes(*state, &recording, 24);
		}
	}
}

/* Frames that do not fit into what is read at once, and more than a block of them. */
static void a_large_frame_through_a_pipe(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, 40, SNAPSHOT_MOST, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	char command[128];
	snprintf(command, sizeof(command), "cat %s", fixture->path);
	FILE *cat = popen(command, "r");
	assert_non_null(cat);
	snprintf(fixture->name, sizeof(fixture->name), "/dev/fd/%d", fileno(cat));
	fixture->config.path = fixture->name;
	replay_open(fixture);
	assert_int_equal(drain(fixture, NULL), 40);
	assert_string_equal(fixture->source->problem, "");
	pclose(cat);
}

/* The same bytes through a pipe that comes to its end by itself. */
static void pipe_that_ends(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, FRAMES, 3000, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	char command[128];
	snprintf(command, sizeof(command), "cat %s", fixture->path);
	FILE *cat = popen(command, "r");
	assert_non_null(cat);
	int before = dup(STDIN_FILENO);
	assert_int_equal(dup2(fileno(cat), STDIN_FILENO), STDIN_FILENO);
	fixture->config.path = "-";
	replay_open(fixture);
	assert_int_equal(drain(fixture, NULL), FRAMES);
	assert_string_equal(fixture->source->problem, "");
	dup2(before, STDIN_FILENO);
	close(before);
	pclose(cat);
}

static void stop_lets_nothing_more_in(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, FRAMES, 3000, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	replay_open(fixture);
	struct wh_block block;
	uint32_t number = 0;
	assert_true(next(fixture, &block));
	fixture->source->ops->stop(fixture->source);
	assert_false(fixture->source->ops->next(fixture->source, &block));
	block_check(fixture, &block, &number, NULL);
	release(fixture, block.index);
	assert_false(fixture->source->ops->next(fixture->source, &block));
	uint64_t received = 0, dropped = 0;
	fixture->source->ops->statistics(fixture->source, &received, &dropped);
	assert_int_equal(received, number);
}

static void *releaser_main(void *argument)
{
	struct wh_source *source = argument;
	source->ops->release(source, 0);
	return NULL;
}

/* A block that comes back ends the wait for one, and so does a wake. */
static void waiting_ends(void **state)
{
	struct fixture *fixture = *state;
	file_make(fixture, FRAMES, 3000, PCAP_TSTAMP_PRECISION_NANO, DLT_EN10MB);
	replay_open(fixture);
	struct wh_block block;
	for (int i = 0; i < BLOCKS; i++)
		assert_true(next(fixture, &block));
	uint64_t before = wh_ns_monotonic();
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, releaser_main, fixture->source), 0);
	fixture->source->ops->wait(fixture->source, 20 * WH_NS_PER_SECOND);
	pthread_join(thread, NULL);
	assert_true(next(fixture, &block));
	fixture->source->ops->wake(fixture->source);
	fixture->source->ops->wake(fixture->source);
	fixture->source->ops->wait(fixture->source, 20 * WH_NS_PER_SECOND);
	assert_true(wh_ns_monotonic() - before < 10 * WH_NS_PER_SECOND);
	before = wh_ns_monotonic();
	fixture->source->ops->wait(fixture->source, 20 * WH_NS_PER_MS);
	assert_true(wh_ns_monotonic() - before >= 10 * WH_NS_PER_MS);
}

static void made_up_frames(void **state)
{
	static const uint32_t sizes[] = { 0, 60, 1414, 9000, FRAME_MOST };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct fixture *fixture = *state;
		fixture->config.path = NULL;
		fixture->config.synthetic_frames = 1001;
		fixture->config.synthetic_bytes = sizes[i];
		replay_open(fixture);
		struct wh_block block;
		uint64_t frames = 0, last = 0;
		while (next(fixture, &block)) {
			const struct wh_encoding encoding = { .rules = { .snapshot_length = SNAPSHOT_MOST } };
			struct wh_chunk chunk = { 0 };
			wh_pcapng_encode(&encoding, WH_TRANSCRIBE_RUN, block.base, BLOCK_BYTES, block.first_slot,
					 block.frames, &chunk);
			assert_int_equal(chunk.frame_bytes, (uint64_t)block.frames * sizes[i]);
			assert_true(chunk.first_ns > last);
			last = chunk.last_ns;
			frames += block.frames;
			release(fixture, block.index);
		}
		assert_true(fixture->source->ops->at_end(fixture->source));
		assert_int_equal(frames, 1001);
		fixture->source->ops->close(fixture->source);
		fixture->source = NULL;
	}
}

/* Noise, so that no disk takes the frames for zeros; as long as they are said to be, or cut like any other. */
static void made_up_frames_are_cut(void **state)
{
	static const struct {
		uint32_t bytes, snapshot, captured;
	} cases[] = {
		{ 1414, 96, 96 },
		{ 1414, 1414, 1414 },
		{ FRAME_MOST + 1, SNAPSHOT_MOST, FRAME_MOST },
		{ 65535, SNAPSHOT_MOST, FRAME_MOST },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture *fixture = *state;
		fixture->config.path = NULL;
		fixture->config.synthetic_frames = 0;
		fixture->config.synthetic_bytes = cases[i].bytes;
		fixture->config.snapshot_length = cases[i].snapshot;
		replay_open(fixture);
		struct wh_block block;
		assert_true(next(fixture, &block));
		const struct wh_encoding encoding = { .rules = { .snapshot_length = cases[i].snapshot } };
		struct wh_chunk chunk = { 0 };
		wh_pcapng_encode(&encoding, WH_TRANSCRIBE_RUN, block.base, BLOCK_BYTES, block.first_slot, block.frames,
				 &chunk);
		assert_int_equal(chunk.frame_bytes, (uint64_t)block.frames * cases[i].captured);
		assert_int_equal(chunk.truncated, cases[i].captured < cases[i].bytes ? block.frames : 0);
		uint32_t zeros = 0;
		for (uint32_t at = 0; at < chunk.length; at++)
			zeros += chunk.base[at] == 0;
		assert_true(zeros < chunk.length / 2);
		release(fixture, block.index);
		assert_false(fixture->source->ops->at_end(fixture->source));
		fixture->source->ops->close(fixture->source);
		fixture->source = NULL;
	}
}

/* ---- what must neither wait nor go round and round ---- */

/* The ring is out and the pipe has more: that is waited for until a block is back, not asked for again and again. */
static void a_ring_that_is_out_is_waited_for(void **state)
{
	struct fixture *fixture = *state;
	static const uint32_t head[] = { 0xA1B2C3D4, 2 | 4 << 16, 0, 0, 65535, DLT_EN10MB };
	static const uint32_t record[4 + 15] = { 1700000000, 0, 60, 60 };
	struct plumbing plumbing;
	struct wh_block blocks[BLOCKS], block;
	plumb(&plumbing, STDIN_FILENO);
	say(&plumbing, head, sizeof(head));
	fixture->config.path = "-";
	fixture->config.geometry.timeout_ms = 0;
	replay_open(fixture);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		say(&plumbing, record, sizeof(record));
		assert_true(next(fixture, &blocks[i]));
	}
	say(&plumbing, record, sizeof(record));
	assert_false(next(fixture, &block));
	uint64_t since_ns = wh_ns_monotonic();
	fixture->source->ops->wait(fixture->source, 50 * WH_NS_PER_MS);
	assert_true(wh_ns_monotonic() - since_ns >= 50 * WH_NS_PER_MS);
	release(fixture, blocks[0].index);
	fixture->source->ops->wait(fixture->source, 60 * WH_NS_PER_SECOND);
	assert_true(next(fixture, &block));
	assert_int_equal(block.frames, 1);
	for (uint32_t i = 0; i < BLOCKS; i++)
		release(fixture, i);
	fixture->source->ops->close(fixture->source);
	fixture->source = NULL;
	unplumb(&plumbing);
}

/* A connection that is reset is no end of the input, though the kernel says so only once. */
static void a_reset_connection_says_so(void **state)
{
	struct fixture *fixture = *state;
	static const uint32_t head[] = { 0xA1B2C3D4, 2 | 4 << 16, 0, 0, 65535, DLT_EN10MB };
	static const struct linger at_once = { .l_onoff = 1 };
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), near = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(near, (struct sockaddr *)&address, length), 0);
	int far = accept(listener, NULL, NULL), before = dup(STDIN_FILENO);
	assert_int_equal(dup2(near, STDIN_FILENO), STDIN_FILENO);
	assert_int_equal(write(far, head, sizeof(head)), sizeof(head));
	fixture->config.path = "-";
	replay_open(fixture);
	assert_int_equal(setsockopt(far, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close(far);
	assert_int_equal(drain(fixture, NULL), 0);
	assert_non_null(strstr(fixture->source->problem, strerror(ECONNRESET)));
	dup2(before, STDIN_FILENO);
	close(before);
	close(near);
	close(listener);
}

/* Where the filter refuses all, who asks for the next block is told soon that there is none yet. */
static void refused_frames_keep_nobody(void **state)
{
	enum { RECORDS = 1 << 20 };
	struct fixture *fixture = *state;
	static const uint32_t head[] = { 0xA1B2C3D4, 2 | 4 << 16, 0, 0, 65535, DLT_EN10MB };
	struct wh_block block;
	int fd = open(fixture->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, head, sizeof(head)), sizeof(head));
	assert_int_equal(ftruncate(fd, (off_t)sizeof(head) + RECORDS * 16), 0); /* empty frames, in a hole */
	close(fd);
	int before = dup(STDIN_FILENO), input = open(fixture->path, O_RDONLY);
	assert_int_equal(dup2(input, STDIN_FILENO), STDIN_FILENO);
	close(input);
	fixture->config.filter = "tcp";
	for (int turn = 0; turn < 2; turn++) {
		fixture->config.path = turn == 0 ? "-" : fixture->path;
		replay_open(fixture);
		assert_false(next(fixture, &block));
		assert_false(fixture->source->ops->at_end(fixture->source));
		assert_in_range(atomic_load(&fixture->source->filtered), 1, RECORDS / 2);
		assert_int_equal(drain(fixture, NULL), 0);
		assert_int_equal(atomic_load(&fixture->source->filtered), RECORDS);
		fixture->source->ops->close(fixture->source);
		fixture->source = NULL;
	}
	dup2(before, STDIN_FILENO);
	close(before);
}

/* Damage is told of when it is there, not when the pipe ends. */
static void damaged_blocks_are_not_waited_behind(void **state)
{
	struct fixture *fixture = *state;
	static const uint32_t damages[][4] = { { 5, 7, 0, 0 }, { 0, 0, 0, 0 }, { 5, 16, 0, 20 } };
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		struct recording recording = { 0 };
		struct plumbing plumbing;
		struct wh_block block;
		put_section(&recording);
		put_interface(&recording);
		plumb(&plumbing, STDIN_FILENO);
		say(&plumbing, recording.bytes, recording.length);
		say(&plumbing, damages[i], sizeof(damages[i]));
		fixture->config.path = "-";
		replay_open(fixture);
		assert_false(next(fixture, &block));
		assert_true(fixture->source->ops->at_end(fixture->source));
		assert_string_not_equal(fixture->source->problem, "");
		fixture->source->ops->close(fixture->source);
		fixture->source = NULL;
		unplumb(&plumbing);
	}
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_make, fixture_drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(nanoseconds_pass),
		WITH_FIXTURE(microseconds_pass),
		WITH_FIXTURE(frames_larger_than_a_block_are_cut),
		WITH_FIXTURE(snapshot_length_cuts),
		WITH_FIXTURE(filter_chooses),
		WITH_FIXTURE(filter_that_refuses_all),
		WITH_FIXTURE(release_out_of_order),
		WITH_FIXTURE(damaged_files_say_so),
		WITH_FIXTURE(absurd_lengths_say_so),
		WITH_FIXTURE(damage_ends_the_file),
		WITH_FIXTURE(captured_is_never_more_than_there_was),
		WITH_FIXTURE(empty_file),
		WITH_FIXTURE(what_cannot_be_read_is_refused),
		WITH_FIXTURE(a_mistake_in_a_filter_is_shown),
		WITH_FIXTURE(a_mistake_in_a_long_filter),
		WITH_FIXTURE(silence_is_not_waited_for),
		WITH_FIXTURE(silence_can_be_ended),
		WITH_FIXTURE(frames_come_with_their_last_byte),
		WITH_FIXTURE(a_large_frame_through_a_pipe),
		WITH_FIXTURE(a_ring_that_is_out_is_waited_for),
		WITH_FIXTURE(a_reset_connection_says_so),
		WITH_FIXTURE(refused_frames_keep_nobody),
		WITH_FIXTURE(damaged_blocks_are_not_waited_behind),
		WITH_FIXTURE(pipe_that_ends),
		WITH_FIXTURE(stop_lets_nothing_more_in),
		WITH_FIXTURE(waiting_ends),
		WITH_FIXTURE(made_up_frames),
		WITH_FIXTURE(made_up_frames_are_cut),
	};
	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
