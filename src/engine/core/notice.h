/* The notifications that the engine makes itself, in either encoding: process/output, process/exited and
 * process/closed.  They are messages without a frame around them; framing.h has that.
 *
 * `name` is the processId as the encoding's escape() left it.
 */
#ifndef EXECNODE_NOTICE_H
#define EXECNODE_NOTICE_H

#include "engine/core/encoding.h"

/* The part of an output notification that comes before the chunk's bytes; `to` has room for
 * OUTPUT_HEAD_SIZE + name.length bytes.  Returns the bytes written. */
#define OUTPUT_HEAD_SIZE 192u
size_t output_head(uint8_t *to, struct voice voice, struct span name, uint64_t seq, int stream, uint64_t offset,
                   uint32_t length);

/* The part that comes after them; `to` has room for OUTPUT_TAIL_SIZE bytes. */
#define OUTPUT_TAIL_SIZE 4u
size_t output_tail(uint8_t *to, struct voice voice);

/* How a process ended, in the words of the wire. */
struct ending {
    int code;           /* exit code; 128 + number for a signal; -1 when the status was lost */
    const char *reason; /* exit, signal, timeout, killed, ... */
    const char *signal; /* SIGKILL and the like, or NULL */
};

/* The notifications of a log's marks: process/exited, and process/closed with the bytes and CRC-32C of the streams in
 * `streams` (a bit for each enum log_stream).  `to` has room for MARK_SIZE + name.length bytes.  They return the
 * bytes written. */
#define MARK_SIZE 400u
size_t exited_notice(uint8_t *to, struct voice voice, struct span name, uint64_t seq, struct ending ending);
size_t closed_notice(uint8_t *to, struct voice voice, struct span name, uint64_t seq, unsigned streams,
                     const uint64_t *totals, const uint32_t *crcs);

#endif
