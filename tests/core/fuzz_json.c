/* Fuzz target: a notification whose name and bytes are anything, written as JSON and read back by a second reader.
 *
 * The first byte is the length of the name; what follows it is the chunk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/base64.h"
#include "engine/core/notice.h"
#include "json_tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static bool same(struct span a, struct span b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || data[0] > size - 1)
        return 0;
    struct span name = {data + 1, data[0]}, chunk = {data + 1 + data[0], size - 1 - data[0]};
    struct voice voice = {&json_encoding, size & 1};
    struct cbor_token tokens[16];
    uint8_t *label = malloc(json_encoding.escape(NULL, name) + 1);
    REQUIRE(label);
    struct span escaped = {label, json_encoding.escape(label, name)};
    size_t most = OUTPUT_HEAD_SIZE + escaped.length + base64_length(chunk.length) + OUTPUT_TAIL_SIZE;
    uint8_t *message = malloc(most), *room = malloc(most);
    REQUIRE(message && room);
    size_t length = output_head(message, voice, escaped, size, 0, size, (uint32_t)chunk.length);
    struct iovec pieces[2] = {{(uint8_t *)chunk.data, chunk.length / 3}};
    pieces[1] = (struct iovec){(uint8_t *)chunk.data + pieces[0].iov_len, chunk.length - pieces[0].iov_len};
    length += base64_join(message + length, pieces, 2);
    length += output_tail(message + length, voice);
    REQUIRE(length <= most);
    int count = json_tokens(message, length, tokens, 16, room);
    REQUIRE(count == (voice.plain ? 13 : 15));
    REQUIRE(same(tokens[6].content, name) && tokens[8].argument == size);
    REQUIRE(same(tokens[count - 1].content, chunk));
    free(label);
    free(message);
    free(room);
    return 0;
}
