/* Fuzz target: incoming bytes through the splitter and the reader of requests, against a second reader.
 *
 * The first byte chooses the largest frame; the rest is what a connection sends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbor.h"
#include "engine/core/frame.h"
#include "engine/core/framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static bool same(struct span a, struct span b) { return a.length == b.length && (a.length == 0 || a.data == b.data); }

static void check_answer(struct span id)
{
    uint8_t *answer = malloc(ACCEPTED_SIZE + id.length);
    struct cbor_token tokens[8];
    REQUIRE(answer);
    size_t length = accepted_write(answer, id);
    REQUIRE(length <= ACCEPTED_SIZE + id.length && frame_length(answer) == length - FRAME_LENGTH_SIZE);
    REQUIRE(cbor_tokens(answer + FRAME_LENGTH_SIZE, length - FRAME_LENGTH_SIZE, tokens, 8) == 7);
    REQUIRE(cbor_is_text(&tokens[1], "id") && tokens[2].item.length == id.length);
    REQUIRE(memcmp(tokens[2].item.data, id.data, id.length) == 0);
    free(answer);
}

static void check_request(const uint8_t *body, size_t length)
{
    struct request request, expected;
    /* A copy of exactly this size: reading past its end is seen. */
    uint8_t *copy = malloc(length ? length : 1);
    REQUIRE(copy);
    memcpy(copy, body, length);
    enum request_kind kind = request_read(copy, length, &request);
    REQUIRE(kind == cbor_request(copy, length, &expected));
    if (kind != REQUEST_OTHER) {
        REQUIRE(same(request.id, expected.id) && same(request.process, expected.process));
        REQUIRE(same(request.chunk, expected.chunk) && same(request.write_id, expected.write_id));
        REQUIRE(request.seq == expected.seq);
    }
    if (kind == REQUEST_WRITE)
        check_answer(request.id);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint32_t max = data[0] * 16u;
    struct found found;
    check_request(data + 1, size - 1);
    for (data++, size--;;) {
        enum frame_split split = framings[FRAMING_FRAMES].split(data, size, max, false, &(size_t){0}, &found);
        if (split == FRAME_TOO_LARGE)
            REQUIRE(size >= FRAME_LENGTH_SIZE && found.size > max);
        if (split == FRAME_PARTIAL)
            REQUIRE(found.size <= max && size < FRAME_LENGTH_SIZE + found.size);
        if (split != FRAME_WHOLE)
            return 0;
        REQUIRE(found.size <= max && found.body == data + FRAME_LENGTH_SIZE);
        REQUIRE(found.taken == FRAME_LENGTH_SIZE + found.size && found.taken <= size);
        check_request(found.body, (size_t)found.size);
        data += found.taken;
        size -= found.taken;
    }
}
