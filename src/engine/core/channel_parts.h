/* What the three parts of a channel share: its life and receiving (channel.c), its cursors (cursor.c), sending (send.c).
 * channel.h says what is offered to others. */
#ifndef EXECNODE_CHANNEL_PARTS_H
#define EXECNODE_CHANNEL_PARTS_H

#include "engine/core/channel.h"

/* channel.c */
struct event *channel_event(struct channel *channel, enum event_kind kind); /* NULL when out of memory */
void channel_update_interest(struct channel *channel);
void channel_break(struct channel *channel, int error);

/* cursor.c */
struct cursor *cursor_named(struct channel *channel, struct span name);
void cursor_moved(struct cursor *cursor);
void cursor_tell_marks(struct cursor *cursor);
void cursor_tell_missing(struct cursor *cursor, uint64_t end);

/* send.c */
int channel_queue(struct channel *channel, struct control_frame *frame);
/* Put together and send one batch.  Returns the bytes sent, 0 when there is nothing to send or no room. */
size_t channel_send_batch(struct channel *channel);

#endif
