#define _GNU_SOURCE
#include "engine/core/channel_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/core/process.h"
#include "engine/core/quiet.h"

#define BATCH_FRAMES 32
#define BATCH_BYTES (256u << 10)
#define CURSOR_QUANTUM (128u << 10)
/* Names up to this length have their header on the stack; others take the slow way. */
#define SHORT_NAME 256u

int channel_queue(struct channel *ch, struct control_frame *frame)
{
    *ch->control_end = frame;
    ch->control_end = &frame->next;
    ch->control_bytes += frame->length;
    if (ch->control_bytes > CONTROL_HIGH && !ch->paused) {
        ch->paused = true;
        channel_update_interest(ch);
    }
    if (!ch->blocked)
        channel_touch(ch);
    return 0;
}

int channel_send(struct channel *ch, const uint8_t *body, size_t length)
{
    struct control_frame *frame = malloc(sizeof *frame + FRAME_LENGTH_SIZE + length);
    if (!frame)
        return -ENOMEM;
    *frame = (struct control_frame){.length = FRAME_LENGTH_SIZE + length};
    frame_put_length(frame->data, (uint32_t)length);
    memcpy(frame->data + FRAME_LENGTH_SIZE, body, length);
    return channel_queue(ch, frame);
}

/* One vectored write being put together. */
struct batch {
    struct iovec iov[1 + BATCH_FRAMES * 4];
    int iov_count;
    int control_count; /* control frames in it: more may be queued while it is being put together */
    size_t bytes;
    struct {
        struct cursor *cursor;
        int iov_first, iov_count;
        uint32_t length; /* of the chunk */
        uint8_t stream, mark;
    } frames[BATCH_FRAMES];
    int frame_count;
    uint8_t headers[BATCH_FRAMES][MARK_FRAME_SIZE + SHORT_NAME];
    uint8_t *long_header;
    bool scratch_used;
};

static void batch_add(struct batch *batch, const void *data, size_t length)
{
    batch->iov[batch->iov_count++] = (struct iovec){(void *)data, length};
    batch->bytes += length;
}

/* Add the control frames.  False when more wait than fit: then output, which comes after them, has to wait too. */
static bool add_control(struct channel *ch, struct batch *batch)
{
    if (ch->tail_length)
        batch_add(batch, ch->tail + ch->tail_sent, ch->tail_length - ch->tail_sent);
    struct control_frame *frame = ch->control;
    for (; frame && batch->iov_count < BATCH_FRAMES; frame = frame->next) {
        batch_add(batch, frame->data + frame->sent, frame->length - frame->sent);
        batch->control_count++;
    }
    return !frame;
}

/* Add record `seq` to the batch.  False when it has to wait for the next one. */
static bool add_record(struct channel *ch, struct batch *batch, struct cursor *cursor, uint64_t seq,
                       const struct log_record *record)
{
    struct log *log = &cursor->process->log;
    struct iovec iov[2];
    uint8_t *header = batch->headers[batch->frame_count];
    if (cursor->name.length > SHORT_NAME) {
        if (batch->long_header)
            return false;
        header = batch->long_header = malloc(MARK_FRAME_SIZE + cursor->name.length);
        if (!header)
            return false;
    }
    int count = log_view(log, record->pos, record->length, iov);
    if (count == 0 && !record->mark) { /* spilled */
        if (batch->scratch_used)
            return false;
        if (!ch->scratch && !(ch->scratch = malloc(LOG_CHUNK_MAX)))
            return false;
        if (log_copy(log, record->pos, record->length, ch->scratch) < 0) {
            if (seq == cursor->at.next_seq)
                cursor->skip_to = seq + 1; /* the disk lost it: a gap, told as one */
            return false;
        }
        batch->scratch_used = true;
        iov[0] = (struct iovec){ch->scratch, record->length};
        count = 1;
    }
    int first = batch->iov_count;
    batch_add(batch, header,
              record->mark ? process_mark_frame(cursor->process, header, cursor->name, seq, record->mark)
                           : output_header(header, cursor->name, seq, record->stream, record->offset, record->length));
    for (int i = 0; i < count; i++)
        batch_add(batch, iov[i].iov_base, iov[i].iov_len);
    int at = batch->frame_count++;
    batch->frames[at].cursor = cursor;
    batch->frames[at].iov_first = first;
    batch->frames[at].iov_count = count + 1;
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
    while ((record = log_find(log, seq)) && batch->frame_count < BATCH_FRAMES && batch->bytes < BATCH_BYTES &&
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

static size_t take(size_t *sent, size_t length)
{
    size_t n = *sent < length ? *sent : length;
    *sent -= n;
    return n;
}

static void control_sent(struct channel *ch, const struct batch *batch, size_t *sent)
{
    ch->tail_sent += take(sent, ch->tail_length - ch->tail_sent);
    if (ch->tail_length && ch->tail_sent == ch->tail_length) {
        free(ch->tail);
        ch->tail = NULL;
        ch->tail_length = ch->tail_sent = 0;
    }
    for (int i = 0; i < batch->control_count && *sent; i++) {
        struct control_frame *frame = ch->control;
        frame->sent += take(sent, frame->length - frame->sent);
        if (frame->sent < frame->length)
            break;
        ch->control = frame->next;
        if (!ch->control)
            ch->control_end = &ch->control;
        ch->control_bytes -= frame->length;
        free(frame);
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

/* Put together and send one batch.  Returns the bytes sent, 0 when there is nothing to send or no room. */
size_t channel_send_batch(struct channel *ch)
{
    struct batch batch;
    struct cursor *turn[BATCH_FRAMES];
    int turns = 0;
    batch.iov_count = batch.control_count = batch.frame_count = 0;
    batch.bytes = 0;
    batch.long_header = NULL;
    batch.scratch_used = false;
    bool room = add_control(ch, &batch);
    while (room && ch->ready && turns < BATCH_FRAMES && batch.frame_count < BATCH_FRAMES && batch.iov_count <= BATCH_FRAMES * 3 &&
           batch.bytes < BATCH_BYTES) {
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
            control_sent(ch, &batch, &sent);
            frames_sent(ch, &batch, sent);
            ch->blocked = done < batch.bytes;
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
