/* A channel: one connection, and the cursors it streams.
 *
 * Out: control frames (answers, marks) are queued as bytes and go first; output goes straight from the logs, one
 * message a record, taking turns between processes: in CBOR header and bytes in one vectored write, in JSON encoded
 * into one space of the engine right before.  Control frames are bounded by not reading further requests while too
 * many wait; output is bounded by the logs.
 *
 * In: messages are split as the framing says; in length-prefixed frames, writes and acks are done on the spot
 * (frame.h); the rest are events.
 */
#ifndef EXECNODE_CHANNEL_H
#define EXECNODE_CHANNEL_H

#include "engine/core/blob.h"
#include "engine/core/encoding.h"
#include "engine/core/framing.h"
#include "engine/core/log.h"
#include "engine/core/reactor.h"

/* Bytes of queued control frames at which a channel stops, and starts again, to read requests. */
#define CONTROL_HIGH (1u << 20)
#define CONTROL_LOW (256u << 10)

/* What a blob counts of these, however large it is: one that is being sent lets further requests be read, and half a
 * dozen that wait do not.  Whoever makes them bounds their memory. */
#define BLOB_WEIGHT (CONTROL_LOW / 4 * 3)

/* One process as one channel sees it. */
struct cursor {
    struct log_cursor at; /* first: the log links these */
    struct process *process;
    struct channel *channel; /* NULL for a hold */
    struct cursor *prev, *next;
    struct cursor *ready_next;
    bool ready;
    bool finished; /* the last record was sent */
    uint64_t told_seq; /* marks and gaps up to here were made events */
    bool gap_told;     /* the last of them was a gap, which ends at told_offset */
    uint64_t told_offset[LOG_STREAMS];
    uint64_t skip_to;  /* records before this one are jumped over, as a gap */
    struct span name;  /* processId in this channel's session, UTF-8; owned */
    struct span label; /* the same as the channel's encoding writes it; owned */
};

/* A message, or several, or raw bytes, on the way out. */
struct control_frame {
    struct control_frame *next;
    size_t length, sent; /* bytes on the wire */
    size_t weight;       /* part of control_bytes */
    struct blob_message *blob; /* what makes the bytes; NULL: they are `data` */
    uint8_t data[];
};

struct channel {
    struct engine *engine;
    void *handle; /* the caller's */
    struct source in, out;
    const struct framing *framing;
    struct voice voice;
    bool duplex;   /* both are one descriptor: then `in` carries the interest of both */
    bool socket;
    bool broken;   /* reading or writing failed: nothing moves any more */
    bool eof;      /* nothing more is read */
    bool oversize; /* since a frame was too large */
    bool blocked; /* the kernel takes no more: EPOLLOUT is armed */
    bool paused;  /* too many answers wait: no requests are read */
    bool hot;     /* writes and acks may be done on the spot */
    bool acks;    /* the peer sends process/ack */
    bool drain_wanted;
    uint32_t max_frame;

    uint8_t *buffer; /* incoming bytes [start, end) */
    size_t buffer_cap, start, end;
    size_t scanned; /* of them, by the framing in vain */
    bool filled;    /* the last read took all the room there was */
    uint64_t handed_turn; /* the engine's turn in which a frame was handed up */
    uint64_t told_turn;   /* and the one in which an event pointed into the buffer */

    struct control_frame *control, **control_end;
    size_t control_bytes; /* what counts against reading requests */
    size_t queued;        /* bytes on the wire that have not left */
    uint8_t *tail; /* the unsent rest of one output frame */
    size_t tail_length, tail_sent;
    uint8_t *scratch; /* a spilled record on its way out */
    uint8_t output_end[8]; /* what follows the bytes of a chunk: the rest of the message, then of the framing */
    uint8_t output_end_size, output_rest; /* of all of it, of what belongs to the message */
    size_t appetite;  /* bytes that are worth encoding at once: about as many as the socket last took */

    struct cursor *cursors, *last_used;
    struct cursor *ready, **ready_end;

    bool dirty;
    struct channel *dirty_next;
};

/* Take over two descriptors (the same one twice for a socket; they are closed by channel_free).  -errno on failure,
 * the descriptors then still the caller's.  Frames speak CBOR with all members, the other framings plain JSON. */
int channel_open(struct engine *engine, int in_fd, int out_fd, enum framing_kind framing, uint32_t max_frame,
                 struct channel **channel);
void channel_free(struct channel *channel);

/* Change how it speaks; not while a process is attached. */
void channel_speak(struct channel *channel, struct voice voice);

/* Queue one message; the framing is added.  0, -ENOMEM, or -EMSGSIZE when the framing cannot carry it. */
int channel_send(struct channel *channel, const uint8_t *body, size_t length);

/* Queue bytes as they are; they come between two messages. */
int channel_send_raw(struct channel *channel, const uint8_t *data, size_t length);

/* Queue the message of a head, a blob's bytes as the encoding writes those of a byte string, and a tail.  The blob is
 * taken over, unless this fails as channel_send(). */
int channel_send_blob(struct channel *channel, struct span head, struct blob *blob, struct span tail);

/* Stream a process from the record after `after_seq` under `name`.  NULL when out of memory. */
struct cursor *channel_attach(struct channel *channel, struct process *process, struct span name, uint64_t after_seq,
                              bool protect);
struct cursor *channel_cursor(struct channel *channel, const struct process *process);
void cursor_free(struct cursor *cursor);

/* Send the message that stands for the records up to `seq` (a mark or a gap) and move the cursor past them. */
int cursor_pass(struct cursor *cursor, uint64_t seq, const uint8_t *body, size_t length);

/* Jump over output that is not sent yet, up to the next mark or the end.  The jump is reported as a gap. */
void cursor_skip(struct cursor *cursor);

/* The peer has everything up to `seq`. */
void cursor_acked(struct cursor *cursor, uint64_t seq);

/* The first record that must be kept in case this channel's peer comes back. */
uint64_t cursor_unconfirmed(const struct cursor *cursor);

/* Send EVENT_DRAINED when nothing queued by channel_send() is left. */
void channel_notify_drained(struct channel *channel);

/* For the reactor and process.c. */
void channel_readable(struct channel *channel);
void channel_hung_up(struct channel *channel);
void channel_writable(struct channel *channel);
void channel_flush(struct channel *channel);
void channel_touch(struct channel *channel);
void cursor_ready(struct cursor *cursor);

#endif
