/* Base64 against a decoder and an encoder that go one character at a time, and the RFC's own examples. */
#include "engine/core/base64.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "json_tokens.h"

static size_t simple(uint8_t *to, const uint8_t *data, size_t length)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = 0;
    for (size_t bit = 0; bit < 8 * length; bit += 6) {
        unsigned six = 0;
        for (size_t i = bit; i < bit + 6; i++)
            six = six << 1 | (i < 8 * length ? data[i / 8] >> (7 - i % 8) & 1u : 0);
        to[size++] = (uint8_t)alphabet[six];
    }
    while (size % 4)
        to[size++] = '=';
    return size;
}

/* Buffers of exactly the sizes that are allowed, so that a step outside is seen. */
static void check_encoding(const uint8_t *data, size_t length)
{
    size_t size = base64_length(length);
    uint8_t *copy = malloc(length + 1), *text = malloc(size + 1), *expected = malloc(size + 4);
    uint8_t *exact = length ? realloc(copy, length) : copy;
    uint8_t *room = realloc(text, size ? size : 1);
    memcpy(exact, data, length);
    CHECK_EQ(simple(expected, data, length), size);
    CHECK_EQ(base64_encode(room, exact, length), size);
    CHECK_BYTES(room, expected, size);
    memset(room, 0, size);
    CHECK_EQ(base64_portable(room, exact, length), size);
    CHECK_BYTES(room, expected, size);
    CHECK_EQ(base64_read(expected, room, size), (long)length);
    CHECK_BYTES(expected, data, length);
    free(exact);
    free(room);
    free(expected);
}

TEST(the_examples_of_the_rfc_hold)
{
    static const char *const texts[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t i = 0; i < 7; i++) {
        char text[16] = {0};
        base64_encode((uint8_t *)text, (const uint8_t *)"foobar", i);
        CHECK_TEXT(text, texts[i]);
    }
}

TEST(every_length_and_every_byte_is_encoded_as_a_simple_encoder_does)
{
    static uint8_t data[2048];
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)((state = state * 1664525 + 1013904223) >> 24);
    for (size_t length = 0; length < 700; length++)
        check_encoding(data + length, length);
    for (int value = 0; value < 256; value++) {
        memset(data, value, 200);
        check_encoding(data, 200);
    }
    for (unsigned six = 0; six < 64; six++) /* every character at every place of a block */
        for (size_t at = 0; at < 64; at++) {
            memset(data, 0, 96);
            for (size_t bit = 0; bit < 6; bit++)
                if (six >> (5 - bit) & 1)
                    data[24 + (6 * at + bit) / 8] |= (uint8_t)(0x80 >> (6 * at + bit) % 8);
            check_encoding(data, 96);
        }
}

TEST(pieces_join_to_the_text_of_the_whole)
{
    static uint8_t data[200], expected[300], text[300];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37);
    size_t lengths[] = {0, 1, 2, 3, 4, 5, 90, 97};
    for (size_t i = 0; i < 8; i++)
        for (size_t k = 0; k < 8; k++)
            for (size_t m = 0; m < 3; m++) {
                struct iovec pieces[] = {{data, lengths[i]}, {data + lengths[i], lengths[k]},
                                         {data + lengths[i] + lengths[k], m}};
                size_t size = simple(expected, data, lengths[i] + lengths[k] + m);
                CHECK_EQ(base64_join(text, pieces, 3), size);
                CHECK_BYTES(text, expected, size);
                if (m == 0)
                    CHECK_EQ(base64_join(text, pieces, 2), size);
            }
}
