/* A large answer whose bytes are encoded only as the socket takes them.
 *
 * A blob is memory of our own, outside the interpreter and outside the heap, so that the kernel has it back the moment
 * it is freed.  A blob_message is the message around it.  Nothing of it is kept encoded: any piece of it can be made
 * from its position on the wire, so what the socket did not take is made again.
 */
#ifndef EXECNODE_BLOB_H
#define EXECNODE_BLOB_H

#include <sys/uio.h>

#include "engine/core/encoding.h"
#include "engine/core/framing.h"

struct blob {
    uint8_t *data;
    size_t length, mapped;
};

/* Bytes of a part of a large message: short enough for a peer to look at one after the other. */
#define BLOB_PART (1u << 20)

/* Zeros at first.  -ENOMEM when there is no memory. */
int blob_init(struct blob *blob, size_t length);
void blob_free(struct blob *blob);

/* Only the first `length` bytes are wanted; pages behind them are given back. */
void blob_truncate(struct blob *blob, size_t length);

struct blob_message {
    struct blob blob;
    struct layout layout;
    bool base64;
    struct span head;
    struct span tail; /* with what the framing has after a message */
};

/* Bytes of the message without its framing. */
uint64_t blob_message_length(size_t around, size_t length, bool base64);

/* The piece at `position` on the wire, of up to `limit` bytes and at least one.  It is in the message, or made in
 * `space`, which has room for limit + BLOB_SPACE_MORE bytes. */
#define BLOB_SPACE_MORE 16u
struct iovec blob_message_piece(const struct blob_message *message, uint64_t position, size_t limit, uint8_t *space);

#endif
