/* SPDX-License-Identifier: BSD-3-Clause */
/* wirehaul's own chunks (docs/format.md): whether each holds what its head says, whether all are there and in order,
 * and what is left of those that are damaged. */
#include "writer/inspect_state.h"

enum { HEAD_MOST = 64 * 1024 };

/* A chunk, or what is left of it. Its head is walker->head. */
struct chunk {
	uint64_t start;
	uint64_t front, front_end; /* its blocks, as far as they are good */
	uint64_t back, back_end;   /* and those behind the damage */
	uint32_t interfaces;       /* that were described before it */
	uint32_t guesses;          /* descriptions that were put in front of it already */
	uint64_t undescribed_at;   /* why */
	struct wh_tally tally;
};

bool wh_inspect_head(struct wh_walker *walker, uint64_t at, bool swapped, struct wh_found_head *found)
{
	const uint8_t *bytes = wh_window_at(&walker->window, at, WH_CHUNK_HEAD_FIXED + 4);
	if (bytes == NULL || !wh_is_aligned(&walker->section, at) || wh_get32(swapped, bytes) != WH_PCAPNG_CHUNK_HEAD)
		return false;
	struct wh_chunk_head *head = &found->head;
	*head = (struct wh_chunk_head){
		.type = WH_PCAPNG_CHUNK_HEAD,
		.total_length = wh_get32(swapped, bytes + 4),
		.magic = wh_get32(swapped, bytes + 8),
		.version = wh_get16(swapped, bytes + 12),
		.record_count = wh_get16(swapped, bytes + 14),
		.session = wh_get64(swapped, bytes + 16),
		.sequence = wh_get64(swapped, bytes + 24),
		.chunk_length = wh_get32(swapped, bytes + 32),
		.frames = wh_get32(swapped, bytes + 36),
		.first_ns = wh_get64(swapped, bytes + 40),
		.last_ns = wh_get64(swapped, bytes + 48),
		.lost = wh_get64(swapped, bytes + 56),
	};
	if (head->magic != WH_CHUNK_MAGIC || head->version != WH_CHUNK_VERSION ||
	    head->record_count > WH_CHUNK_RECORDS_MOST ||
	    head->total_length < wh_pcapng_head_bytes(head->record_count) || head->total_length > HEAD_MOST ||
	    head->total_length % 4 != 0)
		return false;
	if (head->chunk_length % WH_FILE_ALIGNMENT != 0 || head->chunk_length > WH_CHUNK_MOST ||
	    (head->chunk_length != 0 && head->chunk_length < head->total_length))
		return false;
	bytes = wh_window_at(&walker->window, at, head->total_length);
	if (bytes == NULL || wh_get32(swapped, bytes + head->total_length - 4) != head->total_length)
		return false;
	for (uint32_t i = 0; i < head->record_count; i++) {
		const uint8_t *record = bytes + WH_CHUNK_HEAD_FIXED + i * WH_CHUNK_RECORD_BYTES;
		found->records[i] = (struct wh_chunk_record){
			.source = wh_get16(swapped, record),
			.interface = wh_get16(swapped, record + 2),
			.frames = wh_get32(swapped, record + 4),
			.received = wh_get64(swapped, record + 8),
			.dropped = wh_get64(swapped, record + 16),
		};
	}
	return true;
}

/* ---- what a chunk becomes ---- */

/* How many frames the chunk of FOUND had. Where its head and its records differ, no more than both say. */
static uint64_t frames_told(const struct wh_found_head *found)
{
	uint64_t recorded = 0;
	for (uint32_t i = 0; i < found->head.record_count; i++)
		recorded += found->records[i].frames;
	return recorded < found->head.frames ? recorded : found->head.frames;
}

/* A chunk that was made in the ring tells of a loss in its first frame as well; a growing one, or one that was rebuilt,
 * may do so in its head alone, and has the least head that there can be. */
static bool tells_more_lost(const struct wh_chunk_head *head, const struct wh_tally *tally)
{
	return head->total_length > wh_pcapng_head_bytes(head->record_count) && head->lost > tally->lost;
}

/* Whether the chunk, whose blocks are good up to its end, holds what its head says. */
static bool is_as_told(struct wh_walker *walker, const struct chunk *chunk)
{
	struct wh_chunk_head *head = &walker->head.head;
	const struct wh_tally *tally = &chunk->tally;
	uint64_t recorded = 0;
	for (uint32_t i = 0; i < head->record_count; i++)
		recorded += walker->head.records[i].frames;
	bool rebuilt = tally->noted && (tally->note.flags & WH_NOTE_REBUILT) != 0;
	const char *what = NULL;
	if (tally->frames != head->frames && (head->chunk_length != 0 || tally->frames < head->frames))
		what = "has another number of frames than its head says";
	else if (recorded != head->frames)
		what = "has a head whose records do not add up to its frames";
	else if (head->chunk_length != 0 && tally->frames > 0 &&
		 (tally->first_ticks != head->first_ns || tally->last_ticks != head->last_ns))
		what = "has frames of other times than its head says";
	else if (tells_more_lost(head, tally))
		what = "has a head that tells of a loss of which no frame does";
	else if (tally->wrong_sum && !rebuilt)
		what = "has statistics that do not add up";
	if (what == NULL)
		return true;
	if (tells_more_lost(head, tally))
		head->lost = tally->lost;
	walker->found->chunks_damaged++;
	wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "chunk %llu at byte %llu %s", (unsigned long long)head->sequence,
			 (unsigned long long)chunk->start, what);
	return false;
}

/* Puts guesses in front of CHUNK for descriptions that its frames, as counted in its tally, lack. False: no memory. */
static bool guesses_put(struct wh_walker *walker, struct chunk *chunk)
{
	uint32_t count = chunk->tally.undescribed;
	if (count == 0)
		return true;
	if (chunk->guesses == 0)
		chunk->undescribed_at = chunk->tally.undescribed_at;
	chunk->guesses += count;
	return wh_inspect_guess(walker, chunk->interfaces, count);
}

/* Takes CHUNK's tally and what its blocks have described back to what they were before. */
static void tally_drop(struct wh_walker *walker, struct chunk *chunk)
{
	chunk->tally = (struct wh_tally){ 0 };
	walker->section.interface_count = chunk->interfaces + chunk->guesses;
}

static void undescribed_tell(struct wh_walker *walker, const struct chunk *chunk)
{
	if (chunk->guesses == 0)
		return;
	wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "at byte %llu: an interface is used that was not described",
			 (unsigned long long)chunk->undescribed_at);
	wh_walker_stop_reader(walker, chunk->undescribed_at);
}

/* The description of an interface says that its frames are shorter than they are. It gets the snapshot length of
 * another one, since libpcap reads a file only if all have the same, or the most that there can be. */
static void snapshot_mend(struct wh_walker *walker, const struct chunk *chunk)
{
	struct wh_section *section = &walker->section;
	if (chunk->tally.too_long == 0)
		return;
	uint32_t number = chunk->tally.too_long - 1;
	struct wh_described *interface = &section->interfaces[number];
	wh_walker_worsen(walker, WH_HEALTH_DAMAGED,
			 "at byte %llu: a frame is longer than its interface's snapshot length",
			 (unsigned long long)chunk->tally.too_long_at);
	wh_walker_stop_reader(walker, chunk->tally.too_long_at);
	uint32_t other = section->interface_count > 1 ? section->interfaces[number == 0 ? 1 : 0].snapshot : 0;
	bool fits = other >= chunk->tally.longest && other <= WH_SNAPSHOT_MOST;
	/* 0 is no limit, for the few link types with longer frames. */
	interface->snapshot = fits ? other : chunk->tally.longest > WH_SNAPSHOT_MOST ? 0 : WH_SNAPSHOT_MOST;
	struct wh_item item = { .kind = WH_ITEM_SNAPSHOT, .offset = interface->at, .snapshot = interface->snapshot };
	wh_walker_tell(walker, &item);
}

static void closed_follow(struct wh_section *section, const struct wh_tally *tally)
{
	if (tally->frames > 0 || tally->described > 0 || tally->statistics)
		section->closed = tally->statistics;
	if (tally->noted && (tally->note.flags & WH_NOTE_CLOSED) != 0)
		section->closed = true;
}

/* Tells of CHUNK, which has its place in the order. */
static void chunk_tell(struct wh_walker *walker, struct chunk *chunk, bool intact, bool made_up,
		       struct wh_item_before *before)
{
	const struct wh_tally *tally = &chunk->tally;
	if (!guesses_put(walker, chunk))
		return;
	before->guesses = chunk->guesses;
	before->guess_from = chunk->interfaces;
	undescribed_tell(walker, chunk);
	snapshot_mend(walker, chunk);
	wh_walker_count(walker, tally);
	closed_follow(&walker->section, tally);
	if (before->jump || before->guesses > 0) {
		before->left_out = walker->left_out;
		walker->left_out = 0;
	}
	struct wh_item item = {
		.kind = WH_ITEM_CHUNK,
		.offset = chunk->start,
		.length = chunk->front_end - chunk->start,
		.intact = intact,
		.made_up = made_up,
		.head = walker->head.head,
		.records = walker->head.records,
		.front = chunk->front,
		.front_bytes = chunk->front_end - chunk->front,
		.back = chunk->back,
		.back_bytes = chunk->back_end - chunk->back,
		.before = *before,
	};
	uint64_t told = frames_told(&walker->head);
	if (told > tally->frames)
		item.frames_missing = told - tally->frames;
	walker->found->frames_missing = wh_sum(walker->found->frames_missing, item.frames_missing);
	item.head.frames = tally->frames > UINT32_MAX ? UINT32_MAX : (uint32_t)tally->frames;
	item.head.first_ns = tally->first_ticks;
	item.head.last_ns = tally->last_ticks;
	wh_walker_tell(walker, &item);
}

/* Counts what notes of an earlier repair say. */
static void notes_count(struct wh_inspection *found, const struct wh_tally *tally)
{
	found->repaired |= tally->noted;
	found->chunks_missing = wh_sum(found->chunks_missing, tally->chunks_missing);
	found->frames_missing = wh_sum(found->frames_missing, tally->frames_missing);
}

/* A repair has made this chunk, to say something or for blocks that it had no head for. */
static void note_take(struct wh_walker *walker, struct chunk *chunk, bool intact)
{
	struct wh_section *section = &walker->section;
	const struct wh_note *note = &chunk->tally.note;
	if ((note->flags & WH_NOTE_JUMP) != 0) {
		section->announced = true;
		section->announced_session = note->next_session;
		section->announced_sequence = note->next_sequence;
		section->losses = true;
	}
	struct wh_item_before nothing = { 0 };
	chunk_tell(walker, chunk, intact, true, &nothing);
}

/* Takes CHUNK, of which all is known now. INTACT: it is what its head says. */
static void chunk_finish(struct wh_walker *walker, struct chunk *chunk, bool intact)
{
	struct wh_inspection *found = walker->found;
	const struct wh_chunk_head *head = &walker->head.head;
	const struct wh_tally *tally = &chunk->tally;
	if (tally->noted && (tally->note.flags & WH_NOTE_MADE_UP) != 0) {
		notes_count(found, tally);
		note_take(walker, chunk, intact);
		return;
	}
	if (wh_inspect_renumber(walker, chunk->start)) {
		found->chunks_damaged += intact;
		intact = false;
	}
	struct wh_item_before before = { 0 };
	bool rebuilt = tally->noted && (tally->note.flags & WH_NOTE_REBUILT) != 0;
	if (!wh_inspect_order(walker, chunk->start, rebuilt, &before)) {
		walker->section.interface_count = chunk->interfaces;
		walker->left_out += chunk->front_end - chunk->start;
		return;
	}
	notes_count(found, tally);
	if (!intact)
		wh_inspect_passed_over(&walker->section, head->sequence, head->sequence, true);
	if (found->chunks == 0) {
		found->session = head->session;
		found->first_chunk = found->last_chunk = head->sequence;
	} else if (found->session == head->session) {
		if (head->sequence < found->first_chunk)
			found->first_chunk = head->sequence;
		if (head->sequence > found->last_chunk)
			found->last_chunk = head->sequence;
	}
	found->chunks++;
	found->dropped = wh_sum(found->dropped, head->lost);
	chunk_tell(walker, chunk, intact, false, &before);
}

/* ---- damage ---- */

/* Whether there are both descriptions and blocks that lack one: a guess in front of them moves their numbers, so that
 * they must be looked at again. */
static bool is_shifting(const struct wh_tally *tally)
{
	return tally->undescribed > 0 && tally->described > 0;
}

/* Blocks that lead to END without a head in front of them: frames that can be saved all the same. */
static void headless_take(struct wh_walker *walker, uint64_t lowest, uint64_t end)
{
	struct wh_section *section = &walker->section;
	uint64_t back = wh_inspect_backwards(walker, lowest, end);
	struct chunk chunk = {
		.start = back, .front = end, .front_end = end, .back_end = end, .interfaces = section->interface_count
	};
	const uint64_t first = back;
	wh_inspect_count_back(walker, &back, end, &chunk.tally);
	if (is_shifting(&chunk.tally)) {
		if (!guesses_put(walker, &chunk))
			return;
		tally_drop(walker, &chunk);
		back = first;
		wh_inspect_count_back(walker, &back, end, &chunk.tally);
	}
	if (is_shifting(&chunk.tally)) /* nobody knows what is meant */
		chunk.tally.frames = 0;
	chunk.back = back;
	walker->left_out += back - lowest;
	if (chunk.tally.frames == 0 || wh_walker_ended(walker)) {
		section->interface_count = chunk.interfaces;
		walker->left_out += end - back;
		return;
	}
	notes_count(walker->found, &chunk.tally);
	section->unsure = true;
	section->loose_frames = wh_sum(section->loose_frames, chunk.tally.frames);
	walker->head.head = (struct wh_chunk_head){ .session = section->session, .sequence = section->expected };
	struct wh_item_before nothing = { 0 };
	chunk_tell(walker, &chunk, false, true, &nothing);
}

/* Blocks of the damaged CHUNK between LOWEST and END, which is where it ends. */
static void back_take(struct wh_walker *walker, struct chunk *chunk, uint64_t lowest, uint64_t end)
{
	uint64_t back = wh_inspect_backwards(walker, lowest, end);
	const struct wh_tally before = chunk->tally;
	uint32_t interfaces = walker->section.interface_count;
	wh_inspect_count_back(walker, &back, end, &chunk->tally);
	const struct wh_tally *now = &chunk->tally;
	/* Filler alone is not worth it. */
	if (is_shifting(now) || (now->frames == before.frames && now->described == before.described &&
				 now->statistics == before.statistics)) {
		chunk->tally = before;
		walker->section.interface_count = interfaces;
		return;
	}
	chunk->back = back;
	chunk->back_end = end;
}

/* recover() for a damaged CHUNK: it is finished with what lies behind its damage, before LANDING. Returns how far the
 * file has been dealt with. */
static uint64_t chunk_recover(struct wh_walker *walker, struct chunk *chunk, uint64_t fault,
			      const struct wh_landing *landing)
{
	const struct wh_chunk_head *head = &walker->head.head;
	uint64_t end = head->chunk_length != 0 ? chunk->start + head->chunk_length : 0;
	bool followed = landing->kind == WH_LANDING_HEAD && walker->peek.head.sequence == head->sequence + 1;
	if (end > fault && end <= landing->at)
		back_take(walker, chunk, fault, end);
	if (chunk->back_end == 0 && followed && landing->at > fault)
		back_take(walker, chunk, fault, landing->at);
	chunk_finish(walker, chunk, false);
	uint64_t done = chunk->back_end != 0 ? chunk->back_end : fault;
	walker->left_out += chunk->back_end != 0 ? chunk->back - fault : 0;
	return done;
}

static void recover(struct wh_walker *walker, uint64_t fault, bool cut, const char *reason, struct chunk *chunk,
		    uint64_t *at)
{
	struct wh_section *section = &walker->section;
	const struct wh_chunk_head *head = &walker->head.head;
	uint64_t chunk_end = chunk != NULL && head->chunk_length != 0 ? chunk->start + head->chunk_length : 0;
	struct wh_landing landing = wh_inspect_landing(walker, fault, chunk_end, chunk != NULL ? head->sequence : 0);
	*at = landing.at;
	if (wh_walker_ended(walker))
		return;
	wh_walker_stop_reader(walker, fault);
	if (cut && landing.kind == WH_LANDING_END) {
		wh_walker_worsen(
		    walker, WH_HEALTH_CUT, "it ends within %s at byte %llu",
		    fault == walker->window.size ? "the chunk" : "the block",
		    (unsigned long long)(fault == walker->window.size && chunk != NULL ? chunk->start : fault));
	} else {
		section->losses = true;
		walker->found->chunks_damaged += chunk != NULL;
		wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "at byte %llu: %s", (unsigned long long)fault, reason);
	}
	uint64_t done = fault;
	if (chunk != NULL)
		done = chunk_recover(walker, chunk, fault, &landing);
	if (!section->known && landing.kind == WH_LANDING_HEAD)
		wh_walker_section_make_up(walker, 0, landing.swapped);
	/* The end of the file is a place to begin from only if it was not cut off. */
	bool trusted = landing.kind == WH_LANDING_HEAD ||
		       (landing.kind == WH_LANDING_END && !cut && section->ours && wh_is_aligned(section, landing.at));
	if (section->known && trusted && landing.at > done)
		headless_take(walker, done, landing.at);
	else
		walker->left_out += landing.at - done;
}

void wh_inspect_recover(struct wh_walker *walker, uint64_t fault, bool cut, const char *reason, uint64_t *at)
{
	recover(walker, fault, cut, reason, NULL, at);
}

/* What is at AT has the type of a head and is none. */
static void head_broken(struct wh_walker *walker, uint64_t *at)
{
	uint64_t left = walker->window.size - *at;
	bool cut = left < WH_CHUNK_HEAD_FIXED + 4;
	const uint8_t *bytes = wh_window_at(&walker->window, *at, 8);
	if (bytes != NULL) {
		uint32_t length = wh_get32(walker->section.swapped, bytes + 4);
		cut |= length > left && length <= HEAD_MOST;
	}
	if (!cut)
		walker->found->chunks_damaged++;
	recover(walker, *at, cut, "the head of a chunk is damaged", NULL, at);
}

/* The file ends, or something else begins, while the chunk was still growing. */
static void growing_finish(struct wh_walker *walker, struct chunk *chunk, bool at_end)
{
	const struct wh_chunk_head *head = &walker->head.head;
	unsigned long long sequence = head->sequence, where = chunk->start;
	uint64_t frames = chunk->tally.frames;
	if (at_end && frames < head->frames) {
		wh_walker_worsen(walker, WH_HEALTH_CUT, "it ends %llu frames before the end of chunk %llu",
				 (unsigned long long)(head->frames - frames), sequence);
	} else if (!at_end) {
		wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "chunk %llu at byte %llu was never completed", sequence,
				 where);
		walker->found->chunks_damaged++;
	} else {
		(void)is_as_told(walker, chunk);
	}
	chunk_finish(walker, chunk, false);
	/* Its last word may be there, but the head was not made final. */
	walker->section.closed = false;
}

/* Walks the blocks behind the head, as far as they are good. */
static enum wh_row_end front_take(struct wh_walker *walker, struct chunk *chunk, bool growing, uint64_t end,
				  uint64_t limit, const char **reason)
{
	enum { TRIES = 4 };
	enum wh_row_kind kind = growing ? WH_ROW_GROWING : WH_ROW_SEALED;
	for (int tries = 0; tries < TRIES; tries++) {
		chunk->front_end = chunk->front;
		enum wh_row_end how =
		    wh_inspect_row(walker, kind, &chunk->front_end, end, limit, &chunk->tally, reason);
		if (!is_shifting(&chunk->tally) || wh_walker_ended(walker))
			return how;
		if (!guesses_put(walker, chunk))
			return how;
		tally_drop(walker, chunk);
	}
	chunk->front_end = chunk->front;
	*reason = "the interfaces of a chunk are not those that it describes";
	return WH_ROW_BAD;
}

void wh_inspect_chunk(struct wh_walker *walker, uint64_t *at)
{
	struct wh_section *section = &walker->section;
	if (!wh_inspect_head(walker, *at, section->swapped, &walker->head)) {
		if (!wh_walker_ended(walker))
			head_broken(walker, at);
		return;
	}
	section->ours = true;
	const struct wh_chunk_head *head = &walker->head.head;
	struct chunk chunk = { .start = *at,
			       .front = *at + head->total_length,
			       .interfaces = section->interface_count };
	chunk.front_end = chunk.front;
	bool growing = head->chunk_length == 0;
	uint64_t most = chunk.start + (growing ? (uint32_t)WH_BLOCK_MOST : head->chunk_length);
	uint64_t end = most < walker->window.size ? most : walker->window.size;
	const char *reason = NULL;
	enum wh_row_end how =
	    front_take(walker, &chunk, growing, end, growing && end < most ? UINT64_MAX : most, &reason);
	if (wh_walker_ended(walker))
		return;
	*at = chunk.front_end;
	bool cut = how == WH_ROW_CUT || (how == WH_ROW_REACHED && !growing && end < most);
	if (how == WH_ROW_REACHED && growing && end == most && end < walker->window.size) {
		how = WH_ROW_BAD;
		reason = "a chunk has no end";
	}
	if (how == WH_ROW_BAD || cut)
		recover(walker, chunk.front_end, cut, reason != NULL ? reason : "the file ends within a chunk", &chunk,
			at);
	else if (growing)
		growing_finish(walker, &chunk, how == WH_ROW_REACHED);
	else
		chunk_finish(walker, &chunk, is_as_told(walker, &chunk));
}
