/* CRC-32C against the vectors of RFC 3720 and against itself by other ways. */
#include "engine/core/crc32c.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

#define LENGTH_MAX 9000

static uint8_t data[LENGTH_MAX + 16];

static void make_data(void)
{
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof data; i++) {
        state = state * 1664525u + 1013904223u;
        data[i] = (uint8_t)(state >> 24);
    }
}

/* As the definition says: bit by bit. */
static uint32_t by_definition(const uint8_t *at, size_t length)
{
    uint32_t crc = 0xffffffff;
    while (length--) {
        crc ^= *at++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

/* RFC 3720, B.4 (there the CRC's bytes are listed lowest first). */
TEST(the_vectors_of_rfc_3720_come_out)
{
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18,
        0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    };
    memset(ones, 0xff, sizeof ones);
    for (uint8_t i = 0; i < 32; i++) {
        up[i] = i;
        down[i] = 31 - i;
    }
    uint32_t (*const ways[])(uint32_t, const void *, size_t) = {crc32c, crc32c_portable};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(ways[i](0, zeros, 32), 0x8a9136aa);
        CHECK_EQ(ways[i](0, ones, 32), 0x62a8ab43);
        CHECK_EQ(ways[i](0, up, 32), 0x46dd794e);
        CHECK_EQ(ways[i](0, down, 32), 0x113fdb5c);
        CHECK_EQ(ways[i](0, read_command, 48), 0xd9963a56);
        CHECK_EQ(ways[i](0, "123456789", 9), 0xe3069283);
    }
}

TEST(the_table_agrees_with_the_definition)
{
    make_data();
    for (size_t length = 0; length < 300; length++)
        CHECK_EQ(crc32c_portable(0, data + 1, length), by_definition(data + 1, length));
}

/* Each length up to several times three lanes, at each alignment. */
TEST(every_length_and_alignment_agrees_with_the_table)
{
    make_data();
    for (size_t alignment = 0; alignment < 8; alignment++) {
        uint32_t expected = 0;
        for (size_t length = 0; length <= LENGTH_MAX; length++) {
            CHECK_EQ(crc32c(0, data + alignment, length), expected);
            expected = crc32c_portable(expected, data + alignment + length, 1);
        }
    }
}

TEST(a_crc_goes_on_from_any_cut)
{
    make_data();
    uint32_t whole = crc32c(0, data, LENGTH_MAX);
    for (size_t cut = 0; cut <= LENGTH_MAX; cut++)
        CHECK_EQ(crc32c(crc32c(0, data, cut), data + cut, LENGTH_MAX - cut), whole);
}

TEST(nothing_is_read_beyond_the_end)
{
    make_data();
    for (size_t length = 0; length < 70; length++) {
        uint8_t *exact = malloc(length + 1); /* the last byte differs, and must not count */
        memcpy(exact, data, length);
        exact[length] = 0;
        uint32_t crc = crc32c(0, exact, length);
        exact[length] = 0xff;
        CHECK_EQ(crc32c(0, exact, length), crc);
        free(exact);
    }
}
