/* How messages are kept apart on the way in, and laid out on the way out. */
#include "engine/core/framing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "engine/core/frame.h"
#include "engine/core/websocket.h"

/* ---- frames ----------------------------------------------------------------------------------------------------- */

/* Split a copy of exactly this size, so that reading past it is seen. */
static enum frame_split split(const uint8_t *data, size_t length, uint32_t max, uint64_t *size)
{
    uint8_t *copy = malloc(length ? length : 1);
    struct found found;
    memcpy(copy, data, length);
    enum frame_split result = framings[FRAMING_FRAMES].split(copy, length, max, false, &(size_t){0}, &found);
    if (result == FRAME_WHOLE)
        CHECK(found.body == copy + FRAME_LENGTH_SIZE && found.taken == FRAME_LENGTH_SIZE + found.size);
    *size = found.size;
    free(copy);
    return result;
}

TEST(a_frame_is_whole_at_its_last_byte_and_partial_at_every_cut_before)
{
    static const uint32_t sizes[] = {0, 1, 255, 256, 65535, 65536, 70001};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *data = calloc(1, FRAME_LENGTH_SIZE + sizes[i] + 7);
        uint64_t size;
        frame_put_length(data, sizes[i]);
        CHECK_EQ(frame_length(data), sizes[i]);
        for (size_t cut = 0; cut < FRAME_LENGTH_SIZE + sizes[i]; cut += cut < 300 ? 1 : 997) {
            CHECK_EQ(split(data, cut, UINT32_MAX, &size), FRAME_PARTIAL);
            CHECK_EQ(size, cut < FRAME_LENGTH_SIZE ? 0 : sizes[i]);
        }
        for (size_t more = 0; more < 8; more++) { /* whatever comes after it */
            CHECK_EQ(split(data, FRAME_LENGTH_SIZE + sizes[i] + more, sizes[i], &size), FRAME_WHOLE);
            CHECK_EQ(size, sizes[i]);
        }
        free(data);
    }
}

TEST(a_frame_over_the_limit_is_refused_by_its_announcement)
{
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff}, over[] = {0, 1, 0, 1}, most[] = {0, 1, 0, 0};
    uint64_t size;
    CHECK_EQ(split(huge, 3, 65536, &size), FRAME_PARTIAL);
    CHECK_EQ(split(huge, 4, 65536, &size), FRAME_TOO_LARGE);
    CHECK_EQ(size, UINT32_MAX);
    CHECK_EQ(split(over, 4, 65536, &size), FRAME_TOO_LARGE);
    CHECK_EQ(size, 65537);
    CHECK_EQ(split(most, 4, 65536, &size), FRAME_PARTIAL);
    CHECK_EQ(split(huge, 4, UINT32_MAX, &size), FRAME_PARTIAL);
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

/* What a stream becomes when it comes in pieces of `step` bytes: its lines, each with a bar after it.  NULL: one was
 * too large. */
static const char *lines(const char *text, size_t step, uint32_t max)
{
    static char out[4096];
    size_t length = strlen(text), start = 0, scanned = 0, used = 0;
    for (size_t end = step;; end += step) {
        bool ended = end > length;
        size_t here = ended ? length : end;
        struct found found;
        enum frame_split result;
        uint8_t *copy = malloc(here - start + 1);
        memcpy(copy, text + start, here - start);
        size_t at = 0;
        while ((result = framings[FRAMING_LINES].split(copy + at, here - start - at, max, ended, &scanned, &found)) ==
               FRAME_WHOLE) {
            CHECK(!found.body || found.body == copy + at);
            if (found.body)
                used += (size_t)sprintf(out + used, "%.*s|", (int)found.size, (const char *)found.body);
            at += found.taken;
            scanned = 0;
        }
        free(copy);
        start += at;
        out[used] = 0;
        if (result == FRAME_TOO_LARGE) {
            CHECK(found.size > max);
            return NULL;
        }
        if (ended) {
            CHECK_EQ(start, length);
            return out;
        }
    }
}

TEST(a_stream_becomes_its_lines_however_it_is_cut)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"a", "a|"},
        {"a\n", "a|"},
        {"a\nb", "a|b|"},
        {"{}\r\n{}\n", "{}|{}|"},
        {"\n\r\n \t\r \n", ""},
        {" \r", ""},
        {" a \n", " a |"},
        {"a\rb\r\r\n", "a\rb\r|"},
        {"one\n\ntwo\n   \nthree\r", "one|two|three|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step < 25; step++)
            CHECK_TEXT(lines(cases[i][0], step, 100), cases[i][1]);
}

TEST(a_line_over_the_limit_is_refused_wherever_it_is_cut)
{
    for (size_t step = 1; step < 25; step++) {
        CHECK_TEXT(lines("12345\n12345\r\n12345", step, 5), "12345|12345|12345|");
        CHECK(!lines("123456\n", step, 5));
        CHECK(!lines("1\n123456", step, 5));
        CHECK(!lines("12345\r6\n", step, 5));
        CHECK(!lines("12345\r\r\n", step, 5));
    }
}

TEST(a_long_line_is_searched_once)
{
    struct found found;
    size_t scanned = 0;
    uint8_t data[1000];
    memset(data, 'x', sizeof data);
    CHECK_EQ(framings[FRAMING_LINES].split(data, 1000, 5000, false, &scanned, &found), FRAME_PARTIAL);
    CHECK_EQ(scanned, 1000);
    data[500] = '\n'; /* not looked at again */
    CHECK_EQ(framings[FRAMING_LINES].split(data, 1000, 5000, false, &scanned, &found), FRAME_PARTIAL);
}

/* ---- WebSocket -------------------------------------------------------------------------------------------------- */

TEST(incoming_websocket_bytes_are_left_as_they_are)
{
    struct found found;
    const uint8_t data[] = {1, 2, 3};
    CHECK_EQ(framings[FRAMING_WEBSOCKET].split(data, 3, 1, false, &(size_t){0}, &found), FRAME_WHOLE);
    CHECK(found.body == data && found.size == 3 && found.taken == 3);
    CHECK_EQ(framings[FRAMING_WEBSOCKET].split(data, 0, 1, true, &(size_t){0}, &found), FRAME_PARTIAL);
}

TEST(websocket_headers_are_those_of_the_rfc)
{
    static const struct {
        uint64_t length;
        size_t size;
        uint8_t bytes[WEBSOCKET_HEADER_MAX];
    } cases[] = {
        {0, 2, {0x81, 0}},
        {125, 2, {0x81, 125}},
        {126, 4, {0x81, 126, 0, 126}},
        {65535, 4, {0x81, 126, 0xff, 0xff}},
        {65536, 10, {0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
        {0x123456789a, 10, {0x81, 127, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x9a}},
    };
    uint8_t header[WEBSOCKET_HEADER_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQ(websocket_header(header, WEBSOCKET_TEXT, true, cases[i].length), cases[i].size);
        CHECK_BYTES(header, cases[i].bytes, cases[i].size);
    }
    websocket_header(header, WEBSOCKET_BINARY, false, 1);
    CHECK_EQ(header[0], 0x02);
    websocket_header(header, WEBSOCKET_CONTINUATION, true, 1);
    CHECK_EQ(header[0], 0x80);
}

/* ---- layout ----------------------------------------------------------------------------------------------------- */

/* Walk through the parts of a message; what the headers say adds up to what the layout says. */
static int walk(enum framing_kind kind, uint64_t length, uint64_t most, uint64_t part)
{
    struct layout layout = layout_plan(&framings[kind], true, length, most, part);
    uint64_t start = 0, position = 0;
    int parts = 0;
    do {
        uint8_t header[HEADER_MAX];
        uint64_t here = length - start < layout.part ? length - start : layout.part;
        CHECK_EQ(layout_position(&layout, start), position);
        size_t size = layout.framing->header(header, &layout, start);
        if (kind == FRAMING_WEBSOCKET) {
            uint8_t expected[HEADER_MAX];
            CHECK_EQ(size, websocket_header(expected, start ? WEBSOCKET_CONTINUATION : WEBSOCKET_TEXT,
                                            start + here == length, here));
            CHECK_BYTES(header, expected, size);
        }
        position += size + here;
        start += here;
        parts++;
    } while (start < length);
    CHECK_EQ(layout_size(&layout), position + strlen(framings[kind].end));
    return parts;
}

TEST(parts_add_up_to_the_message)
{
    CHECK_EQ(walk(FRAMING_WEBSOCKET, 0, 10, 4), 1);
    CHECK_EQ(walk(FRAMING_WEBSOCKET, 10, 10, 4), 1);
    CHECK_EQ(walk(FRAMING_WEBSOCKET, 11, 10, 4), 3);
    CHECK_EQ(walk(FRAMING_WEBSOCKET, 12, 10, 4), 3);
    CHECK_EQ(walk(FRAMING_WEBSOCKET, 13, 10, 4), 4);
    CHECK_EQ(walk(FRAMING_WEBSOCKET, (40u << 20) + 5, 16u << 20, 8u << 20), 6);
    CHECK_EQ(walk(FRAMING_WEBSOCKET, (3u << 20) + 125, 1u << 20, 1u << 20), 4);
    CHECK_EQ(walk(FRAMING_WEBSOCKET, (3u << 20) + 126, 1u << 20, 1u << 20), 4);
    for (int kind = FRAMING_FRAMES; kind <= FRAMING_LINES; kind++) {
        CHECK_EQ(walk((enum framing_kind)kind, 0, 10, 4), 1);
        CHECK_EQ(walk((enum framing_kind)kind, 1000, 10, 4), 1);
    }
}
