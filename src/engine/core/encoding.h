/* How the engine writes the messages it makes itself: one table for CBOR (RFC 8949, in frame.c) and one for JSON
 * (RFC 8259, in json.c).  Each function writes at `to` and returns where it stopped.
 */
#ifndef EXECNODE_ENCODING_H
#define EXECNODE_ENCODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
    const uint8_t *data;
    size_t length;
};

struct encoding {
    uint8_t *(*map)(uint8_t *to, unsigned members);
    uint8_t *(*map_end)(uint8_t *to);
    uint8_t *(*key)(uint8_t *to, const char *key); /* and `text`: plain ASCII of ours, where nothing is to be escaped */
    uint8_t *(*text)(uint8_t *to, const char *text);
    uint8_t *(*label)(uint8_t *to, struct span escaped);
    uint8_t *(*number)(uint8_t *to, uint64_t number);
    uint8_t *(*negative)(uint8_t *to, int64_t number);
    uint8_t *(*no)(uint8_t *to);                      /* false */
    uint8_t *(*bytes)(uint8_t *to, uint64_t length);  /* what stands before the contents of a byte string */
    uint8_t *(*bytes_end)(uint8_t *to);
    size_t (*escape)(uint8_t *to, struct span text); /* a text for label(); returns its size; `to` may be NULL */
    bool base64; /* it is text, in which the contents of a byte string are base64; else they stand as they are */
};

extern const struct encoding cbor_encoding, json_encoding;

/* How a channel speaks: in which encoding, and with the members that the dialect has or also with our own. */
struct voice {
    const struct encoding *encoding;
    bool plain;
};

#endif
