#define _GNU_SOURCE
#include "engine/core/channel_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/core/frame.h"
#include "engine/core/process.h"

#define BUFFER_MIN 16384u
#define BUFFER_KEEP 65536u /* an idle channel gives back what is above */
#define FRAMES_PER_TURN 64
#define FLUSH_PER_TURN (1u << 20)

/* ---- life ------------------------------------------------------------------------------------------------------- */

void channel_speak(struct channel *ch, struct voice voice)
{
    size_t end = strlen(ch->framing->end);
    ch->voice = voice;
    ch->output_rest = (uint8_t)output_tail(ch->output_end, voice);
    memcpy(ch->output_end + ch->output_rest, ch->framing->end, end);
    ch->output_end_size = (uint8_t)(ch->output_rest + end);
}

int channel_open(struct engine *engine, int in_fd, int out_fd, enum framing_kind framing, uint32_t max_frame,
                 struct channel **channel)
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
    ch->framing = &framings[framing];
    ch->appetite = BATCH_BYTES;
    bool frames = framing == FRAMING_FRAMES;
    channel_speak(ch, (struct voice){frames ? &cbor_encoding : &json_encoding, !frames});
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
        control_free(frame);
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

struct event *channel_event(struct channel *ch, enum event_kind kind)
{
    struct event *event = engine_event(ch->engine, kind);
    if (event)
        event->channel = ch;
    return event;
}

/* What epoll should tell us about this channel. */
void channel_update_interest(struct channel *ch)
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

void channel_break(struct channel *ch, int error)
{
    if (ch->broken)
        return;
    struct event *event = channel_event(ch, EVENT_BROKEN);
    if (event)
        event->error = error;
    ch->broken = true;
    channel_update_interest(ch);
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

static bool has_output(const struct channel *ch) { return ch->control || ch->tail_length || ch->ready; }

/* Look for a message at the front of the buffer. */
static enum frame_split find(struct channel *ch, struct found *found)
{
    return ch->framing->split(ch->buffer + ch->start, ch->end - ch->start, ch->max_frame, ch->eof, &ch->scanned, found);
}

/* Messages that an earlier turn left in the buffer come before new bytes, and before the end of them. */
static bool whole_frame_waits(struct channel *ch)
{
    struct found found;
    return ch->buffer && !ch->paused && !ch->broken && !ch->oversize && find(ch, &found) != FRAME_PARTIAL;
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
        size_t n = channel_send_batch(ch);
        sent += n;
        idle = n ? 0 : idle + 1; /* a batch may be empty: all its cursors wait for the caller */
    }
    if (ch->blocked != was_blocked)
        channel_update_interest(ch);
    if (ch->paused && ch->control_bytes < CONTROL_LOW) {
        ch->paused = false;
        channel_update_interest(ch);
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
    channel_update_interest(ch);
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

static void send_accepted(struct channel *ch, struct span id)
{
    struct control_frame *frame = malloc(sizeof *frame + ACCEPTED_SIZE + id.length);
    if (!frame) {
        ch->engine->out_of_memory = true;
        return;
    }
    size_t length = accepted_write(frame->data, id);
    *frame = (struct control_frame){.length = length, .weight = length};
    control_queue(ch, frame);
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
        struct found found;
        enum frame_split split = find(ch, &found);
        if (split == FRAME_PARTIAL)
            break;
        if (split == FRAME_TOO_LARGE) {
            tell_frame(ch, EVENT_OVERSIZE, NULL, 0, found.size);
            ch->eof = ch->oversize = true;
            channel_update_interest(ch);
            return;
        }
        ch->start += found.taken;
        ch->scanned = 0;
        if (!found.body)
            continue;
        bool handed_up = ch->handed_turn == ch->engine->turn;
        if (!ch->hot || handed_up || !do_request(ch, found.body, (size_t)found.size)) {
            tell_frame(ch, EVENT_FRAME, found.body, (size_t)found.size, 0);
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
    if (held == ch->buffer_cap || (ch->filled && ch->buffer_cap < BUFFER_KEEP))
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
        channel_break(ch, EPIPE); /* what we do not read any more will tell us no other way */
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
        channel_break(ch, ENOMEM);
        return;
    }
    uint8_t *to = ch->buffer + ch->end;
    size_t room = ch->buffer_cap - ch->end;
    ssize_t n = ch->socket ? recv(ch->in.fd, to, room, MSG_DONTWAIT) : read(ch->in.fd, to, room);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n < 0) {
        channel_break(ch, errno);
        return;
    }
    if (n == 0) {
        ch->eof = true;
        channel_update_interest(ch);
        parse(ch); /* a last line may end here */
        channel_event(ch, EVENT_EOF);
        return;
    }
    ch->filled = (size_t)n == room;
    ch->end += (size_t)n;
    parse(ch);
}
