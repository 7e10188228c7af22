/* The little CBOR (RFC 8949) that the engine itself speaks: the frames that make up nearly all traffic.
 *
 *  - out: process/output notifications, a header followed by bytes straight from the log;
 *  - in:  process/write and process/ack, done on the spot.
 *
 * Everything else is handed up as bytes.  A frame on a byte stream is a 4-byte big-endian length and one CBOR item.
 * The reader here accepts only the plain shape that encoders produce for these two messages; whatever it does not
 * recognise is somebody else's to read and, if need be, to refuse.
 */
#ifndef EXECNODE_FRAME_H
#define EXECNODE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* What splitting a buffer of incoming bytes found at its front. */
enum frame_split { FRAME_PARTIAL, FRAME_WHOLE, FRAME_TOO_LARGE };

/* Look for a whole frame in `length` bytes at `data`; *body and *size are set for FRAME_WHOLE, *size alone for the
 * others (the announced size, or 0 while unknown). */
enum frame_split frame_split(const uint8_t *data, size_t length, uint32_t max, const uint8_t **body, uint32_t *size);

struct span {
    const uint8_t *data;
    size_t length;
};

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

/* The part of an output notification that comes before the chunk's bytes, length prefix included.
 * `to` has room for OUTPUT_HEADER_SIZE + name.length bytes.  Returns the bytes written. */
#define OUTPUT_HEADER_SIZE 128u
size_t output_header(uint8_t *to, struct span name, uint64_t seq, int stream, uint64_t offset, uint32_t length);

/* How a process ended, in the words of the wire. */
struct ending {
    int code;           /* exit code; 128 + number for a signal; -1 when the status was lost */
    const char *reason; /* exit, signal, timeout, killed, ... */
    const char *signal; /* SIGKILL and the like, or NULL */
};

/* The notifications of a log's marks, whole frames, length prefix included: process/exited, and process/closed with
 * the bytes and CRC-32C of the streams in `streams` (a bit for each enum log_stream).  `to` has room for
 * MARK_FRAME_SIZE + name.length bytes.  They return the bytes written. */
#define MARK_FRAME_SIZE 256u
size_t exited_frame(uint8_t *to, struct span name, uint64_t seq, struct ending ending);
size_t closed_frame(uint8_t *to, struct span name, uint64_t seq, unsigned streams, const uint64_t *totals,
                    const uint32_t *crcs);

#endif
