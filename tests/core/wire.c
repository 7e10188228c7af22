#include "wire.h"

#include <string.h>

#include "check.h"
#include "json_tokens.h"

/* RFC 6455, section 5.2, as a client reads it. */
static size_t next_part(struct wire *wire, const uint8_t *data, size_t length, struct span *body)
{
    static const size_t widths[] = {[126] = 2, [127] = 8};
    if (length < 2)
        return 0;
    CHECK((data[0] & 0x70) == 0 && data[1] < 128);
    size_t width = data[1] < 126 ? 0 : widths[data[1]];
    uint64_t size = width ? 0 : data[1];
    if (length < 2 + width)
        return 0;
    for (size_t i = 0; i < width; i++)
        size = size << 8 | data[2 + i];
    CHECK(width == 0 || size >= (width == 2 ? 126 : 65536)); /* the shortest form */
    if (length - 2 - width < size)
        return 0;
    int opcode = data[0] & 15;
    if (opcode == 9) { /* a ping: it may come between messages */
        CHECK_EQ(wire->joined, 0);
        return 2 + width + (size_t)size;
    }
    CHECK_EQ(opcode, wire->joined ? 0 : wire->json ? 1 : 2);
    CHECK(size <= sizeof wire->message - wire->joined);
    memcpy(wire->message + wire->joined, data + 2 + width, (size_t)size);
    wire->joined += (size_t)size;
    if (data[0] & 0x80) {
        *body = (struct span){wire->message, wire->joined};
        wire->joined = 0;
    }
    return 2 + width + (size_t)size;
}

size_t wire_next(struct wire *wire, const uint8_t *data, size_t length, struct span *body)
{
    *body = (struct span){NULL, 0};
    if (wire->framing == FRAMING_WEBSOCKET)
        return next_part(wire, data, length, body);
    if (wire->framing == FRAMING_LINES) {
        const uint8_t *feed = memchr(data, '\n', length);
        *body = (struct span){feed ? data : NULL, feed ? (size_t)(feed - data) : 0};
        return feed ? body->length + 1 : 0;
    }
    size_t size = 0;
    for (size_t i = 0; i < 4 && length >= 4; i++)
        size = size << 8 | data[i];
    if (length < 4 || length - 4 < size)
        return 0;
    *body = (struct span){data + 4, size};
    return 4 + size;
}

int wire_tokens(struct wire *wire, struct span body, struct cbor_token *tokens, int max)
{
    CHECK(body.length <= sizeof wire->room);
    return wire->json ? json_tokens(body.data, body.length, tokens, max, wire->room)
                      : cbor_tokens(body.data, body.length, tokens, max);
}
