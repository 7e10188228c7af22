/* A reader of JSON (RFC 8259) for the tests, which gives what cbor_tokens() gives: so a message in either encoding is
 * looked at by the same checks.
 */
#ifndef EXECNODE_TEST_JSON_TOKENS_H
#define EXECNODE_TEST_JSON_TOKENS_H

#include "cbor.h"

/* Split into tokens.  The value of a member `chunk` is base64 and becomes bytes; other strings lose their escapes; what
 * is decoded goes to `room`, of at least `length` bytes.  Returns how many tokens there are; -1 when it is not JSON as
 * our encoder writes it: without white space, fractions and arrays. */
int json_tokens(const uint8_t *data, size_t length, struct cbor_token *tokens, int max, uint8_t *room);

/* A plain decoder of base64 with padding: the bytes, or -1. */
long base64_read(uint8_t *to, const uint8_t *text, size_t length);

#endif
