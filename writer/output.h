/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer's thread, its sources (inputs.c) and what it writes: chunks (output.c), files (output_file.c), the stream
 * of small things (output_stream.c), free space (output_space.c), writes on their way (output_jobs.c) and faults
 * (output_fault.c). All for the writer's thread, where nothing else is said, and for the files of the writer alone. */
#ifndef WH_WRITER_OUTPUT_H
#define WH_WRITER_OUTPUT_H

#include "writer/writer_state.h"

/* Tells the writer's owner. Any of the writer's threads. */
static inline void wh_writer_tell(const struct wh_writer *writer, enum wh_writer_event event, uint64_t number,
				  const char *text)
{
	writer->config.event(writer->config.event_context, event, number, text);
}

/* ---- inputs.c: sources ---- */

/* Makes SOURCE one of the inputs, for wh_inputs_take() to find. With the lock held, any thread. */
enum wh_status wh_inputs_add(struct wh_writer *writer, struct wh_writer_source *source, struct wh_error *error);
/* Takes in the inputs that were added: registers their memory and, in a running chain, tells of their interfaces. */
void wh_inputs_take(struct wh_writer *writer);
/* Whether nothing is to be popped now: the disk is behind, and the rings hold what waits. */
bool wh_inputs_must_wait(const struct wh_writer *writer);
/* Pops what is there, a few from each input in turn, so that none waits for long: a round that the disk's pace cut
 * short goes on where it ended. Returns whether there was any. */
bool wh_inputs_drain(struct wh_writer *writer);
/* Frees the places of those whose last chunk is back. */
void wh_inputs_settle(struct wh_writer *writer);
/* Whether a ring holds something. */
bool wh_inputs_have_more(const struct wh_writer *writer);
/* Whether all sources have ended and nothing of them is used any more. */
bool wh_inputs_all_settled(const struct wh_writer *writer);

/* ---- output.c: chunks ---- */

/* Gives CHUNK a place: queues it, or merges it and gives it back, or discards it. */
void wh_output_chunk(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk);
/* Counts CHUNK as discarded or surplus, as the phase has it, and gives it back. */
void wh_output_refuse(struct wh_writer *writer, struct wh_input *input, struct wh_chunk *chunk);
/* Tells in the present file of the interfaces that it does not know yet. */
void wh_output_interfaces(struct wh_writer *writer);
/* Tries again to find a place for the chunk that is held, if there is one and the time has come. */
void wh_output_held(struct wh_writer *writer);
/* Puts the marks that wait into the file, and what there is to say of a fault that is over. */
void wh_output_marks(struct wh_writer *writer);
/* Begins a new file where the present one has been deleted by somebody, unless that must wait: then it is to be called
 * again. */
void wh_output_gone(struct wh_writer *writer);
/* Tells in the file of what INPUT lost after its last frame. */
void wh_output_tail(struct wh_writer *writer, struct wh_input *input);
/* Flushes and rotates what is due at NOW_NS (monotonic); returns ns until it must be called again. */
uint64_t wh_output_tick(struct wh_writer *writer, uint64_t now_ns);

/* ---- output_file.c: files of the chain ---- */

/* Begins the next file and queues its header. On failure the chain is not stopped; ERROR says why. */
enum wh_status wh_output_file_begin(struct wh_writer *writer, struct wh_error *error);
/* Puts the statistics behind what is there and ends the present file. */
void wh_output_file_end(struct wh_writer *writer);
/* The two of them; where the next file cannot be begun, a fault, or a stop of the chain. */
void wh_output_rotate(struct wh_writer *writer);
/* Begins a file where there is none because that failed before. Returns whether there is one now. */
bool wh_output_file_again(struct wh_writer *writer);
/* Whether the present file may give way to the next one now: not where too many closed ones wait for the disk. */
bool wh_output_may_rotate(struct wh_writer *writer);
/* FILE is not written directly, though that was wanted. Told once. */
void wh_output_not_direct(struct wh_writer *writer, const struct wh_file *file);
/* Stops the chain where VERDICT is that a limit has been met, and returns whether it is. */
bool wh_output_limit_met(struct wh_writer *writer, enum wh_chain_verdict verdict);

/* ---- output_stream.c: records that are merged, and blocks of our own ---- */

/* An interface block and the head of a stretch for it, up to a boundary, take no more. */
enum { WH_OUTPUT_INTERFACE_MOST = 2 * WH_FILE_ALIGNMENT };

/* Opens a stretch behind what the file has. There must be none. */
void wh_output_stream_begin(struct wh_writer *writer);
/* Ends the present stretch, if there is one: what comes next begins behind it. */
void wh_output_stream_end(struct wh_writer *writer);
/* Hands out what is new in the stream. With LAST the stretch is done, and its buffer goes back when it is written. */
void wh_output_stream_hand_out(struct wh_writer *writer, bool last);
/* Something was put into the stream, and must be flushed in time. */
void wh_output_stream_touched(struct wh_writer *writer);
/* Hands all that is in the stream to the sink. */
void wh_output_flush(struct wh_writer *writer);
/* So many BYTES more of the present file have their place. */
void wh_output_given_out(struct wh_writer *writer, uint64_t bytes);
/* Where the file would end if it were closed now. */
uint64_t wh_output_file_length(const struct wh_writer *writer);
/* Describes interface NUMBER at AT; returns the block's length, 0 where ROOM bytes are too few. */
uint32_t wh_output_interface_put(struct wh_writer *writer, uint32_t number, uint8_t *at, uint32_t room);
/* Puts the description of the next interface that the file does not know into the stream. There must be room. */
void wh_output_interface_tell(struct wh_writer *writer);
/* A mark and the head of a stretch for it take no more. */
enum { WH_OUTPUT_MARK_MOST = 2 * WH_FILE_ALIGNMENT };
/* Puts a mark into the stream. There must be room. */
void wh_output_mark_put(struct wh_writer *writer, const struct wh_mark *mark);
/* Puts the counters of every interface that the file knows into the stream. */
void wh_output_statistics(struct wh_writer *writer);

/* ---- output_space.c: room for what is to be written ---- */

/* FILE may still grow by so many BYTES without being asked again. */
void wh_output_promise(struct wh_file *file, uint64_t bytes);
/* Says anew what FILE may still grow by. */
void wh_output_promise_renew(struct wh_file *file);
/* What the end of a file takes at most. */
uint64_t wh_output_trailer_bytes(const struct wh_writer *writer);
/* Reads the free space less what is promised, and keeps it for wh_writer_totals_read(). */
enum wh_status wh_output_space_look(struct wh_writer *writer, struct wh_space *space);
/* Stops the chain for lack of space, as SPACE has it. */
void wh_output_space_stop(struct wh_writer *writer, const struct wh_space *space);
/* The free space has fallen under the limit without our doing. */
void wh_output_space_short(struct wh_writer *writer);
/* Makes sure that FILE may grow to END bytes and be closed. On failure nothing was stopped yet; ERROR's os_error is 0
 * where it was the limit that said no. */
enum wh_status wh_output_room_ensure(struct wh_writer *writer, struct wh_file *file, uint64_t end,
				     struct wh_space *space, struct wh_error *error);
/* The same for the present file; where there is no room the chain is stopped, or it is a fault that may pass. */
bool wh_output_room_or_stop(struct wh_writer *writer, uint64_t end);
/* Whether a new file of so many BYTES would find room, after recycling where that is allowed. */
enum wh_status wh_output_room_find(struct wh_writer *writer, uint64_t bytes, struct wh_space *space,
				   struct wh_error *error);

/* ---- output_fault.c: faults that may pass ---- */

/* Something has failed, as ERROR says: the write of JOB, or (NULL) the making or growing of a file. Returns whether it
 * is to be tried again: JOB is, by itself; the rest by whoever asked, when wh_output_fault_waits() is false again.
 * Otherwise it is for good. */
bool wh_output_fault_begin(struct wh_writer *writer, struct wh_job *job, const struct wh_error *error);
/* A write (OF_WRITE), or the making or growing of a file, has succeeded. */
void wh_output_fault_end(struct wh_writer *writer, bool of_write);
/* Whether nothing new should be tried just now. */
bool wh_output_fault_waits(struct wh_writer *writer);
/* Tries again what is due; returns for how long, of WAIT_NS, one may sleep. */
uint64_t wh_output_fault_turn(struct wh_writer *writer, uint64_t wait_ns);

/* ---- output_jobs.c: writes on their way ---- */

/* Makes a stop of the chain known, once. PHASE says what becomes of the chunks that still come. */
void wh_output_stop(struct wh_writer *writer, enum wh_writer_phase phase, enum wh_writer_event event, const char *text);
/* A job for a write; waits for one to come back where all are out. */
struct wh_job *wh_output_job(struct wh_writer *writer);
/* Hands JOB, which writes PIECE to the present file, to the sink. After a failed write nothing more goes there: what is
 * queued behind a hole could not be read, and must not count as written. It is as if the write had come back
 * cancelled. */
void wh_output_queue(struct wh_writer *writer, struct wh_job *job, const struct wh_stream_piece *piece);
/* Takes what has come back from the sink, waiting for up to WAIT_NS. */
void wh_output_reap(struct wh_writer *writer, uint64_t wait_ns);
/* FILE goes to the closer if it has ended and its last write is back. */
void wh_output_settle(struct wh_writer *writer, struct wh_file *file);
/* The input whose source has that number, or NULL. */
struct wh_input *wh_output_input(const struct wh_writer *writer, uint16_t source);
/* FRAMES of INPUT that had a place in the file are not there. */
void wh_output_frames_lost(struct wh_input *input, uint64_t frames);

#endif
