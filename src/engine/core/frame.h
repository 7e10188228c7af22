/* The little CBOR (RFC 8949) that the engine itself speaks.
 *
 *  - in:  process/write and process/ack, done on the spot;
 *  - out: the answer to a write that was accepted, and, through cbor_encoding, the notifications of notice.h.
 *
 * Everything else is handed up as bytes.  The reader here accepts only the plain shape that encoders produce for these
 * two messages; whatever it does not recognise is somebody else's to read and, if need be, to refuse.
 */
#ifndef EXECNODE_FRAME_H
#define EXECNODE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/core/encoding.h"

#define FRAME_LENGTH_SIZE 4u

static inline uint32_t frame_length(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void frame_put_length(uint8_t *at, uint32_t length)
{
    at[0] = (uint8_t)(length >> 24);
    at[1] = (uint8_t)(length >> 16);
    at[2] = (uint8_t)(length >> 8);
    at[3] = (uint8_t)length;
}

enum request_kind { REQUEST_OTHER, REQUEST_WRITE, REQUEST_ACK };

/* A process/write request or process/ack notification; spans point into the frame. */
struct request {
    struct span id;       /* the encoded id, as it will be echoed */
    struct span process;  /* processId, UTF-8 */
    struct span chunk;    /* write */
    struct span write_id; /* write; length 0: none */
    uint64_t seq;         /* ack */
};

enum request_kind request_read(const uint8_t *body, size_t length, struct request *request);

/* The answer to a write that was accepted: {"id": ID, "result": {"status": "accepted"}}, length prefix included.
 * `to` has room for ACCEPTED_SIZE + id.length bytes.  Returns the bytes written. */
#define ACCEPTED_SIZE 48u
size_t accepted_write(uint8_t *to, struct span id);

#endif
