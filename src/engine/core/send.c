#define _GNU_SOURCE
#include "engine/core/channel_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/core/base64.h"
#include "engine/core/process.h"
#include "engine/core/quiet.h"

#define CURSOR_QUANTUM (128u << 10)
/* A batch may pass its limit by one record; and each piece of a blob may need a little more than it gives. */
#define SPACE_SIZE (BATCH_BYTES + (LOG_CHUNK_MAX + 2) / 3 * 4 + BATCH_FRAMES * BLOB_SPACE_MORE)
/* What is encoded at once, however little or much the socket takes. */
#define APPETITE_MIN (16u << 10)
#define APPETITE_MAX BATCH_BYTES

bool channel_space(struct channel *ch)
{
    if (!ch->engine->space)
        ch->engine->space = malloc(SPACE_SIZE);
    return ch->engine->space;
}

/* Point `pieces` at what a record's chunk is on the wire.  Returns their count; 0: it has to wait. */
static int chunk_pieces(struct channel *ch, struct batch *batch, struct cursor *cursor, uint64_t seq,
                        const struct log_record *record, struct iovec pieces[2])
{
    const struct log *log = &cursor->process->log;
    int count = log_view(log, record->pos, record->length, pieces);
    if (count == 0) { /* spilled */
        if (batch->scratch_used)
            return 0;
        if (!ch->scratch && !(ch->scratch = malloc(LOG_CHUNK_MAX)))
            return 0;
        if (log_copy(log, record->pos, record->length, ch->scratch) < 0) {
            if (seq == cursor->at.next_seq)
                cursor->skip_to = seq + 1; /* the disk lost it: a gap, told as one */
            return 0;
        }
        batch->scratch_used = !ch->voice.encoding->base64;
        pieces[0] = (struct iovec){ch->scratch, record->length};
        count = 1;
    }
    if (ch->voice.encoding->base64) {
        uint8_t *text = ch->engine->space + batch->space_used;
        pieces[0] = (struct iovec){text, base64_join(text, pieces, count)};
        batch->space_used += pieces[0].iov_len;
        count = 1;
    }
    return count;
}

/* Add a message's first `size` bytes, which are at `at`, behind room for the header; `more` bytes will follow. */
static void add_start(const struct channel *ch, struct batch *batch, uint8_t *at, size_t size, size_t more)
{
    uint8_t header[HEADER_MAX];
    struct layout layout = layout_plan(ch->framing, ch->voice.encoding->base64, size + more, UINT64_MAX, 0);
    size_t length = ch->framing->header(header, &layout, 0);
    memcpy(at - length, header, length);
    batch_add(batch, at - length, length + size);
}

/* Add the message of a mark, or of a chunk that is in `pieces`. */
static void add_notice(const struct channel *ch, struct batch *batch, const struct cursor *cursor, uint64_t seq,
                       const struct log_record *record, uint8_t *at, const struct iovec *pieces, int count)
{
    if (record->mark) {
        size_t size = process_mark_notice(cursor->process, at, ch->voice, cursor->label, seq, record->mark);
        add_start(ch, batch, at, size, 0);
    } else {
        size_t size = output_head(at, ch->voice, cursor->label, seq, record->stream, record->offset, record->length);
        size_t more = ch->output_rest;
        for (int i = 0; i < count; i++)
            more += pieces[i].iov_len;
        add_start(ch, batch, at, size, more);
        for (int i = 0; i < count; i++)
            batch_add(batch, pieces[i].iov_base, pieces[i].iov_len);
    }
}

/* Add record `seq` to the batch.  False when it has to wait for the next one. */
static bool add_record(struct channel *ch, struct batch *batch, struct cursor *cursor, uint64_t seq,
                       const struct log_record *record)
{
    struct iovec pieces[2];
    uint8_t *slot = batch->headers[batch->frame_count];
    if (cursor->label.length > SHORT_NAME) {
        if (batch->long_header)
            return false;
        slot = batch->long_header = malloc(NOTICE_SIZE + cursor->label.length);
        if (!slot)
            return false;
    }
    int count = record->mark ? 0 : chunk_pieces(ch, batch, cursor, seq, record, pieces);
    if (count == 0 && !record->mark)
        return false;
    int first = batch->iov_count, at = batch->frame_count++;
    add_notice(ch, batch, cursor, seq, record, slot + HEADER_MAX, pieces, count);
    size_t skip = record->mark ? ch->output_rest : 0;
    if (ch->output_end_size > skip)
        batch_add(batch, ch->output_end + skip, ch->output_end_size - skip);
    batch->frames[at].cursor = cursor;
    batch->frames[at].iov_first = first;
    batch->frames[at].iov_count = batch->iov_count - first;
    batch->frames[at].length = record->length;
    batch->frames[at].stream = record->stream;
    batch->frames[at].mark = record->mark;
    return true;
}

/* Add what this cursor has ready, up to its quantum. */
static void add_cursor(struct channel *ch, struct batch *batch, struct cursor *cursor)
{
    const struct log *log = &cursor->process->log;
    uint64_t seq = cursor->at.next_seq;
    size_t start = batch->bytes;
    if (seq < log->base_seq || seq < cursor->skip_to) {
        cursor_tell_missing(cursor, log->base_seq > cursor->skip_to ? log->base_seq : cursor->skip_to);
        return;
    }
    const struct log_record *record;
    while ((record = log_find(log, seq)) && batch->frame_count < BATCH_FRAMES && batch->bytes < batch->limit &&
           batch->bytes - start < CURSOR_QUANTUM) {
        if (record->mark && cursor->process->caller_tells) {
            if (seq == cursor->at.next_seq)
                cursor_tell_marks(cursor);
            return;
        }
        if (!add_record(ch, batch, cursor, seq, record))
            return;
        seq++;
    }
}

static ssize_t transmit(struct channel *ch, struct batch *batch)
{
    ssize_t n;
    if (ch->socket) {
        struct msghdr message = {.msg_iov = batch->iov, .msg_iovlen = (size_t)batch->iov_count};
        do
            n = sendmsg(ch->out.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            n = -errno;
    } else {
        n = writev_quietly(ch->out.fd, batch->iov, batch->iov_count);
    }
    return n == -EAGAIN ? 0 : n;
}

static void tail_sent(struct channel *ch, size_t *sent)
{
    ch->tail_sent += take(sent, ch->tail_length - ch->tail_sent);
    if (ch->tail_length && ch->tail_sent == ch->tail_length) {
        free(ch->tail);
        ch->tail = NULL;
        ch->tail_length = ch->tail_sent = 0;
    }
}

/* The socket took a part of this frame: keep a copy of the rest, so that the log is free to move on. */
static bool keep_tail(struct channel *ch, const struct iovec *iov, int count, size_t length, size_t sent)
{
    ch->tail = malloc(length - sent);
    if (!ch->tail)
        return false;
    for (int i = 0; i < count; i++) {
        size_t skip = take(&sent, iov[i].iov_len);
        memcpy(ch->tail + ch->tail_length, (uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        ch->tail_length += iov[i].iov_len - skip;
    }
    return true;
}

static void frames_sent(struct channel *ch, struct batch *batch, size_t sent)
{
    int frames = 0;
    for (; frames < batch->frame_count && sent; frames++) {
        struct iovec *iov = &batch->iov[batch->frames[frames].iov_first];
        int count = batch->frames[frames].iov_count;
        size_t length = 0;
        for (int k = 0; k < count; k++)
            length += iov[k].iov_len;
        if (sent < length && !keep_tail(ch, iov, count, length, sent)) {
            channel_break(ch, ENOMEM); /* half a frame is out: the stream cannot go on */
            break;
        }
        sent -= sent < length ? sent : length;
    }
    /* Only now, since a log that may evict what was sent may also move what the frames point to. */
    for (int i = 0; i < frames; i++) {
        struct cursor *cursor = batch->frames[i].cursor;
        cursor->at.next_seq++;
        cursor->at.offset[batch->frames[i].stream] += batch->frames[i].length;
        cursor->finished = batch->frames[i].mark == LOG_CLOSED;
        cursor_moved(cursor);
    }
}

/* What is encoded and not taken is encoded again: so not much more than what was taken the last time. */
static void adapt(struct channel *ch, size_t taken)
{
    if (ch->blocked && taken)
        ch->appetite = taken > APPETITE_MIN ? taken : APPETITE_MIN;
    else if (!ch->blocked)
        ch->appetite *= 2;
    if (ch->appetite > APPETITE_MAX)
        ch->appetite = APPETITE_MAX;
}

size_t channel_send_batch(struct channel *ch)
{
    struct batch batch;
    struct cursor *turn[BATCH_FRAMES];
    int turns = 0;
    batch.iov_count = batch.control_count = batch.frame_count = 0;
    batch.bytes = batch.space_used = 0;
    batch.limit = ch->voice.encoding->base64 ? ch->appetite : BATCH_BYTES;
    batch.long_header = NULL;
    batch.scratch_used = false;
    if (ch->tail_length)
        batch_add(&batch, ch->tail + ch->tail_sent, ch->tail_length - ch->tail_sent);
    bool room = control_add(ch, &batch);
    while (room && ch->ready && turns < BATCH_FRAMES && batch.frame_count < BATCH_FRAMES &&
           batch.bytes < batch.limit) {
        struct cursor *cursor = ch->ready;
        ch->ready = cursor->ready_next;
        if (!ch->ready)
            ch->ready_end = &ch->ready;
        cursor->ready = false;
        add_cursor(ch, &batch, cursor);
        turn[turns++] = cursor;
    }
    size_t done = 0;
    if (batch.iov_count) {
        ssize_t n = transmit(ch, &batch);
        if (n < 0) {
            channel_break(ch, (int)-n);
        } else {
            size_t sent = done = (size_t)n;
            tail_sent(ch, &sent);
            control_sent(ch, &batch, &sent);
            frames_sent(ch, &batch, sent);
            ch->blocked = done < batch.bytes;
            adapt(ch, done);
        }
    }
    free(batch.long_header);
    /* Whoever has more goes to the back of the queue; who waits for the caller (a mark, a gap) is woken by it. */
    for (int i = 0; i < turns; i++)
        if (turn[i]->finished)
            cursor_free(turn[i]);
        else if (turn[i]->at.next_seq > turn[i]->told_seq)
            cursor_ready(turn[i]);
    return done;
}
