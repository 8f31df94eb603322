/* SPDX-License-Identifier: BSD-3-Clause */
#include "feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ringbuf/clock.h"

enum { BLOCK_BYTES = 64 * 1024, PATIENCE_SECONDS = 60, SEED_SHIFT = 48 };
static const uint64_t SESSION = 0x00C0FFEE00C0FFEE;

/* ---- events ---- */

static void event_note(void *context, enum wh_writer_event kind, uint64_t number, const char *text)
{
	struct wh_rig *rig = context;
	if (kind == WH_WRITER_STOP_ERROR && rig->on_error != NULL)
		rig->on_error();
	pthread_mutex_lock(&rig->lock);
	rig->events[kind]++;
	snprintf(rig->text[kind], sizeof(rig->text[kind]), "%s", text != NULL ? text : "");
	if (kind == WH_WRITER_SOURCE_ENDED && number < WH_FEEDS_MOST)
		rig->ended[number]++;
	pthread_cond_broadcast(&rig->changed);
	pthread_mutex_unlock(&rig->lock);
}

/* With the lock held: waits for a change, but not for ever. */
static void change_wait(struct wh_rig *rig)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_SECONDS;
	int result = pthread_cond_timedwait(&rig->changed, &rig->lock, &until);
	if (result != 0) {
		pthread_mutex_unlock(&rig->lock);
		fail_msg("nothing happened for %d seconds", PATIENCE_SECONDS);
	}
}

void wh_rig_await(struct wh_rig *rig, enum wh_writer_event kind, uint32_t count)
{
	pthread_mutex_lock(&rig->lock);
	while (rig->events[kind] < count)
		change_wait(rig);
	pthread_mutex_unlock(&rig->lock);
}

uint32_t wh_rig_events(struct wh_rig *rig, enum wh_writer_event kind)
{
	pthread_mutex_lock(&rig->lock);
	uint32_t count = rig->events[kind];
	pthread_mutex_unlock(&rig->lock);
	return count;
}

/* ---- the rig ---- */

struct wh_rig *wh_rig_new(void)
{
	struct wh_rig *rig = calloc(1, sizeof(*rig));
	assert_non_null(rig);
	const char *parent = getenv("TMPDIR");
	snprintf(rig->directory, sizeof(rig->directory), "%.40s/wh-writer-XXXXXX", parent != NULL ? parent : "/tmp");
	assert_non_null(mkdtemp(rig->directory));
	snprintf(rig->path, sizeof(rig->path), "%s/t.pcapng", rig->directory);
	pthread_mutex_init(&rig->lock, NULL);
	pthread_cond_init(&rig->changed, NULL);
	rig->config = (struct wh_writer_config){
		.path = rig->path,
		.snapshot_length = 262144,
		.block_bytes = BLOCK_BYTES,
		.session = SESSION,
		.application = "test",
		.operating_system = "none",
		.event = event_note,
		.event_context = rig,
	};
	return rig;
}

bool wh_rig_mount(struct wh_rig *rig, uint64_t bytes)
{
	char options[64];
	snprintf(options, sizeof(options), "size=%llu,mode=700", (unsigned long long)bytes);
	rig->mounted = mount("none", rig->directory, "tmpfs", 0, options) == 0;
	if (!rig->mounted)
		print_message("skipped: cannot mount a tmpfs: %s\n", strerror(errno));
	return rig->mounted;
}

static void directory_empty(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	while (directory != NULL && (entry = readdir(directory)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory != NULL)
		closedir(directory);
}

void wh_rig_drop(struct wh_rig *rig)
{
	if (rig == NULL)
		return;
	for (uint32_t i = 0; i < rig->feed_count; i++)
		if (rig->writer != NULL && !rig->feeds[i]->ended)
			wh_feed_end(rig->feeds[i], 0);
	if (rig->writer != NULL) {
		wh_writer_finish(rig->writer);
		wh_writer_close(rig->writer);
	}
	for (uint32_t i = 0; i < rig->feed_count; i++) {
		struct wh_feed *feed = rig->feeds[i];
		wh_spsc_close(&feed->ring);
		munmap(feed->memory, (size_t)rig->config.block_bytes * WH_FEED_BLOCKS);
		free(feed);
	}
	directory_empty(rig->directory);
	if (rig->mounted)
		umount2(rig->directory, MNT_DETACH);
	rmdir(rig->directory);
	pthread_mutex_destroy(&rig->lock);
	pthread_cond_destroy(&rig->changed);
	free(rig);
}

void wh_rig_open(struct wh_rig *rig)
{
	struct wh_error error = { 0 };
	rig->pcap = rig->config.format != WH_WRITE_PCAPNG;
	if (wh_writer_open(&rig->config, &rig->writer, &error) != WH_OK)
		fail_msg("%s", error.text);
}

void wh_rig_start(struct wh_rig *rig)
{
	struct wh_error error = { 0 };
	if (wh_writer_start(rig->writer, &error) != WH_OK)
		fail_msg("%s", error.text);
}

static void chunk_back(struct wh_chunk *chunk)
{
	struct wh_feed *feed = chunk->owner;
	pthread_mutex_lock(&feed->rig->lock);
	feed->lent[chunk->index] = false;
	pthread_cond_broadcast(&feed->rig->changed);
	pthread_mutex_unlock(&feed->rig->lock);
}

static void end_back(struct wh_chunk *chunk)
{
	(void)chunk;
}

struct wh_feed *wh_rig_feed(struct wh_rig *rig)
{
	size_t bytes = (sizeof(struct wh_feed) + WH_CACHE_LINE - 1) & ~(size_t)(WH_CACHE_LINE - 1);
	struct wh_feed *feed = aligned_alloc(WH_CACHE_LINE, bytes);
	assert_non_null(feed);
	memset(feed, 0, bytes);
	assert_true(rig->feed_count < WH_FEEDS_MOST);
	uint16_t number = (uint16_t)rig->feed_count;
	feed->rig = rig;
	size_t memory_bytes = (size_t)rig->config.block_bytes * WH_FEED_BLOCKS;
	feed->memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(feed->memory != MAP_FAILED);
	assert_int_equal(wh_spsc_open(&feed->ring, WH_FEED_BLOCKS + 1), WH_OK);
	struct wh_writer_source source = { .ring = &feed->ring,
					   .counters = &feed->counters,
					   .dropped_nic = &feed->dropped_nic,
					   .memory = feed->memory,
					   .memory_bytes = memory_bytes,
					   .source = number,
					   .new_interface = true,
					   .link_type = 1 };
	snprintf(source.interface_name, sizeof(source.interface_name), "feed%u", number);
	struct wh_error error = { 0 };
	if (wh_writer_attach(rig->writer, &source, &error) != WH_OK)
		fail_msg("%s", error.text);
	feed->buffer = source.buffer;
	feed->encoding = (struct wh_encoding){ .rules = { .snapshot_length = 262144, .ethernet = true },
					       .source = number,
					       .interface = source.interface,
					       .nanoseconds = rig->config.format == WH_WRITE_PCAP_NS };
	for (uint32_t i = 0; i < WH_FEED_BLOCKS; i++)
		feed->chunks[i] =
		    (struct wh_chunk){ .index = i, .owner = feed, .release = chunk_back, .source = number };
	rig->feeds[rig->feed_count++] = feed;
	return feed;
}

uint32_t wh_feed_fill(const struct wh_rig *rig, uint32_t size)
{
	return (rig->config.block_bytes - WH_CHUNK_FIRST_SLOT - 8) / ((84 + size + 7) & ~7u);
}

/* Frames are numbered by their time; classic pcap in microseconds needs them that far apart. */
static uint64_t tick_of(const struct wh_rig *rig)
{
	return rig->config.format == WH_WRITE_PCAP ? 1000 : 1;
}

void wh_feed_push(struct wh_feed *feed, enum wh_transcription how, uint32_t count, uint32_t size, uint64_t lost)
{
	struct wh_rig *rig = feed->rig;
	uint32_t index = feed->next++ % WH_FEED_BLOCKS;
	pthread_mutex_lock(&rig->lock);
	while (feed->lent[index])
		change_wait(rig);
	feed->lent[index] = true;
	pthread_mutex_unlock(&rig->lock);

	struct wh_test_block *block = &feed->block;
	wh_test_block_begin(block, feed->memory + (size_t)index * rig->config.block_bytes, rig->config.block_bytes,
			    WH_CHUNK_FIRST_SLOT);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t number = ++feed->frames;
		const struct wh_test_frame frame = { .captured = size,
						     .original = size,
						     .mac = 84,
						     .packet_type = PACKET_HOST,
						     .ns = number * tick_of(rig),
						     .seed = number | (uint64_t)feed->encoding.source << SEED_SHIFT };
		assert_true(wh_test_block_add(block, &frame));
	}
	feed->bytes += (uint64_t)count * size;
	feed->dropped += lost;
	struct wh_chunk *chunk = &feed->chunks[index];
	chunk->interface = feed->encoding.interface;
	chunk->buffer = feed->buffer;
	chunk->lost = lost;
	chunk->received_total = feed->frames + feed->dropped;
	chunk->dropped_total = feed->dropped;
	if (rig->pcap)
		wh_pcap_encode(&feed->encoding, block->base, block->first_slot, count, chunk);
	else
		wh_pcapng_encode(&feed->encoding, how, block->base, block->capacity, block->first_slot, count, chunk);
	assert_true(wh_spsc_push(&feed->ring, chunk));
	wh_writer_wake(rig->writer);
}

void wh_feed_end(struct wh_feed *feed, uint64_t lost)
{
	feed->dropped += lost;
	feed->end = (struct wh_chunk){ .kind = WH_CHUNK_END,
				       .source = feed->encoding.source,
				       .interface = feed->encoding.interface,
				       .lost = lost,
				       .received_total = feed->frames + feed->dropped,
				       .dropped_total = feed->dropped,
				       .buffer = WH_BUFFER_NONE,
				       .owner = feed,
				       .release = end_back };
	feed->ended = true;
	assert_true(wh_spsc_push(&feed->ring, &feed->end));
	wh_writer_wake(feed->rig->writer);
}

void wh_feed_await_end(struct wh_feed *feed)
{
	struct wh_rig *rig = feed->rig;
	pthread_mutex_lock(&rig->lock);
	while (rig->ended[feed->encoding.source] == 0)
		change_wait(rig);
	pthread_mutex_unlock(&rig->lock);
}

void wh_rig_finish(struct wh_rig *rig)
{
	for (uint32_t i = 0; i < rig->feed_count; i++)
		if (!rig->feeds[i]->ended)
			wh_feed_end(rig->feeds[i], 0);
	wh_writer_finish(rig->writer);
	for (uint32_t i = 0; i < rig->feed_count; i++) {
		const struct wh_feed *feed = rig->feeds[i];
		const struct wh_writer_counters *counters = &feed->counters;
		assert_int_equal(rig->ended[i], 1);
		assert_int_equal(counters->frames_written + counters->frames_discarded + counters->frames_surplus,
				 feed->frames);
		for (uint32_t j = 0; j < WH_FEED_BLOCKS; j++)
			assert_false(feed->lent[j]);
	}
	wh_writer_close(rig->writer);
	rig->writer = NULL;
}

/* ---- reading the files ---- */

static void frame_check(struct wh_rig *rig, const struct wh_test_record *record, uint8_t *expected, const char *name)
{
	struct wh_found *found = &rig->found[record->interface];
	uint64_t number = record->ns / tick_of(rig);
	const struct wh_test_frame frame = { .captured = record->captured,
					     .original = record->captured,
					     .seed = number | (uint64_t)record->interface << SEED_SHIFT };
	const struct wh_slot_rules rules = { .snapshot_length = 262144 };
	uint32_t captured, original;
	wh_test_frame_expect(&frame, &rules, expected, &captured, &original);
	if (memcmp(expected, record->data, captured) != 0)
		fail_msg("%s: frame %llu of interface %u has wrong bytes", name, (unsigned long long)number,
			 record->interface);
	if (found->frames == 0)
		found->first = number;
	else if (number <= found->last)
		fail_msg("%s: frame %llu of interface %u comes after %llu", name, (unsigned long long)number,
			 record->interface, (unsigned long long)found->last);
	found->gaps += found->frames != 0 && number != found->last + 1;
	found->frames++;
	found->last = number;
	found->lost += record->lost;
}

void wh_rig_read_bytes(struct wh_rig *rig, const uint8_t *bytes, size_t length, const char *name)
{
	struct wh_test_walk walk = { 0 };
	bool good = rig->pcap ? wh_test_walk_pcap(&walk, bytes, length) : wh_test_walk_file(&walk, bytes, length);
	if (!good)
		fail_msg("%s: %s (at %zu of %zu)", name, walk.problem, walk.problem_at, length);
	for (size_t i = 0; i < walk.chunk_count; i++) {
		const struct wh_chunk_head *head = &walk.chunks[i].head;
		if (head->session != SESSION || (rig->chunks > 0 && head->sequence != rig->sequence))
			fail_msg("%s: chunk %llu does not follow the file before", name,
				 (unsigned long long)head->sequence);
		rig->sequence = head->sequence + 1;
		rig->chunks++;
		rig->told += head->lost;
	}
	uint8_t *expected = test_malloc(rig->config.block_bytes + 4);
	for (size_t i = 0; i < walk.frame_count; i++)
		frame_check(rig, &walk.frames[i], expected, name);
	test_free(expected);
	for (uint32_t i = 0; i < walk.interface_count; i++) {
		rig->found[i].has_statistics = walk.has_statistics[i];
		if (walk.has_statistics[i])
			rig->found[i].statistics = walk.statistics[i];
	}
	wh_test_walk_free(&walk);
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void file_read(struct wh_rig *rig, uint32_t index)
{
	char path[192];
	struct stat found;
	snprintf(path, sizeof(path), "%s/%s", rig->directory, rig->names[index]);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &found), 0);
	size_t length = (size_t)found.st_size;
	rig->sizes[index] = length;
	rig->total_bytes += length;
	/* A hole would make what lies behind it unreadable; and what was allocated ahead must have been given back. */
	assert_true((uint64_t)found.st_blocks * 512 <= length + 64 * 1024);
	uint8_t *bytes = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		fail_msg("%s: empty, or cannot be read", path);
	close(fd);
	wh_rig_read_bytes(rig, bytes, length, rig->names[index]);
	munmap(bytes, length);
}

void wh_rig_read(struct wh_rig *rig)
{
	rig->file_count = 0;
	rig->total_bytes = 0;
	rig->chunks = 0;
	rig->told = 0;
	memset(rig->found, 0, sizeof(rig->found));
	DIR *directory = opendir(rig->directory);
	assert_non_null(directory);
	struct dirent *entry;
	while ((entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		assert_true(rig->file_count < WH_FILES_MOST);
		snprintf(rig->names[rig->file_count++], sizeof(rig->names[0]), "%.90s", entry->d_name);
	}
	closedir(directory);
	qsort(rig->names, rig->file_count, sizeof(rig->names[0]), name_compare);
	for (uint32_t i = 0; i < rig->file_count; i++)
		file_read(rig, i);
}
