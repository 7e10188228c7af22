/* The header of a WebSocket frame as a server sends it, unmasked: RFC 6455, section 5.2. */
#ifndef EXECNODE_WEBSOCKET_H
#define EXECNODE_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum websocket_opcode { WEBSOCKET_CONTINUATION = 0, WEBSOCKET_TEXT = 1, WEBSOCKET_BINARY = 2 };

/* A peer may refuse a message above this size in one frame. */
#define WEBSOCKET_FRAME_MAX (16u << 20)

#define WEBSOCKET_HEADER_MAX 10u

/* Write the header of a frame with `length` bytes; `last`: it ends its message.  Returns the bytes written. */
size_t websocket_header(uint8_t *to, enum websocket_opcode opcode, bool last, uint64_t length);

#endif
