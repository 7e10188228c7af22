/* What the parts of a channel share: its life and receiving (channel.c), its cursors (cursor.c), the queue of what is
 * not output (control.c), sending (send.c).  channel.h says what is offered to others. */
#ifndef EXECNODE_CHANNEL_PARTS_H
#define EXECNODE_CHANNEL_PARTS_H

#include <sys/uio.h>

#include "engine/core/channel.h"
#include "engine/core/notice.h"

/* channel.c */
struct event *channel_event(struct channel *channel, enum event_kind kind); /* NULL when out of memory */
void channel_update_interest(struct channel *channel);
void channel_break(struct channel *channel, int error);

/* cursor.c */
struct cursor *cursor_named(struct channel *channel, struct span name);
void cursor_moved(struct cursor *cursor);
void cursor_tell_marks(struct cursor *cursor);
void cursor_tell_missing(struct cursor *cursor, uint64_t end);

#define BATCH_FRAMES 32
#define BATCH_BYTES (256u << 10)
/* Names up to this length have their header in the batch; others take the slow way. */
#define SHORT_NAME 256u
#define NOTICE_SIZE (HEADER_MAX + MARK_SIZE)

/* One vectored write being put together. */
struct batch {
    struct iovec iov[1 + BATCH_FRAMES * 5];
    int iov_count;
    int control_count; /* control frames in it: more may be queued while it is being put together */
    size_t bytes, limit;
    size_t space_used; /* of the engine's */
    struct {
        struct cursor *cursor;
        int iov_first, iov_count;
        uint32_t length; /* of the chunk */
        uint8_t stream, mark;
    } frames[BATCH_FRAMES];
    int frame_count;
    uint8_t headers[BATCH_FRAMES][NOTICE_SIZE + SHORT_NAME];
    uint8_t *long_header;
    bool scratch_used;
};

static inline void batch_add(struct batch *batch, const void *data, size_t length)
{
    batch->iov[batch->iov_count++] = (struct iovec){(void *)data, length};
    batch->bytes += length;
}

static inline size_t take(size_t *sent, size_t length)
{
    size_t n = *sent < length ? *sent : length;
    *sent -= n;
    return n;
}

/* control.c */
void control_queue(struct channel *channel, struct control_frame *frame);
void control_free(struct control_frame *frame);
/* Add what waits.  False when more waits than fits: then output, which comes after it, has to wait too. */
bool control_add(struct channel *channel, struct batch *batch);
void control_sent(struct channel *channel, const struct batch *batch, size_t *sent);

/* send.c */
/* Have the space in which output is encoded.  False when out of memory; it is the engine's, and stays. */
bool channel_space(struct channel *channel);
/* Put together and send one batch.  Returns the bytes sent, 0 when there is nothing to send or no room. */
size_t channel_send_batch(struct channel *channel);

#endif
