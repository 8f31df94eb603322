/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether all chunks are there and in order, and whether the counters in their heads follow from each other. */
#include "writer/inspect_state.h"

void wh_inspect_passed_over(struct wh_section *section, uint64_t first, uint64_t last, bool damaged)
{
	if (section->gap_count == WH_INSPECT_GAPS)
		section->gaps_full = true;
	else
		section->gaps[section->gap_count++] =
		    (struct wh_gap){ .first = first, .last = last, .damaged = damaged };
}

/* Whether SEQUENCE was passed over and is now there after all; *MISSING tells that it was not there at all. */
static bool gap_take(struct wh_section *section, uint64_t sequence, bool *missing)
{
	*missing = false;
	for (uint32_t i = 0; i < section->gap_count; i++) {
		struct wh_gap gap = section->gaps[i];
		if (sequence < gap.first || sequence > gap.last)
			continue;
		*missing = !gap.damaged;
		section->gaps[i] = section->gaps[--section->gap_count];
		if (sequence > gap.first)
			wh_inspect_passed_over(section, gap.first, sequence - 1, gap.damaged);
		if (sequence < gap.last)
			wh_inspect_passed_over(section, sequence + 1, gap.last, gap.damaged);
		return true;
	}
	return section->gaps_full;
}

static struct wh_source_count *source_find(struct wh_section *section, uint16_t source)
{
	for (uint32_t i = 0; i < section->source_count; i++)
		if (section->sources[i].source == source)
			return &section->sources[i];
	return NULL;
}

static uint64_t delivered_by(const struct wh_chunk_record *record)
{
	return record->received - record->dropped;
}

/* Whether in the chunk of FOUND SOURCE goes on where it had delivered so many frames. */
static bool goes_on_from(const struct wh_found_head *found, uint16_t source, uint64_t delivered)
{
	for (uint32_t i = 0; i < found->head.record_count; i++)
		if (found->records[i].source == source)
			return delivered_by(&found->records[i]) == delivered + found->records[i].frames;
	return false;
}

/*
 * What HEAD's records count of their sources beside the frames in the chunk: frames that should have been in between.
 * *AGREE: there are none, and none too many. A source may have ended and its number gone to a new one within the chunk:
 * then its counters began anew, and it has delivered no more than is in the chunk. NEXT, the head behind it or NULL,
 * may show that it is a counter that is wrong, and no frame is missing.
 */
static uint64_t frames_between(struct wh_section *section, const struct wh_found_head *found,
			       const struct wh_found_head *next, bool *agree)
{
	uint64_t between = 0;
	*agree = true;
	for (uint32_t i = 0; i < found->head.record_count; i++) {
		const struct wh_chunk_record *record = &found->records[i];
		const struct wh_source_count *source = source_find(section, record->source);
		uint64_t delivered = delivered_by(record);
		if (source == NULL || delivered <= record->frames || delivered == source->delivered + record->frames)
			continue;
		*agree = false;
		uint64_t due = source->delivered + record->frames;
		if (delivered > due && (next == NULL || !goes_on_from(next, record->source, due)))
			between = wh_sum(between, delivered - due);
	}
	return between;
}

static void sources_follow(struct wh_section *section, const struct wh_found_head *found)
{
	for (uint32_t i = 0; i < found->head.record_count; i++) {
		const struct wh_chunk_record *record = &found->records[i];
		struct wh_source_count *source = source_find(section, record->source);
		if (source == NULL && section->source_count == WH_INSPECT_SOURCES)
			continue;
		if (source == NULL)
			source = &section->sources[section->source_count++];
		*source = (struct wh_source_count){ .source = record->source, .delivered = delivered_by(record) };
	}
}

/* What is missing is not more than MISSING, and of that what was found without a number is there. */
static uint64_t less_loose(const struct wh_section *section, uint64_t missing)
{
	return missing > section->loose_frames ? missing - section->loose_frames : 0;
}

/* Whether the chunk of FOUND is the one behind the last by its counters: a source goes on or begins in it, and none has
 * a gap. */
static bool goes_on(struct wh_section *section, const struct wh_found_head *found)
{
	bool agree, on = false;
	(void)frames_between(section, found, NULL, &agree);
	for (uint32_t i = 0; i < found->head.record_count; i++) {
		const struct wh_chunk_record *record = &found->records[i];
		const struct wh_source_count *source = source_find(section, record->source);
		on |= record->frames != 0 &&
		      delivered_by(record) == (source != NULL ? source->delivered : 0) + record->frames;
	}
	return agree && on;
}

/* Puts the head behind the chunk of LENGTH bytes at AT into walker->peek. False: there is none. */
static bool next_find(struct wh_walker *walker, uint64_t at, uint32_t length)
{
	return length != 0 && wh_inspect_head(walker, at + length, walker->section.swapped, &walker->peek);
}

/* The same of the first chunk there is, for which two behind it must agree. */
static bool is_first_wrong(struct wh_walker *walker, uint64_t at, uint64_t *session, uint64_t *sequence)
{
	struct wh_section *section = &walker->section;
	const struct wh_chunk_head *head = &walker->head.head;
	sources_follow(section, &walker->head);
	bool follows = goes_on(section, &walker->peek);
	section->source_count = 0;
	const struct wh_chunk_head next = walker->peek.head;
	*session = next.session;
	*sequence = next.sequence - 1;
	/* If its number is too low, chunks may well be missing. */
	bool wrong = head->session == next.session ? head->sequence >= next.sequence : head->sequence == *sequence;
	return follows && wrong && next.sequence > 0 && next_find(walker, at + head->chunk_length, next.chunk_length) &&
	       walker->peek.head.session == next.session && walker->peek.head.sequence == next.sequence + 1;
}

bool wh_inspect_renumber(struct wh_walker *walker, uint64_t at)
{
	struct wh_section *section = &walker->section;
	struct wh_chunk_head *head = &walker->head.head;
	const struct wh_chunk_head *next = &walker->peek.head;
	uint64_t session = section->session, sequence = section->expected;
	if (section->announced || (section->has_sequence && head->session == session && head->sequence == sequence) ||
	    !next_find(walker, at, head->chunk_length))
		return false;
	/* One that is there twice has the number of its own place. */
	bool wrong = section->has_sequence ? next->session == session && next->sequence == sequence + 1 &&
						 head->sequence != next->sequence && goes_on(section, &walker->head)
					   : is_first_wrong(walker, at, &session, &sequence);
	if (!wrong)
		return false;
	wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "the head at byte %llu tells a wrong number",
			 (unsigned long long)at);
	head->session = session;
	head->sequence = sequence;
	return true;
}

static void session_begin(struct wh_section *section, uint64_t session)
{
	section->has_session = true;
	section->session = session;
	section->has_sequence = false;
	section->gap_count = 0;
	section->gaps_full = false;
	section->source_count = 0;
}

/* The chunk's number is not the one that was due. False: it is there twice. */
static bool order_mend(struct wh_walker *walker, uint64_t at, struct wh_item_before *before)
{
	struct wh_section *section = &walker->section;
	uint64_t sequence = walker->head.head.sequence;
	unsigned long long shown = sequence, where = at;
	/* 0 is due only where the count has wrapped: no file has so many. */
	before->jump |= sequence != section->expected || sequence == 0;
	section->losses = true;
	if (sequence > section->highest) {
		uint64_t missing = sequence - section->highest - 1;
		if (missing == 0)
			return true; /* after one that came late */
		bool agree;
		before->chunks_missing = missing;
		before->frames_missing = less_loose(section, frames_between(section, &walker->head, NULL, &agree));
		walker->found->chunks_missing = wh_sum(walker->found->chunks_missing, missing);
		wh_inspect_passed_over(section, section->highest + 1, sequence - 1, false);
		wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "in front of chunk %llu at byte %llu, %llu %s missing",
				 shown, where, (unsigned long long)missing, missing == 1 ? "is" : "are");
		return true;
	}
	if (sequence < section->lowest) {
		/* Of the first one alone nobody knows that its number was right. */
		if (section->lowest == section->highest)
			section->highest = sequence;
		else if (section->lowest - sequence > 1)
			wh_inspect_passed_over(section, sequence + 1, section->lowest - 1, true);
		section->lowest = sequence;
		wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "chunk %llu at byte %llu is out of order", shown, where);
		return true;
	}
	bool missing;
	if (!gap_take(section, sequence, &missing) && !goes_on(section, &walker->head)) {
		wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "chunk %llu is there a second time, at byte %llu", shown,
				 where);
		return false;
	}
	walker->found->chunks_missing -= missing && walker->found->chunks_missing > 0;
	wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "chunk %llu at byte %llu is out of order", shown, where);
	return true;
}

bool wh_inspect_order(struct wh_walker *walker, uint64_t at, bool rebuilt, struct wh_item_before *before)
{
	struct wh_section *section = &walker->section;
	const struct wh_chunk_head *head = &walker->head.head;
	bool announced = section->announced;
	bool as_announced =
	    announced && head->session == section->announced_session && head->sequence == section->announced_sequence;
	section->announced = false;
	before->jump = section->unsure;
	section->unsure = false;
	if (!section->has_session) {
		session_begin(section, head->session);
	} else if (section->session == head->session) {
		section->has_sure_session = true;
		section->sure_session = head->session;
	} else {
		if (!as_announced)
			wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "chunks of another capture begin at byte %llu",
					 (unsigned long long)at);
		before->jump |= !as_announced;
		session_begin(section, head->session);
	}
	bool agree = true;
	if (as_announced) {
		section->source_count = 0;
		section->gap_count = 0;
		section->has_sequence = false;
	} else if (section->has_sequence &&
		   (head->sequence != section->expected || head->sequence <= section->highest)) {
		if (!order_mend(walker, at, before))
			return false;
	} else if (section->has_sequence && !before->jump && !rebuilt) {
		uint64_t between = frames_between(section, &walker->head, NULL, &agree);
		if (!agree && next_find(walker, at, head->chunk_length))
			between = frames_between(section, &walker->head, &walker->peek, &agree);
		before->frames_missing = less_loose(section, between);
	}
	if (!agree) {
		before->jump = true;
		wh_walker_worsen(walker, WH_HEALTH_DAMAGED,
				 "the counters of chunk %llu at byte %llu do not follow from those before it",
				 (unsigned long long)head->sequence, (unsigned long long)at);
	}
	sources_follow(section, &walker->head);
	section->expected = head->sequence + 1;
	if (!section->has_sequence)
		section->lowest = section->highest = head->sequence;
	else if (head->sequence > section->highest)
		section->highest = head->sequence;
	section->loose_frames = 0;
	walker->found->frames_missing = wh_sum(walker->found->frames_missing, before->frames_missing);
	section->has_sequence = true;
	return true;
}
