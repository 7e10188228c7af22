/* How messages are kept apart on a byte stream: a table of three ways.
 *
 *  - frames: a 4-byte big-endian length before each, both ways;
 *  - lines: a line feed after each, both ways; a carriage return before it and blank lines do not count;
 *  - WebSocket (RFC 6455): incoming bytes are nobody's here and come up as they are; outgoing messages are those of a
 *    server, unmasked, and large ones go in parts of their own frame each, which other messages may not come between.
 */
#ifndef EXECNODE_FRAMING_H
#define EXECNODE_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum framing_kind { FRAMING_FRAMES, FRAMING_LINES, FRAMING_WEBSOCKET, FRAMINGS };

/* What splitting a buffer of incoming bytes found at its front. */
enum frame_split { FRAME_PARTIAL, FRAME_WHOLE, FRAME_TOO_LARGE };

struct found {
    const uint8_t *body; /* of FRAME_WHOLE; NULL: there is nothing to hand up, only to pass over */
    uint64_t size;       /* of the body; of a frame that is too large as announced, of a line so far */
    size_t taken;        /* bytes of the buffer that FRAME_WHOLE stands for */
};

struct layout;

struct framing {
    /* Look for a whole message of at most `max` bytes in `length` bytes at `data`; `ended`: no more will come.
     * *scanned is how many of these bytes an earlier look has seen in vain; 0 at the start of a message. */
    enum frame_split (*split)(const uint8_t *data, size_t length, uint32_t max, bool ended, size_t *scanned,
                              struct found *found);
    /* Write what stands before the part of a message that starts at `start`.  Returns its size. */
    size_t (*header)(uint8_t *to, const struct layout *layout, uint64_t start);
    const char *end; /* what stands after a message */
    uint64_t max;    /* bytes of the largest message that can be sent */
    bool parts;      /* it may be cut into parts */
    bool raw;        /* incoming bytes are handed up as they come */
};

extern const struct framing framings[FRAMINGS];

#define HEADER_MAX 10u

/* How one message lies on the wire. */
struct layout {
    const struct framing *framing;
    bool text;
    uint64_t length;
    uint64_t part; /* bytes of each part but the last */
};

/* A message above `most` bytes goes in parts of `part` bytes where that is possible. */
struct layout layout_plan(const struct framing *framing, bool text, uint64_t length, uint64_t most, uint64_t part);

/* Bytes on the wire, and where a part's header begins among them. */
uint64_t layout_size(const struct layout *layout);
uint64_t layout_position(const struct layout *layout, uint64_t start);

#endif
