#include "engine/core/channel_parts.h"

#include <stdlib.h>
#include <string.h>

#include "engine/core/process.h"

struct cursor *channel_attach(struct channel *ch, struct process *process, struct span name, uint64_t after_seq,
                              bool protect)
{
    const struct encoding *encoding = ch->voice.encoding;
    size_t label = encoding->escape(NULL, name);
    struct cursor *cursor = calloc(1, sizeof *cursor + name.length + label);
    if (!cursor)
        return NULL;
    if (encoding->base64 && !channel_space(ch)) {
        free(cursor);
        return NULL;
    }
    uint8_t *names = memcpy(cursor + 1, name.data, name.length);
    encoding->escape(names + name.length, name);
    cursor->name = (struct span){names, name.length};
    cursor->label = (struct span){names + name.length, label};
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

struct cursor *cursor_named(struct channel *ch, struct span name)
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

/* What the kernel took may be in a buffer that is lost with the link, here or on the way.  Of a peer that does not say
 * what it has, the newest half of a full log is taken to be so. */
static void let_go(struct cursor *cursor)
{
    struct log_cursor *at = &cursor->at;
    const struct log *log = &cursor->process->log;
    const struct log_record *record = log_find(log, at->next_seq);
    uint64_t end = record ? record->pos : log->end;
    at->needed_seq = at->next_seq;
    for (; at->protected_seq < at->next_seq; at->protected_seq++) {
        record = log_find(log, at->protected_seq);
        if (record && end - record->pos + (at->next_seq - at->protected_seq) * LOG_RECORD_COST <= log->retention / 2)
            break;
    }
    process_unstall(cursor->process);
}

void cursor_moved(struct cursor *cursor)
{
    struct log_cursor *at = &cursor->at;
    log_handed(&cursor->process->log, at->next_seq - 1);
    if (!cursor->channel->acks && at->protected_seq != UINT64_MAX)
        let_go(cursor);
}

void cursor_acked(struct cursor *cursor, uint64_t seq)
{
    struct log_cursor *at = &cursor->at;
    if (at->protected_seq == UINT64_MAX || seq < at->protected_seq || seq >= at->next_seq)
        return; /* old news, or a claim to have what was never sent */
    at->protected_seq = at->needed_seq = seq + 1;
    process_unstall(cursor->process);
}

uint64_t cursor_unconfirmed(const struct cursor *cursor)
{
    const struct log_cursor *at = &cursor->at;
    return at->protected_seq != UINT64_MAX ? at->protected_seq : at->next_seq;
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
    int error = channel_send(cursor->channel, body, length);
    if (error || seq < cursor->at.next_seq)
        return error;
    if (cursor->gap_told) /* not asked of the log again: it may have evicted more by now */
        memcpy(cursor->at.offset, cursor->told_offset, sizeof cursor->told_offset);
    cursor->gap_told = false;
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
void cursor_tell_marks(struct cursor *cursor)
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
    struct event *event = channel_event(cursor->channel, EVENT_GAP);
    if (!event)
        return;
    uint64_t *offset = cursor->told_offset;
    log_offsets_at(&cursor->process->log, last + 1, offset);
    event->process = cursor->process;
    event->number = cursor->at.next_seq;
    event->last = last;
    event->data = cursor->name.data;
    event->length = cursor->name.length;
    for (int i = 0; i < LOG_STREAMS; i++) /* the peer may have claimed more than there is */
        event->bytes[i] = offset[i] > cursor->at.offset[i] ? offset[i] - cursor->at.offset[i] : 0;
    cursor->told_seq = last;
    cursor->gap_told = true;
}

/* The exit of a process, for a cursor that finds its record gone. */
static void send_exited(struct cursor *cursor, uint64_t seq)
{
    struct channel *ch = cursor->channel;
    uint8_t *notice = malloc(MARK_SIZE + cursor->label.length);
    if (!notice) {
        ch->engine->out_of_memory = true;
        return;
    }
    size_t length = process_mark_notice(cursor->process, notice, ch->voice, cursor->label, seq, LOG_EXITED);
    if (channel_send(ch, notice, length) < 0) {
        ch->engine->out_of_memory = true;
    } else {
        cursor->at.next_seq = seq + 1;
        cursor_moved(cursor);
    }
    free(notice);
}

/* The dialect has no word for a gap: its clients see it in the numbers. */
static void pass_over(struct cursor *cursor, uint64_t last)
{
    log_offsets_at(&cursor->process->log, last + 1, cursor->at.offset);
    cursor->at.next_seq = last + 1;
    cursor_moved(cursor);
}

/* The records before `end` are gone or jumped over.  An exit among them is told all the same, in its place. */
void cursor_tell_missing(struct cursor *cursor, uint64_t end)
{
    uint64_t seq = cursor->at.next_seq, exited = cursor->process->log.exited_seq;
    uint64_t last = (exited > seq && exited < end ? exited : end) - 1;
    if (exited == seq && cursor->process->caller_tells)
        tell_mark(cursor, seq, LOG_EXITED);
    else if (exited == seq)
        send_exited(cursor, seq);
    else if (cursor->channel->voice.plain)
        pass_over(cursor, last);
    else
        tell_gap(cursor, last);
}
