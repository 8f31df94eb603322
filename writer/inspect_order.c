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

/*
 * What HEAD's records count of their sources beside the frames in the chunk: frames that should have been in between.
 * *AGREE: there are none, and none too many. A source may have ended and its number gone to a new one within the chunk:
 * then its counters began anew, and it has delivered no more than is in the chunk.
 */
static uint64_t frames_between(struct wh_section *section, const struct wh_found_head *found, bool *agree)
{
	uint64_t between = 0;
	*agree = true;
	for (uint32_t i = 0; i < found->head.record_count; i++) {
		const struct wh_chunk_record *record = &found->records[i];
		const struct wh_source_count *source = source_find(section, record->source);
		uint64_t delivered = record->received - record->dropped;
		if (source == NULL || delivered <= record->frames || delivered == source->delivered + record->frames)
			continue;
		*agree = false;
		if (delivered > source->delivered + record->frames)
			between = wh_sum(between, delivered - source->delivered - record->frames);
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
		*source = (struct wh_source_count){ .source = record->source,
						    .delivered = record->received - record->dropped };
	}
}

static void session_begin(struct wh_section *section, uint64_t session)
{
	section->session_before = section->has_session ? section->session : session;
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
	before->jump = true;
	section->losses = true;
	if (sequence > section->highest) {
		uint64_t missing = sequence - section->highest - 1;
		if (missing == 0)
			return true; /* after one that came late */
		bool agree;
		before->chunks_missing = missing;
		before->frames_missing = frames_between(section, &walker->head, &agree);
		walker->found->chunks_missing = wh_sum(walker->found->chunks_missing, missing);
		wh_inspect_passed_over(section, section->highest + 1, sequence - 1, false);
		wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "in front of chunk %llu at byte %llu, %llu %s missing",
				 shown, where, (unsigned long long)missing, missing == 1 ? "is" : "are");
		return true;
	}
	bool missing;
	if (!gap_take(section, sequence, &missing)) {
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
	} else if (section->session != head->session) {
		if (!as_announced)
			wh_walker_worsen(walker, WH_HEALTH_DAMAGED, "chunks of another capture begin at byte %llu",
					 (unsigned long long)at);
		before->jump |= !as_announced;
		session_begin(section, head->session);
	}
	bool agree = true;
	if (as_announced) {
		section->source_count = 0;
	} else if (section->has_sequence && head->sequence != section->expected) {
		if (!order_mend(walker, at, before))
			return false;
	} else if (section->has_sequence && !before->jump && !rebuilt) {
		before->frames_missing = frames_between(section, &walker->head, &agree);
	}
	if (!agree) {
		before->jump = true;
		wh_walker_worsen(walker, WH_HEALTH_DAMAGED,
				 "the counters of chunk %llu at byte %llu do not follow from those before it",
				 (unsigned long long)head->sequence, (unsigned long long)at);
	}
	sources_follow(section, &walker->head);
	section->expected = head->sequence + 1;
	if (!section->has_sequence || head->sequence > section->highest)
		section->highest = head->sequence;
	section->has_sequence = true;
	return true;
}
