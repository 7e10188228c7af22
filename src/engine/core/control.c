/* What a channel sends that is not output: in the order in which it was queued, before any output. */
#include "engine/core/channel_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/websocket.h"

/* Bytes of a part when a message is too large for one frame. */
#define SEND_PART (8u << 20)

void control_queue(struct channel *ch, struct control_frame *frame)
{
    *ch->control_end = frame;
    ch->control_end = &frame->next;
    ch->control_bytes += frame->weight;
    ch->queued += frame->length;
    if (ch->control_bytes > CONTROL_HIGH && !ch->paused) {
        ch->paused = true;
        channel_update_interest(ch);
    }
    if (!ch->blocked)
        channel_touch(ch);
}

void control_free(struct control_frame *frame)
{
    if (frame->blob)
        blob_free(&frame->blob->blob);
    free(frame->blob);
    free(frame);
}

static struct control_frame *new_frame(uint64_t length)
{
    struct control_frame *frame = length > SIZE_MAX / 2 ? NULL : malloc(sizeof *frame + (size_t)length);
    if (frame)
        *frame = (struct control_frame){.length = (size_t)length, .weight = (size_t)length};
    return frame;
}

int channel_send(struct channel *ch, const uint8_t *body, size_t length)
{
    if (length > ch->framing->max)
        return -EMSGSIZE;
    struct layout layout =
        layout_plan(ch->framing, ch->voice.encoding->base64, length, WEBSOCKET_FRAME_MAX, SEND_PART);
    struct control_frame *frame = new_frame(layout_size(&layout));
    if (!frame)
        return -ENOMEM;
    uint8_t *to = frame->data;
    size_t start = 0;
    do {
        size_t part = length - start < layout.part ? length - start : (size_t)layout.part;
        to += ch->framing->header(to, &layout, start);
        memcpy(to, body + start, part);
        to += part;
        start += part;
    } while (start < length);
    memcpy(to, ch->framing->end, strlen(ch->framing->end));
    control_queue(ch, frame);
    return 0;
}

int channel_send_raw(struct channel *ch, const uint8_t *data, size_t length)
{
    if (length == 0)
        return 0;
    struct control_frame *frame = new_frame(length);
    if (!frame)
        return -ENOMEM;
    memcpy(frame->data, data, length);
    control_queue(ch, frame);
    return 0;
}

int channel_send_blob(struct channel *ch, struct span head, struct blob *blob, struct span tail)
{
    bool text = ch->voice.encoding->base64;
    size_t end = strlen(ch->framing->end), around = head.length + tail.length;
    uint64_t length = blob_message_length(around, blob->length, text);
    if (length > ch->framing->max)
        return -EMSGSIZE;
    struct blob_message *message = malloc(sizeof *message + around + end);
    struct control_frame *frame = new_frame(0);
    if (!message || !frame || !channel_space(ch)) {
        free(message);
        free(frame);
        return -ENOMEM;
    }
    uint8_t *copy = (uint8_t *)(message + 1);
    memcpy(copy, head.data, head.length);
    memcpy(copy + head.length, tail.data, tail.length);
    memcpy(copy + around, ch->framing->end, end);
    *message = (struct blob_message){
        .blob = *blob,
        .layout = layout_plan(ch->framing, text, length, BLOB_PART, BLOB_PART),
        .base64 = text,
        .head = {copy, head.length},
        .tail = {copy + head.length, tail.length + end},
    };
    *blob = (struct blob){0};
    frame->blob = message;
    frame->length = (size_t)layout_size(&message->layout);
    frame->weight = frame->length < BLOB_WEIGHT ? frame->length : BLOB_WEIGHT;
    control_queue(ch, frame);
    return 0;
}

/* Make as much of a blob's message as there is room for.  False when that is not the rest of it. */
static bool add_blob(struct channel *ch, struct batch *batch, const struct control_frame *frame)
{
    size_t at = frame->sent;
    while (at < frame->length && batch->bytes < batch->limit && batch->iov_count < BATCH_FRAMES) {
        uint8_t *space = ch->engine->space + batch->space_used;
        struct iovec piece = blob_message_piece(frame->blob, at, batch->limit - batch->bytes, space);
        if ((uint8_t *)piece.iov_base >= space && (uint8_t *)piece.iov_base < space + BLOB_SPACE_MORE)
            batch->space_used += (size_t)((uint8_t *)piece.iov_base - space) + piece.iov_len;
        batch_add(batch, piece.iov_base, piece.iov_len);
        at += piece.iov_len;
    }
    return at == frame->length;
}

bool control_add(struct channel *ch, struct batch *batch)
{
    struct control_frame *frame = ch->control;
    bool whole = true;
    for (; frame && whole && batch->iov_count < BATCH_FRAMES; frame = frame->next) {
        if (frame->blob)
            whole = add_blob(ch, batch, frame);
        else
            batch_add(batch, frame->data + frame->sent, frame->length - frame->sent);
        batch->control_count++;
    }
    return whole && !frame;
}

void control_sent(struct channel *ch, const struct batch *batch, size_t *sent)
{
    for (int i = 0; i < batch->control_count && *sent; i++) {
        struct control_frame *frame = ch->control;
        size_t n = take(sent, frame->length - frame->sent);
        frame->sent += n;
        ch->queued -= n;
        if (frame->sent < frame->length)
            break;
        ch->control = frame->next;
        if (!ch->control)
            ch->control_end = &ch->control;
        ch->control_bytes -= frame->weight;
        control_free(frame);
    }
}
