/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wh-test-count [--size N | --mix N,N,...] [--vlan ID[,ID]] [--snap N] [--from N] [--count N] [--only in|out]
 *               [--interface NAME] FILE...
 *
 * Reads capture files, in the order given, and says what is in them: which numbered frames (numbered.h, as sent by
 * wh-test-blast with the same --size, --mix and --vlan), what they say of losses, and whether the files are whole.
 * Blocks are walked by walk.c; each packet is read by libpcap too, and the two must agree in every byte. A packet that
 * libpcap does not get to is a difference, unless the file has several link types, which it refuses.
 *
 * --from and --count tell which numbers there should be. --only and --interface leave out frames of the other
 * direction (epb_flags) or of other interfaces (if_name); those count as "skipped".
 *
 * Prints one JSON object. Exit status: 0 the files were read, whatever was in them; 1 one could not be; 2 usage.
 */
#include "numbered.h"
#include "tally.h"
#include "walk.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOURCES = 64, COMPLAINT_BYTES = 256 };

struct orders {
	struct wh_numbered_shape shape;
	uint64_t snapshot, from, count;
	uint32_t only; /* epb_flags direction, 0: both */
	const char *interface;
	char **files;
	int file_count;
};

/* The chunk that the walk is in. */
struct chunk_state {
	bool open;
	struct wh_walk_chunk head;
	uint64_t frames, first_ns, last_ns;
};

/* What the heads of chunks said of one source, over all files. */
struct source {
	uint16_t source, interface;
	uint64_t frames, received_sum, dropped_sum, received_last, dropped_last;
};

/* The same file, through libpcap. */
struct second_reader {
	pcap_t *pcap;
	uint64_t frames, differs;
	bool failed; /* it had no packet where the walker had one: counted once for a file */
	char error[PCAP_ERRBUF_SIZE];
};

struct totals {
	uint64_t frames, other, skipped, corrupt, captured_bytes, drop_count, in, out, undirected, unterminated;
	uint64_t back_in_time, libpcap_frames, libpcap_differs;
	int64_t age_min_ns, age_max_ns; /* capture time minus sending time of our frames */
	uint64_t bytes, largest, unaligned, zero_tail, whole, truncated, damaged;
	uint64_t chunks, chunk_frames, chunk_lost, chunk_gaps, chunk_errors, growing_chunks, outside_chunks, sessions;
	char complaint[COMPLAINT_BYTES], chunk_complaint[COMPLAINT_BYTES];
};

struct counter {
	const struct orders *orders;
	const char *path; /* of the file being read */
	struct totals totals;
	struct wh_tally tally;
	struct chunk_state chunk;
	struct second_reader second;
	struct source sources[SOURCES];
	size_t source_count;
	uint64_t session, next_sequence;
	uint64_t file_frames, file_chunks, files_printed;
	uint64_t interface_frames[WH_WALK_INTERFACES], interface_last_ns[WH_WALK_INTERFACES];
	bool out_of_memory;
};

static unsigned long long llu(uint64_t value)
{
	return value;
}

/* Keeps the first complaint of a kind: the rest usually follows from it. */
static void complain(char *complaint, const struct counter *counter, uint64_t offset, const char *why)
{
	if (complaint[0] == '\0')
		snprintf(complaint, COMPLAINT_BYTES, "%s at offset %llu: %s", counter->path, llu(offset), why);
}

/* libpcap's interface has one link type for all of a file: it refuses a file with several. */
static bool has_several_link_types(const struct wh_walk *walk)
{
	for (uint32_t i = 1; i < walk->interface_count; i++)
		if (walk->interfaces[i].link_type != walk->interfaces[0].link_type)
			return true;
	return false;
}

/* libpcap has no packet where the walker has one. What it says behind the last packet, as of a file that was cut off
 * within a block, is no matter. */
static void second_failed(struct counter *counter, const struct wh_walk *walk, const struct wh_walk_frame *frame)
{
	struct second_reader *second = &counter->second;
	if (second->failed || has_several_link_types(walk))
		return;
	second->failed = true;
	second->differs++;
	complain(counter->totals.complaint, counter, frame->offset, "libpcap reads no packet here");
}

static void compare_readers(struct counter *counter, const struct wh_walk *walk, const struct wh_walk_frame *frame)
{
	struct second_reader *second = &counter->second;
	if (second->pcap == NULL) {
		second_failed(counter, walk, frame);
		return;
	}
	struct pcap_pkthdr *header;
	const u_char *data;
	int result = pcap_next_ex(second->pcap, &header, &data);
	if (result != 1) {
		snprintf(second->error, sizeof(second->error), "%s",
			 result == PCAP_ERROR ? pcap_geterr(second->pcap) : "ends before the walker does");
		pcap_close(second->pcap);
		second->pcap = NULL;
		second_failed(counter, walk, frame);
		return;
	}
	second->frames++;
	/* With nanosecond precision tv_usec holds nanoseconds. */
	uint64_t time_ns = (uint64_t)header->ts.tv_sec * UINT64_C(1000000000) + (uint64_t)header->ts.tv_usec;
	if (header->caplen != frame->captured || header->len != frame->original || time_ns != frame->time_ns ||
	    memcmp(data, frame->data, frame->captured) != 0) {
		second->differs++;
		complain(counter->totals.complaint, counter, frame->offset, "libpcap reads another packet here");
	}
}

static void open_second(struct counter *counter)
{
	struct second_reader *second = &counter->second;
	second->frames = second->differs = 0;
	second->failed = false;
	second->error[0] = '\0';
	second->pcap =
	    pcap_open_offline_with_tstamp_precision(counter->path, PCAP_TSTAMP_PRECISION_NANO, second->error);
}

/* Whatever libpcap still finds behind the walker's end is counted, so a file on which the two disagree shows. */
static void close_second(struct counter *counter)
{
	struct second_reader *second = &counter->second;
	if (second->pcap != NULL) {
		struct pcap_pkthdr *header;
		const u_char *data;
		int result;
		while ((result = pcap_next_ex(second->pcap, &header, &data)) == 1)
			second->frames++;
		if (result == PCAP_ERROR)
			snprintf(second->error, sizeof(second->error), "%s", pcap_geterr(second->pcap));
		pcap_close(second->pcap);
		second->pcap = NULL;
	}
	counter->totals.libpcap_frames += second->frames;
	counter->totals.libpcap_differs += second->differs;
}

/* Offset behind a chunk; UINT64_MAX for one that was left growing. */
static uint64_t chunk_end(const struct wh_walk_chunk *head)
{
	return head->bytes == 0 ? UINT64_MAX : head->offset + head->bytes;
}

static void close_chunk(struct counter *counter)
{
	struct chunk_state *chunk = &counter->chunk;
	if (!chunk->open)
		return;
	if (chunk->head.bytes == 0) {
		/* Its head was written before the frames that follow it, and cannot know of them. */
		counter->totals.growing_chunks++;
		chunk->open = false;
		return;
	}
	const char *why = NULL;
	uint64_t recorded = 0;
	for (size_t i = 0; i < chunk->head.record_count; i++)
		recorded += chunk->head.records[i].frames;
	if (chunk->frames != chunk->head.frames)
		why = "chunk head states another number of frames";
	else if (recorded != chunk->head.frames)
		why = "records of a chunk head do not add up to its frames";
	else if (chunk->frames > 0 &&
		 (chunk->first_ns != chunk->head.first_ns || chunk->last_ns != chunk->head.last_ns))
		why = "chunk head states other times";
	if (why != NULL) {
		counter->totals.chunk_errors++;
		complain(counter->totals.chunk_complaint, counter, chunk->head.offset, why);
	}
	chunk->open = false;
}

static void note_record(struct counter *counter, const struct wh_walk_record *record)
{
	struct source *source = counter->sources;
	while (source < counter->sources + counter->source_count &&
	       (source->source != record->source || source->interface != record->interface))
		source++;
	if (source == counter->sources + SOURCES)
		return;
	if (source == counter->sources + counter->source_count) {
		counter->source_count++;
		*source = (struct source){ .source = record->source, .interface = record->interface };
	}
	source->frames += record->frames;
	source->received_sum += record->received;
	source->dropped_sum += record->dropped;
	source->received_last = record->received;
	source->dropped_last = record->dropped;
}

static void on_chunk(void *context, const struct wh_walk *walk, const struct wh_walk_chunk *head)
{
	struct counter *counter = context;
	struct totals *totals = &counter->totals;
	(void)walk;
	if (counter->chunk.open && chunk_end(&counter->chunk.head) != UINT64_MAX &&
	    chunk_end(&counter->chunk.head) != head->offset) {
		totals->chunk_errors++;
		complain(totals->chunk_complaint, counter, head->offset,
			 "chunk does not start where the last one ends");
	}
	close_chunk(counter);
	counter->chunk = (struct chunk_state){ .open = true, .head = *head };
	if (totals->sessions == 0 || head->session != counter->session) {
		totals->sessions++;
	} else if (head->sequence != counter->next_sequence) {
		totals->chunk_gaps++;
		complain(totals->chunk_complaint, counter, head->offset, "chunk sequence number jumps");
	}
	counter->session = head->session;
	counter->next_sequence = head->sequence + 1;
	counter->file_chunks++;
	totals->chunks++;
	totals->chunk_frames += head->frames;
	totals->chunk_lost += head->lost;
	for (size_t i = 0; i < head->record_count; i++)
		note_record(counter, &head->records[i]);
}

static void note_in_chunk(struct counter *counter, const struct wh_walk_frame *frame)
{
	struct chunk_state *chunk = &counter->chunk;
	if (!chunk->open || frame->offset >= chunk_end(&chunk->head)) {
		counter->totals.outside_chunks++;
		return;
	}
	if (chunk->frames == 0 || frame->time_ns < chunk->first_ns)
		chunk->first_ns = frame->time_ns;
	if (frame->time_ns > chunk->last_ns)
		chunk->last_ns = frame->time_ns;
	chunk->frames++;
}

static void note_ours(struct counter *counter, const struct wh_walk_frame *frame, uint64_t number, uint64_t sent_ns)
{
	struct totals *totals = &counter->totals;
	int64_t age_ns = (int64_t)(frame->time_ns - sent_ns);
	if (counter->tally.seen == 0 || age_ns < totals->age_min_ns)
		totals->age_min_ns = age_ns;
	if (counter->tally.seen == 0 || age_ns > totals->age_max_ns)
		totals->age_max_ns = age_ns;
	if (!wh_tally_add(&counter->tally, number))
		counter->out_of_memory = true;
}

/* Counts what every frame has, whoever sent it. Returns false when it was asked to be left out. */
static bool note_any(struct counter *counter, const struct wh_walk *walk, const struct wh_walk_frame *frame)
{
	struct totals *totals = &counter->totals;
	const struct orders *orders = counter->orders;
	counter->file_frames++;
	counter->interface_frames[frame->interface]++;
	totals->frames++;
	totals->captured_bytes += frame->captured;
	totals->drop_count += frame->drop_count;
	totals->unterminated += frame->unterminated;
	uint32_t direction = frame->flags & 3;
	totals->in += direction == 1;
	totals->out += direction == 2;
	totals->undirected += direction == 0;
	totals->back_in_time += frame->time_ns < counter->interface_last_ns[frame->interface];
	counter->interface_last_ns[frame->interface] = frame->time_ns;
	bool wanted =
	    (orders->only == 0 || orders->only == direction) &&
	    (orders->interface == NULL || strcmp(walk->interfaces[frame->interface].name, orders->interface) == 0);
	totals->skipped += !wanted;
	return wanted;
}

static void on_frame(void *context, const struct wh_walk *walk, const struct wh_walk_frame *frame)
{
	struct counter *counter = context;
	const struct orders *orders = counter->orders;
	compare_readers(counter, walk, frame);
	note_in_chunk(counter, frame);
	if (!note_any(counter, walk, frame))
		return;
	if (walk->interfaces[frame->interface].link_type != 1 || orders->shape.size_count == 0) {
		counter->totals.other++;
		return;
	}
	uint64_t number = 0, sent_ns = 0;
	const char *why = "";
	switch (wh_numbered_check(&orders->shape, (uint32_t)orders->snapshot, frame->data, frame->captured,
				  frame->original, &number, &sent_ns, &why)) {
	case WH_NUMBERED_OURS:
		note_ours(counter, frame, number, sent_ns);
		break;
	case WH_NUMBERED_OTHER:
		counter->totals.other++;
		break;
	case WH_NUMBERED_CORRUPT:
		counter->totals.corrupt++;
		complain(counter->totals.complaint, counter, frame->offset, why);
		break;
	}
}

/* Prints TEXT as a JSON string. A damaged file may name an interface in any bytes: what is not ASCII becomes "?". */
static void print_string(const char *text)
{
	putchar('"');
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			printf("\\%c", *text);
		else
			putchar(*text >= 0x20 && *text < 0x7f ? *text : '?');
	}
	putchar('"');
}

static void print_optional(const char *name, uint64_t value)
{
	if (value == UINT64_MAX)
		printf(", \"%s\": null", name);
	else
		printf(", \"%s\": %llu", name, llu(value));
}

static void print_file(const struct counter *counter, const struct wh_walk *walk)
{
	static const char *const formats[] = { "unknown", "pcapng", "pcap" };
	static const char *const states[] = { "whole", "truncated", "damaged" };
	printf("%s\n  {\"file\": ", counter->files_printed > 0 ? "," : "");
	print_string(counter->path);
	printf(", \"format\": \"%s\", \"state\": \"%s\", \"bytes\": %llu, \"offset\": %llu, \"reason\": \"%s\", "
	       "\"frames\": %llu, \"chunks\": %llu, \"zero_tail\": %llu, \"chunks_behind_damage\": %llu, "
	       "\"sections\": %llu, \"libpcap_frames\": %llu, \"libpcap_error\": ",
	       formats[walk->format], states[walk->state], llu(walk->size), llu(walk->offset), walk->reason,
	       llu(counter->file_frames), llu(counter->file_chunks), llu(walk->zero_tail), llu(walk->chunks_behind),
	       llu(walk->sections), llu(counter->second.frames));
	print_string(counter->second.error);
	printf(", \"interfaces\": [");
	for (uint32_t i = 0; i < walk->interface_count; i++) {
		const struct wh_walk_interface *interface = &walk->interfaces[i];
		printf("%s{\"name\": ", i > 0 ? ", " : "");
		print_string(interface->name);
		printf(", \"linktype\": %u, \"snapshot\": %u, \"frames\": %llu, \"statistics\": %s",
		       interface->link_type, interface->snapshot, llu(counter->interface_frames[i]),
		       interface->has_statistics ? "true" : "false");
		if (interface->has_statistics) {
			print_optional("ifrecv", interface->received);
			print_optional("osdrop", interface->os_dropped);
			print_optional("usrdeliv", interface->delivered);
		}
		putchar('}');
	}
	printf("]}");
}

static bool count_file(struct counter *counter, const char *path)
{
	static struct wh_walk walk;
	struct totals *totals = &counter->totals;
	struct wh_walk_listener listener = { .context = counter, .frame = on_frame, .chunk = on_chunk };
	counter->path = path;
	counter->file_frames = counter->file_chunks = 0;
	memset(counter->interface_frames, 0, sizeof(counter->interface_frames));
	memset(counter->interface_last_ns, 0, sizeof(counter->interface_last_ns));
	open_second(counter);
	bool opened = wh_walk_file(&walk, path, &listener);
	int saved = errno;
	/* A chunk that the walk did not get through is not to be blamed for frames that were not counted. */
	if (walk.state != WH_WALK_WHOLE)
		counter->chunk.open = false;
	close_chunk(counter);
	close_second(counter);
	if (!opened) {
		fprintf(stderr, "wh-test-count: %s: %s\n", path, strerror(saved));
		return false;
	}
	totals->bytes += walk.size;
	totals->largest = walk.size > totals->largest ? walk.size : totals->largest;
	totals->unaligned += walk.size % WH_WALK_PAGE != 0;
	totals->zero_tail += walk.zero_tail;
	totals->whole += walk.state == WH_WALK_WHOLE;
	totals->truncated += walk.state == WH_WALK_TRUNCATED;
	totals->damaged += walk.state == WH_WALK_DAMAGED;
	print_file(counter, &walk);
	counter->files_printed++;
	wh_walk_close(&walk);
	return true;
}

static void print_sources(const struct counter *counter)
{
	printf("\"sources\": [");
	for (size_t i = 0; i < counter->source_count; i++) {
		const struct source *source = &counter->sources[i];
		printf("%s{\"source\": %u, \"interface\": %u, \"frames\": %llu, \"received_sum\": %llu, "
		       "\"dropped_sum\": %llu, \"received_last\": %llu, \"dropped_last\": %llu}",
		       i > 0 ? ", " : "", source->source, source->interface, llu(source->frames),
		       llu(source->received_sum), llu(source->dropped_sum), llu(source->received_last),
		       llu(source->dropped_last));
	}
	printf("]");
}

static void print_totals(const struct counter *counter)
{
	const struct totals *totals = &counter->totals;
	const struct wh_tally *tally = &counter->tally;
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "files", (uint64_t)counter->orders->file_count },
		{ "whole", totals->whole },
		{ "truncated", totals->truncated },
		{ "damaged", totals->damaged },
		{ "unaligned", totals->unaligned },
		{ "zero_tail", totals->zero_tail },
		{ "bytes", totals->bytes },
		{ "largest", totals->largest },
		{ "frames", totals->frames },
		{ "captured_bytes", totals->captured_bytes },
		{ "ours", tally->seen },
		{ "other", totals->other },
		{ "skipped", totals->skipped },
		{ "corrupt", totals->corrupt },
		{ "distinct", tally->distinct },
		{ "missing", wh_tally_missing(tally) },
		{ "duplicated", tally->duplicated },
		{ "reordered", tally->reordered },
		{ "outside", tally->outside },
		{ "first", tally->first },
		{ "last", tally->last },
		{ "dropcount", totals->drop_count },
		{ "in", totals->in },
		{ "out", totals->out },
		{ "undirected", totals->undirected },
		{ "unterminated", totals->unterminated },
		{ "back_in_time", totals->back_in_time },
		{ "libpcap_frames", totals->libpcap_frames },
		{ "libpcap_differs", totals->libpcap_differs },
		{ "chunks", totals->chunks },
		{ "chunk_frames", totals->chunk_frames },
		{ "chunk_lost", totals->chunk_lost },
		{ "chunk_gaps", totals->chunk_gaps },
		{ "chunk_errors", totals->chunk_errors },
		{ "growing_chunks", totals->growing_chunks },
		{ "outside_chunks", totals->outside_chunks },
		{ "sessions", totals->sessions },
	};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		printf("\"%s\": %llu,\n ", numbers[i].name, llu(numbers[i].value));
	printf("\"age_min_ns\": %lld,\n \"age_max_ns\": %lld,\n ", (long long)totals->age_min_ns,
	       (long long)totals->age_max_ns);
	print_sources(counter);
	printf(",\n \"missing_ranges\": ");
	wh_tally_print_missing(tally, stdout);
	printf(",\n \"complaint\": ");
	print_string(totals->complaint);
	printf(",\n \"chunk_complaint\": ");
	print_string(totals->chunk_complaint);
	printf("}\n");
}

static bool parse_value(struct orders *orders, const char *name, const char *value)
{
	if (strcmp(name, "--size") == 0 || strcmp(name, "--mix") == 0)
		return wh_numbered_parse_sizes(&orders->shape, value);
	if (strcmp(name, "--vlan") == 0)
		return wh_numbered_parse_vlans(&orders->shape, value);
	if (strcmp(name, "--snap") == 0)
		return wh_numbered_parse_u64(value, UINT32_MAX, &orders->snapshot);
	if (strcmp(name, "--from") == 0)
		return wh_numbered_parse_u64(value, UINT64_MAX, &orders->from);
	if (strcmp(name, "--count") == 0)
		return wh_numbered_parse_u64(value, UINT64_MAX, &orders->count);
	if (strcmp(name, "--only") == 0) {
		orders->only = strcmp(value, "in") == 0 ? 1 : 2;
		return orders->only == 1 || strcmp(value, "out") == 0;
	}
	orders->interface = value;
	return strcmp(name, "--interface") == 0;
}

static bool parse(int argc, char **argv, struct orders *orders)
{
	int i = 1;
	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		if (!parse_value(orders, argv[i], argv[i + 1])) {
			fprintf(stderr, "wh-test-count: bad argument: %s %s\n", argv[i], argv[i + 1]);
			return false;
		}
	}
	orders->files = argv + i;
	orders->file_count = argc - i;
	if (orders->file_count == 0)
		fprintf(stderr, "usage: wh-test-count [--size N | --mix N,N,...] [--vlan ID[,ID]] [--snap N] "
				"[--from N] [--count N] [--only in|out] [--interface NAME] FILE...\n");
	return orders->file_count > 0;
}

int main(int argc, char **argv)
{
	static struct orders orders = { .snapshot = UINT32_MAX, .from = 1 };
	if (!parse(argc, argv, &orders))
		return 2;
	static struct counter counter;
	counter.orders = &orders;
	wh_numbered_init();
	wh_tally_open(&counter.tally, orders.from, orders.count);
	bool read_all = true;
	printf("{\"each\": [");
	for (int i = 0; i < orders.file_count; i++)
		read_all = count_file(&counter, orders.files[i]) && read_all;
	printf("],\n ");
	print_totals(&counter);
	wh_tally_close(&counter.tally);
	if (counter.out_of_memory)
		fprintf(stderr, "wh-test-count: out of memory\n");
	return read_all && !counter.out_of_memory ? 0 : 1;
}
