/* Base64 (RFC 4648, section 4): the standard alphabet, padded, no line breaks. */
#ifndef EXECNODE_BASE64_H
#define EXECNODE_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

static inline size_t base64_length(size_t length) { return (length + 2) / 3 * 4; }

/* Write the text of `length` bytes, base64_length(length) characters, and return how many that are.  A text may be
 * made in parts when all but the last are of a multiple of 3 bytes. */
size_t base64_encode(uint8_t *to, const uint8_t *data, size_t length);

/* The text of the bytes of `count` pieces, one after the other. */
size_t base64_join(uint8_t *to, const struct iovec *pieces, int count);

/* The same without the processor's vector instructions, for tests. */
size_t base64_portable(uint8_t *to, const uint8_t *data, size_t length);

#endif
