/* A second, independent reader of CBOR (RFC 8949) for the tests, and the little of a writer that they need. */
#ifndef EXECNODE_TEST_CBOR_H
#define EXECNODE_TEST_CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/core/frame.h"

enum { CBOR_UNSIGNED, CBOR_NEGATIVE, CBOR_BYTES, CBOR_TEXT, CBOR_ARRAY, CBOR_MAP, CBOR_TAG, CBOR_SIMPLE };

/* One item without what it contains: a message is a flat list of them. */
struct cbor_token {
    int major;
    uint64_t argument;
    struct span item;    /* as encoded: the head, and the contents of a string */
    struct span content; /* of a string */
};

/* Split into tokens.  Returns how many there are; -1 when malformed, of indefinite length or more than `max`. */
int cbor_tokens(const uint8_t *data, size_t length, struct cbor_token *tokens, int max);

bool cbor_is_text(const struct cbor_token *token, const char *text);

/* What request_read() must find, worked out from the tokens. */
enum request_kind cbor_request(const uint8_t *body, size_t length, struct request *request);

/* A message being written; `data` has room for all of it. */
struct cbor_writer {
    uint8_t *data;
    size_t length;
};

void cbor_head(struct cbor_writer *to, int major, uint64_t argument);
void cbor_string(struct cbor_writer *to, int major, const void *data, size_t length);
void cbor_text(struct cbor_writer *to, const char *text);
void cbor_raw(struct cbor_writer *to, const void *data, size_t length);

#endif
