/* The notifications that the engine writes, in both encodings, each read back by a second reader. */
#include "engine/core/notice.h"

#include <stdlib.h>
#include <string.h>

#include "cbor.h"
#include "check.h"
#include "engine/core/base64.h"
#include "json_tokens.h"

enum { CBOR_ALL, CBOR_PLAIN, JSON_ALL, JSON_PLAIN, VOICES };

static struct voice voice_of(int number)
{
    return (struct voice){number < JSON_ALL ? &cbor_encoding : &json_encoding, number % 2 == 1};
}

static const struct cbor_token end = {.major = -1};
static struct cbor_token tokens[40];
static uint8_t *room; /* of what JSON decodes to, until the next message */

static void check_span(struct span span, const void *data, size_t length)
{
    CHECK_EQ(span.length, length);
    if (length)
        CHECK_BYTES(span.data, data, length);
}

static void check_shortest(const struct cbor_token *token)
{
    uint8_t head[9];
    struct cbor_writer to = {head, 0};
    cbor_head(&to, token->major, token->argument);
    CHECK_EQ(token->item.length - token->content.length, to.length);
}

static struct span escaped(struct voice voice, struct span name)
{
    size_t size = voice.encoding->escape(NULL, name);
    uint8_t *data = malloc(size + 1);
    CHECK_EQ(voice.encoding->escape(data, name), size);
    return (struct span){data, size};
}

/* The tokens of a message after "method", METHOD, "params", a map of `members`, "processId", NAME, "seq", SEQ. */
static const struct cbor_token *check_notification(struct voice voice, const uint8_t *message, size_t length,
                                                   const char *method, uint64_t members, struct span name,
                                                   uint64_t seq)
{
    free(room);
    room = malloc(length);
    int count = voice.encoding == &json_encoding ? json_tokens(message, length, tokens, 39, room)
                                                 : cbor_tokens(message, length, tokens, 39);
    CHECK(count >= 9);
    for (int i = 0; i < count; i++)
        if (voice.encoding == &cbor_encoding && tokens[i].major != CBOR_SIMPLE)
            check_shortest(&tokens[i]);
    CHECK(tokens[0].major == CBOR_MAP && tokens[0].argument == 2);
    CHECK(cbor_is_text(&tokens[1], "method") && cbor_is_text(&tokens[2], method));
    CHECK(cbor_is_text(&tokens[3], "params") && tokens[4].major == CBOR_MAP);
    CHECK_EQ(tokens[4].argument, members);
    CHECK(cbor_is_text(&tokens[5], "processId") && tokens[6].major == CBOR_TEXT);
    check_span(tokens[6].content, name.data, name.length);
    CHECK(cbor_is_text(&tokens[7], "seq") && tokens[8].major == CBOR_UNSIGNED && tokens[8].argument == seq);
    tokens[count] = end;
    return tokens + 9;
}

static void check_output(int number, struct span name, uint64_t seq, int stream, uint64_t offset, uint32_t length)
{
    static const char *const streams[] = {"stdout", "stderr", "pty"};
    struct voice voice = voice_of(number);
    struct span label = escaped(voice, name);
    uint8_t *whole = malloc(OUTPUT_HEAD_SIZE + label.length + base64_length(length) + OUTPUT_TAIL_SIZE);
    uint8_t *chunk = malloc(length + 1);
    for (uint32_t i = 0; i < length; i++)
        chunk[i] = (uint8_t)(i * 7 + i / 256);
    size_t size = output_head(whole, voice, label, seq, stream, offset, length);
    CHECK(size <= OUTPUT_HEAD_SIZE + label.length);
    if (voice.encoding->base64)
        size += base64_encode(whole + size, chunk, length);
    else
        memcpy(whole + size, chunk, length), size += length;
    size_t tail = output_tail(whole + size, voice);
    CHECK(tail <= OUTPUT_TAIL_SIZE);
    const struct cbor_token *at =
        check_notification(voice, whole, size + tail, "process/output", voice.plain ? 4 : 5, name, seq);
    CHECK(cbor_is_text(&at[0], "stream") && cbor_is_text(&at[1], streams[stream]));
    at += 2;
    if (!voice.plain) {
        CHECK(cbor_is_text(&at[0], "offset") && at[1].major == CBOR_UNSIGNED && at[1].argument == offset);
        at += 2;
    }
    CHECK(cbor_is_text(&at[0], "chunk") && at[1].major == CBOR_BYTES);
    check_span(at[1].content, chunk, length);
    CHECK_EQ(at[2].major, -1);
    free(whole);
    free(chunk);
    free((void *)label.data);
}

TEST(output_decodes_to_what_it_says_and_fits_in_its_room)
{
    static const uint64_t values[] = {0, 23, 24, 255, 256, 65535, 65536, UINT32_MAX, (uint64_t)1 << 32, UINT64_MAX};
    static const size_t names[] = {0, 1, 23, 24, 36, 255, 256, 257, 65536};
    static const uint32_t chunks[] = {0, 1, 2, 3, 23, 24, 255, 256, 65535, 65536};
    static uint8_t name[65536];
    memset(name, 'n', sizeof name);
    for (int voice = 0; voice < VOICES; voice++) {
        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
            for (size_t k = 0; k < sizeof values / sizeof *values; k++)
                check_output(voice, (struct span){name, 36}, values[i], (int)(i + k) % 3, values[k], 100);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            for (size_t k = 0; k < sizeof chunks / sizeof *chunks; k++)
                check_output(voice, (struct span){name, names[i]}, UINT64_MAX, 0, UINT64_MAX, chunks[k]);
    }
}

TEST(a_name_may_have_any_character)
{
    uint8_t name[300];
    for (size_t i = 0; i < 256; i++)
        name[i] = (uint8_t)i;
    memcpy(name + 256, "\"\"\\\\\b\f\n\r\t\x1f\x7f", 11);
    for (int voice = 0; voice < VOICES; voice++) {
        check_output(voice, (struct span){name, 267}, 1, 0, 0, 3);
        for (size_t i = 0; i < 256; i++)
            check_output(voice, (struct span){name + i, 1}, 1, 0, 0, 3);
    }
    CHECK_EQ(json_encoding.escape(NULL, (struct span){(const uint8_t *)"a\"\x01\xc3\xbc", 5}), 1 + 2 + 6 + 2);
}

TEST(an_exit_decodes_to_what_it_says_and_fits_in_its_room)
{
    static const struct ending endings[] = {
        {0, "exit", NULL}, {255, "exit", NULL}, {137, "signal", "SIGKILL"}, {-1, "lost", NULL},
        {INT32_MAX, "timeout", "SIGRTMIN+30"}, {INT32_MIN, "policy", "SIGVTALRM"},
    };
    static const size_t names[] = {0, 36, 256, 65536};
    for (size_t i = 0; i < sizeof endings / sizeof *endings * VOICES; i++)
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            struct ending ending = endings[i / VOICES];
            struct voice voice = voice_of((int)(i % VOICES));
            uint8_t *name = malloc(names[k] + 1), *message = malloc(MARK_SIZE + names[k]);
            memset(name, 'n', names[k] + 1);
            struct span span = {name, names[k]};
            size_t length = exited_notice(message, voice, span, UINT64_MAX, ending);
            CHECK(length <= MARK_SIZE + names[k]);
            unsigned members = voice.plain ? 4 : ending.signal ? 6 : 5;
            const struct cbor_token *at =
                check_notification(voice, message, length, "process/exited", members, span, UINT64_MAX);
            CHECK(cbor_is_text(&at[0], "exitCode") && at[1].major == (ending.code < 0 ? CBOR_NEGATIVE : CBOR_UNSIGNED));
            CHECK_EQ(ending.code < 0 ? -1 - (int64_t)at[1].argument : (int64_t)at[1].argument, ending.code);
            CHECK(cbor_is_text(&at[2], "sandboxDenied") && at[3].major == CBOR_SIMPLE && at[3].argument == 20);
            at += 4;
            if (!voice.plain) {
                CHECK(cbor_is_text(&at[0], "reason") && cbor_is_text(&at[1], ending.reason));
                at += 2;
            }
            if (!voice.plain && ending.signal) {
                CHECK(cbor_is_text(&at[0], "signal") && cbor_is_text(&at[1], ending.signal));
                at += 2;
            }
            CHECK_EQ(at->major, -1);
            free(name);
            free(message);
        }
}

TEST(an_end_decodes_to_what_it_says_and_fits_in_its_room)
{
    static const char *const names[] = {"stdout", "stderr", "pty"};
    static const uint64_t totals[] = {UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 2};
    static const uint32_t crcs[] = {0x0123abcd, 0, 0xffffffff};
    static const char *const digests[] = {"crc32c:0123abcd", "crc32c:00000000", "crc32c:ffffffff"};
    struct span name = {(const uint8_t *)"p", 1};
    for (unsigned which = 0; which < 8 * VOICES; which++) {
        struct voice voice = voice_of((int)which / 8);
        uint8_t *message = malloc(MARK_SIZE + name.length);
        size_t length = closed_notice(message, voice, name, UINT64_MAX, which % 8, totals, crcs);
        CHECK(length <= MARK_SIZE + name.length);
        const struct cbor_token *at = check_notification(voice, message, length, "process/closed", voice.plain ? 2 : 3,
                                                         name, UINT64_MAX);
        if (!voice.plain) {
            CHECK(cbor_is_text(&at[0], "streams") && at[1].major == CBOR_MAP);
            CHECK_EQ(at[1].argument, __builtin_popcount(which % 8));
            at += 2;
        }
        for (unsigned i = 0; i < 3 && !voice.plain; i++) {
            if (!(which & 1u << i))
                continue;
            CHECK(cbor_is_text(&at[0], names[i]) && at[1].major == CBOR_MAP && at[1].argument == 2);
            CHECK(cbor_is_text(&at[2], "bytes") && at[3].major == CBOR_UNSIGNED && at[3].argument == totals[i]);
            CHECK(cbor_is_text(&at[4], "digest") && cbor_is_text(&at[5], digests[i]));
            at += 6;
        }
        CHECK_EQ(at->major, -1);
        free(message);
    }
}
