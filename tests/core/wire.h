/* A client's end of the wire for the story test: splits what a node sends in any framing, and reads it in either
 * encoding.
 */
#ifndef EXECNODE_TEST_WIRE_H
#define EXECNODE_TEST_WIRE_H

#include <stdbool.h>

#include "cbor.h"
#include "engine/core/framing.h"

struct wire {
    enum framing_kind framing;
    bool json;
    size_t joined; /* bytes of a WebSocket message whose last part is still to come */
    uint8_t message[1 << 18];
    uint8_t room[1 << 18];
};

/* The next message in `length` bytes at `data`.  Returns the bytes used up, 0 when it is not there yet; *body is not
 * set (its data is NULL) when they are not a message's last.  Fails the test when it is no framing. */
size_t wire_next(struct wire *wire, const uint8_t *data, size_t length, struct span *body);

/* The tokens of a message, as cbor_tokens(). */
int wire_tokens(struct wire *wire, struct span body, struct cbor_token *tokens, int max);

#endif
