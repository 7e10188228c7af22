#define _GNU_SOURCE
#include "engine/core/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/core/process.h"
#include "engine/core/quiet.h"

#define BUFFER_MIN 16384u
#define BUFFER_KEEP 65536u /* an idle channel gives back what is above */
#define FRAMES_PER_TURN 64
#define FLUSH_PER_TURN (1u << 20)
#define BATCH_FRAMES 32
#define BATCH_BYTES (256u << 10)
#define CURSOR_QUANTUM (128u << 10)
/* Names up to this length have their header on the stack; others take the slow way. */
#define SHORT_NAME 256u

/* ---- life ------------------------------------------------------------------------------------------------------- */

int channel_open(struct engine *engine, int in_fd, int out_fd, uint32_t max_frame, struct channel **channel)
{
    struct channel *ch = calloc(1, sizeof *ch);
    if (!ch)
        return -ENOMEM;
    int type;
    ch->engine = engine;
    ch->in = (struct source){.kind = SOURCE_CHANNEL_IN, .fd = in_fd, .owner = ch};
    ch->out = (struct source){.kind = SOURCE_CHANNEL_OUT, .fd = out_fd, .owner = ch};
    ch->duplex = in_fd == out_fd;
    ch->socket = ch->duplex && getsockopt(out_fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){sizeof type}) == 0;
    ch->max_frame = max_frame;
    ch->control_end = &ch->control;
    ch->ready_end = &ch->ready;
    int error = 0;
    if (!ch->socket && fcntl(out_fd, F_SETFL, fcntl(out_fd, F_GETFL) | O_NONBLOCK) < 0)
        error = -errno;
    if (!error && !ch->socket && fcntl(in_fd, F_SETFL, fcntl(in_fd, F_GETFL) | O_NONBLOCK) < 0)
        error = -errno;
    if (!error)
        error = source_want(engine, &ch->in, EPOLLIN);
    if (error) {
        free(ch);
        return error;
    }
    engine->channels++;
    *channel = ch;
    return 0;
}

static void leave_dirty_list(struct channel *ch)
{
    struct engine *engine = ch->engine;
    for (struct channel **at = &engine->dirty; *at; at = &(*at)->dirty_next)
        if (*at == ch) {
            *at = ch->dirty_next;
            if (!*at)
                engine->dirty_end = at;
            return;
        }
}

void channel_free(struct channel *ch)
{
    while (ch->cursors)
        cursor_free(ch->cursors);
    if (ch->dirty)
        leave_dirty_list(ch);
    source_close(ch->engine, &ch->in);
    if (!ch->duplex)
        source_close(ch->engine, &ch->out);
    for (struct control_frame *frame = ch->control, *next; frame; frame = next) {
        next = frame->next;
        free(frame);
    }
    free(ch->buffer);
    free(ch->tail);
    free(ch->scratch);
    ch->engine->channels--;
    free(ch);
}

void channel_touch(struct channel *ch)
{
    if (ch->dirty || ch->broken)
        return;
    ch->dirty = true;
    ch->dirty_next = NULL;
    *ch->engine->dirty_end = ch;
    ch->engine->dirty_end = &ch->dirty_next;
}

static struct event *channel_event(struct channel *ch, enum event_kind kind)
{
    struct event *event = engine_event(ch->engine, kind);
    if (event)
        event->channel = ch;
    return event;
}

/* What epoll should tell us about this channel. */
static void update_interest(struct channel *ch)
{
    uint32_t reads = ch->paused || ch->eof || ch->broken ? 0 : EPOLLIN;
    uint32_t writes = ch->blocked && !ch->broken ? EPOLLOUT : 0;
    if (ch->duplex) {
        source_want(ch->engine, &ch->in, reads | writes);
    } else {
        source_want(ch->engine, &ch->in, reads);
        source_want(ch->engine, &ch->out, writes);
    }
}

static void break_channel(struct channel *ch, int error)
{
    if (ch->broken)
        return;
    struct event *event = channel_event(ch, EVENT_BROKEN);
    if (event)
        event->error = error;
    ch->broken = true;
    update_interest(ch);
}

/* ---- cursors ---------------------------------------------------------------------------------------------------- */

struct cursor *channel_attach(struct channel *ch, struct process *process, struct span name, uint64_t after_seq,
                              bool protect)
{
    struct cursor *cursor = calloc(1, sizeof *cursor + name.length);
    if (!cursor)
        return NULL;
    memcpy(cursor + 1, name.data, name.length);
    cursor->name = (struct span){(uint8_t *)(cursor + 1), name.length};
    cursor->process = process;
    cursor->channel = ch;
    cursor->next = ch->cursors;
    if (cursor->next)
        cursor->next->prev = cursor;
    ch->cursors = cursor;
    log_attach(&process->log, &cursor->at, after_seq, protect);
    cursor_ready(cursor);
    return cursor;
}

static void leave_ready_list(struct cursor *cursor)
{
    struct channel *ch = cursor->channel;
    for (struct cursor **at = &ch->ready; *at; at = &(*at)->ready_next)
        if (*at == cursor) {
            *at = cursor->ready_next;
            if (!*at)
                ch->ready_end = at;
            return;
        }
}

void cursor_free(struct cursor *cursor)
{
    struct channel *ch = cursor->channel;
    struct process *process = cursor->process;
    log_detach(&cursor->at);
    if (cursor->ready)
        leave_ready_list(cursor);
    if (ch->last_used == cursor)
        ch->last_used = NULL;
    if (cursor->prev)
        cursor->prev->next = cursor->next;
    else
        ch->cursors = cursor->next;
    if (cursor->next)
        cursor->next->prev = cursor->prev;
    free(cursor);
    process_unstall(process);
}

struct cursor *channel_cursor(struct channel *ch, const struct process *process)
{
    for (struct cursor *cursor = ch->cursors; cursor; cursor = cursor->next)
        if (cursor->process == process)
            return cursor;
    return NULL;
}

static struct cursor *cursor_named(struct channel *ch, struct span name)
{
    struct cursor *cursor = ch->last_used;
    if (cursor && cursor->name.length == name.length && memcmp(cursor->name.data, name.data, name.length) == 0)
        return cursor;
    for (cursor = ch->cursors; cursor; cursor = cursor->next)
        if (cursor->name.length == name.length && memcmp(cursor->name.data, name.data, name.length) == 0)
            return ch->last_used = cursor;
    return NULL;
}

/* A hold is a cursor without a channel: it waits for nothing. */
void cursor_ready(struct cursor *cursor)
{
    struct channel *ch = cursor->channel;
    if (!ch || cursor->ready || cursor->at.next_seq >= log_next_seq(&cursor->process->log))
        return;
    cursor->ready = true;
    cursor->ready_next = NULL;
    *ch->ready_end = cursor;
    ch->ready_end = &cursor->ready_next;
    if (!ch->blocked)
        channel_touch(ch);
}

static void cursor_moved(struct cursor *cursor)
{
    struct log_cursor *at = &cursor->at;
    log_handed(&cursor->process->log, at->next_seq - 1);
    if (!cursor->channel->acks && at->protected_seq != UINT64_MAX) {
        at->protected_seq = at->next_seq;
        process_unstall(cursor->process);
    }
}

void cursor_acked(struct cursor *cursor, uint64_t seq)
{
    struct log_cursor *at = &cursor->at;
    if (at->protected_seq == UINT64_MAX || seq < at->protected_seq || seq >= at->next_seq)
        return; /* old news, or a claim to have what was never sent */
    at->protected_seq = seq + 1;
    process_unstall(cursor->process);
}

uint64_t cursor_unconfirmed(const struct cursor *cursor)
{
    const struct log_cursor *at = &cursor->at;
    const struct log *log = &cursor->process->log;
    if (cursor->channel->acks && at->protected_seq != UINT64_MAX)
        return at->protected_seq;
    uint64_t seq = at->next_seq, bytes = 0;
    while (seq > log->base_seq && bytes < IN_FLIGHT_SLACK)
        bytes += log_find(log, --seq)->length;
    return seq;
}

void cursor_skip(struct cursor *cursor)
{
    struct log *log = &cursor->process->log;
    uint64_t seq = cursor->at.next_seq > log->base_seq ? cursor->at.next_seq : log->base_seq;
    while (seq < log_next_seq(log) && !log_find(log, seq)->mark)
        seq++;
    log_handed(log, seq - 1); /* what comes now is not to be part of what is skipped */
    cursor->skip_to = seq;
    cursor_ready(cursor);
}

int cursor_pass(struct cursor *cursor, uint64_t seq, const uint8_t *body, size_t length)
{
    struct log *log = &cursor->process->log;
    int error = channel_send(cursor->channel, body, length);
    if (error || seq < cursor->at.next_seq)
        return error;
    log_offsets_at(log, seq + 1, cursor->at.offset);
    cursor->at.next_seq = seq + 1;
    cursor_moved(cursor);
    cursor_ready(cursor);
    return 0;
}

/* Tell of a mark, which is the caller's to encode.  False when out of memory. */
static bool tell_mark(struct cursor *cursor, uint64_t seq, int mark)
{
    if (seq <= cursor->told_seq)
        return true;
    struct event *event = channel_event(cursor->channel, EVENT_MARK);
    if (!event)
        return false;
    event->process = cursor->process;
    event->number = seq;
    event->error = mark;
    event->data = cursor->name.data;
    event->length = cursor->name.length;
    cursor->told_seq = seq;
    return true;
}

/* Tell of the marks the cursor stands at. */
static void tell_marks(struct cursor *cursor)
{
    const struct log_record *record;
    for (uint64_t seq = cursor->at.next_seq; (record = log_find(&cursor->process->log, seq)) && record->mark; seq++)
        if (!tell_mark(cursor, seq, record->mark))
            return;
}

/* The cursor wants what is no longer there, or was told to jump: tell of the gap once. */
static void tell_gap(struct cursor *cursor, uint64_t last)
{
    if (last <= cursor->told_seq)
        return;
    uint64_t offset[LOG_STREAMS];
    struct event *event = channel_event(cursor->channel, EVENT_GAP);
    if (!event)
        return;
    log_offsets_at(&cursor->process->log, last + 1, offset);
    event->process = cursor->process;
    event->number = cursor->at.next_seq;
    event->last = last;
    event->data = cursor->name.data;
    event->length = cursor->name.length;
    for (int i = 0; i < LOG_STREAMS; i++) /* the peer may have claimed more than there is */
        event->bytes[i] = offset[i] > cursor->at.offset[i] ? offset[i] - cursor->at.offset[i] : 0;
    cursor->told_seq = last;
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

static int queue_control(struct channel *ch, struct control_frame *frame)
{
    *ch->control_end = frame;
    ch->control_end = &frame->next;
    ch->control_bytes += frame->length;
    if (ch->control_bytes > CONTROL_HIGH && !ch->paused) {
        ch->paused = true;
        update_interest(ch);
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
    return queue_control(ch, frame);
}

static void send_accepted(struct channel *ch, struct span id)
{
    struct control_frame *frame = malloc(sizeof *frame + ACCEPTED_SIZE + id.length);
    if (!frame) {
        ch->engine->out_of_memory = true;
        return;
    }
    *frame = (struct control_frame){.length = accepted_write(frame->data, id)};
    queue_control(ch, frame);
}

/* The exit of a process, for a cursor that finds its record gone. */
static void send_exited(struct cursor *cursor, uint64_t seq)
{
    struct control_frame *frame = malloc(sizeof *frame + MARK_FRAME_SIZE + cursor->name.length);
    if (!frame) {
        cursor->channel->engine->out_of_memory = true;
        return;
    }
    *frame = (struct control_frame){
        .length = process_mark_frame(cursor->process, frame->data, cursor->name, seq, LOG_EXITED)};
    queue_control(cursor->channel, frame);
    cursor->at.next_seq = seq + 1;
    cursor_moved(cursor);
}

/* The records before `end` are gone or jumped over.  An exit among them is told all the same, in its place. */
static void tell_missing(struct cursor *cursor, uint64_t end)
{
    uint64_t seq = cursor->at.next_seq, exited = cursor->process->log.exited_seq;
    if (exited == seq && cursor->process->caller_tells)
        tell_mark(cursor, seq, LOG_EXITED);
    else if (exited == seq)
        send_exited(cursor, seq);
    else
        tell_gap(cursor, (exited > seq && exited < end ? exited : end) - 1);
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
        tell_missing(cursor, log->base_seq > cursor->skip_to ? log->base_seq : cursor->skip_to);
        return;
    }
    const struct log_record *record;
    while ((record = log_find(log, seq)) && batch->frame_count < BATCH_FRAMES && batch->bytes < BATCH_BYTES &&
           batch->bytes - start < CURSOR_QUANTUM) {
        if (record->mark && cursor->process->caller_tells) {
            if (seq == cursor->at.next_seq)
                tell_marks(cursor);
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
            break_channel(ch, ENOMEM); /* half a frame is out: the stream cannot go on */
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
static size_t send_batch(struct channel *ch)
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
            break_channel(ch, (int)-n);
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

static bool has_output(const struct channel *ch) { return ch->control || ch->tail_length || ch->ready; }

/* Frames that an earlier turn left in the buffer come before new bytes, and before the end of them. */
static bool whole_frame_waits(const struct channel *ch)
{
    const uint8_t *body;
    uint32_t size;
    return !ch->paused && !ch->broken && !ch->oversize &&
           frame_split(ch->buffer + ch->start, ch->end - ch->start, ch->max_frame, &body, &size) != FRAME_PARTIAL;
}

static void parse(struct channel *ch);

static bool large_and_empty(const struct channel *ch)
{
    return ch->start == ch->end && ch->buffer_cap > BUFFER_KEEP;
}

/* An idle channel gives back what a large frame needed, once nobody looks at the frame any more. */
static void trim_buffer(struct channel *ch)
{
    if (!large_and_empty(ch))
        return;
    if (ch->told_turn == ch->engine->turn) {
        channel_touch(ch);
        return;
    }
    free(ch->buffer);
    ch->buffer = NULL;
    ch->buffer_cap = ch->start = ch->end = 0;
}

void channel_flush(struct channel *ch)
{
    size_t sent = 0, idle = 0;
    bool was_blocked = ch->blocked;
    while (!ch->broken && !ch->blocked && has_output(ch) && sent < FLUSH_PER_TURN && idle < 2) {
        size_t n = send_batch(ch);
        sent += n;
        idle = n ? 0 : idle + 1; /* a batch may be empty: all its cursors wait for the caller */
    }
    if (ch->blocked != was_blocked)
        update_interest(ch);
    if (ch->paused && ch->control_bytes < CONTROL_LOW) {
        ch->paused = false;
        update_interest(ch);
    }
    if (whole_frame_waits(ch))
        parse(ch); /* left there by an earlier turn: no more bytes need come to wake us for it */
    if (!ch->broken && ((!ch->blocked && has_output(ch)) || whole_frame_waits(ch)))
        channel_touch(ch); /* more at the next turn */
    if (ch->drain_wanted && !ch->control && !ch->tail_length && channel_event(ch, EVENT_DRAINED))
        ch->drain_wanted = false;
    trim_buffer(ch);
}

void channel_writable(struct channel *ch)
{
    ch->blocked = false;
    update_interest(ch);
    channel_touch(ch);
}

void channel_notify_drained(struct channel *ch)
{
    ch->drain_wanted = true;
    if (!ch->blocked)
        channel_touch(ch);
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

static void tell_frame(struct channel *ch, enum event_kind kind, const uint8_t *body, size_t length, uint64_t number)
{
    struct event *event = channel_event(ch, kind);
    if (!event)
        return;
    event->data = body;
    event->length = length;
    event->number = number;
    ch->told_turn = ch->engine->turn;
}

/* Do a write or an ack on the spot.  False: hand the frame up. */
static bool do_request(struct channel *ch, const uint8_t *body, size_t length)
{
    struct request request;
    uint64_t ticket;
    int error;
    enum request_kind kind = request_read(body, length, &request);
    struct cursor *cursor = kind == REQUEST_OTHER ? NULL : cursor_named(ch, request.process);
    if (!cursor || request.write_id.length > WRITE_ID_MAX)
        return false;
    if (kind == REQUEST_ACK) {
        cursor_acked(cursor, request.seq);
        return true;
    }
    switch (process_write(cursor->process, request.chunk, request.write_id, &ticket, &error)) {
    case WRITE_DONE:
    case WRITE_REPEATED:
        send_accepted(ch, request.id);
        return true;
    case WRITE_QUEUED:
        tell_frame(ch, EVENT_QUEUED, body, length, ticket);
        return true;
    default:
        return false; /* the caller tries again and gives the answer in words */
    }
}

/* Split what is in the buffer.  Once a frame is handed up, later ones of this turn follow it, to keep their order. */
static void parse(struct channel *ch)
{
    for (int i = 0; i < FRAMES_PER_TURN && !ch->paused && !ch->broken; i++) {
        const uint8_t *body;
        uint32_t size;
        enum frame_split split =
            frame_split(ch->buffer + ch->start, ch->end - ch->start, ch->max_frame, &body, &size);
        if (split == FRAME_PARTIAL)
            break;
        if (split == FRAME_TOO_LARGE) {
            tell_frame(ch, EVENT_OVERSIZE, NULL, 0, size);
            ch->eof = ch->oversize = true;
            update_interest(ch);
            return;
        }
        ch->start += FRAME_LENGTH_SIZE + size;
        bool handed_up = ch->handed_turn == ch->engine->turn;
        if (!ch->hot || handed_up || !do_request(ch, body, size)) {
            tell_frame(ch, EVENT_FRAME, body, size, 0);
            ch->handed_turn = ch->engine->turn;
        }
    }
    if (whole_frame_waits(ch) || large_and_empty(ch))
        channel_touch(ch);
}

/* Room for what comes next: the buffer grows only as fast as bytes arrive, whatever length was announced. */
static bool make_room(struct channel *ch)
{
    size_t held = ch->end - ch->start, wanted = ch->buffer_cap;
    if (held == ch->buffer_cap)
        wanted = ch->buffer_cap ? ch->buffer_cap * 2 : BUFFER_MIN;
    if (wanted != ch->buffer_cap) {
        uint8_t *buffer = malloc(wanted);
        if (!buffer)
            return false;
        if (held)
            memcpy(buffer, ch->buffer + ch->start, held);
        free(ch->buffer);
        ch->buffer = buffer;
        ch->buffer_cap = wanted;
    } else if (ch->start && held) {
        memmove(ch->buffer, ch->buffer + ch->start, held);
    }
    ch->start = 0;
    ch->end = held;
    return true;
}

void channel_hung_up(struct channel *ch)
{
    if (ch->paused || ch->eof)
        break_channel(ch, EPIPE); /* what we do not read any more will tell us no other way */
    else
        channel_readable(ch);
}

void channel_readable(struct channel *ch)
{
    if (ch->paused || ch->eof || ch->broken)
        return;
    if (whole_frame_waits(ch)) {
        channel_touch(ch);
        return;
    }
    if (!make_room(ch)) {
        break_channel(ch, ENOMEM);
        return;
    }
    uint8_t *to = ch->buffer + ch->end;
    size_t room = ch->buffer_cap - ch->end;
    ssize_t n = ch->socket ? recv(ch->in.fd, to, room, MSG_DONTWAIT) : read(ch->in.fd, to, room);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n < 0) {
        break_channel(ch, errno);
        return;
    }
    if (n == 0) {
        ch->eof = true;
        update_interest(ch);
        channel_event(ch, EVENT_EOF);
        return;
    }
    ch->end += (size_t)n;
    parse(ch);
}
