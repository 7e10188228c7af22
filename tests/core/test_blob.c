/* A blob's message: whatever pieces it is made in, they are the message. */
#include "engine/core/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "engine/core/base64.h"
#include "engine/core/websocket.h"
#include "faults.h"

/* The whole message on the wire, built at once. */
static size_t whole(uint8_t *to, const struct blob_message *message)
{
    const struct layout *layout = &message->layout;
    size_t tail = message->tail.length - strlen(layout->framing->end), at = 0, start = 0;
    uint8_t *body = malloc(layout->length + 1);
    memcpy(body, message->head.data, message->head.length);
    at = message->head.length;
    if (message->base64)
        at += base64_portable(body + at, message->blob.data, message->blob.length);
    else if (message->blob.length)
        memcpy(body + at, message->blob.data, message->blob.length), at += message->blob.length;
    memcpy(body + at, message->tail.data, tail);
    CHECK_EQ(at + tail, layout->length);
    at = 0;
    do {
        size_t part = layout->length - start < layout->part ? layout->length - start : layout->part;
        at += layout->framing->header(to + at, layout, start);
        memcpy(to + at, body + start, part);
        at += part;
        start += part;
    } while (start < layout->length);
    memcpy(to + at, layout->framing->end, strlen(layout->framing->end));
    free(body);
    return at + strlen(layout->framing->end);
}

/* Every position gives the bytes that are there, as many as were asked for at most. */
static void check_pieces(enum framing_kind kind, bool base64, size_t length, uint64_t part)
{
    static const char head[] = "{\"data\":\"", tail[] = "\"}\n";
    size_t around = strlen(head) + strlen(tail) - 1;
    struct blob_message message = {.base64 = base64, .head = {(const uint8_t *)head, strlen(head)}};
    message.tail = (struct span){(const uint8_t *)tail, strlen(tail) - (kind != FRAMING_LINES)};
    message.layout =
        layout_plan(&framings[kind], true, blob_message_length(around, length, base64), part, part);
    CHECK_EQ(blob_init(&message.blob, length), 0);
    for (size_t i = 0; i < length; i++)
        message.blob.data[i] = (uint8_t)(i * 11 + 3);
    size_t size = layout_size(&message.layout);
    uint8_t *expected = malloc(size);
    CHECK_EQ(whole(expected, &message), size);
    for (size_t limit = 1; limit < 40; limit += limit < 10 ? 1 : 7)
        for (size_t at = 0; at < size; at++) {
            uint8_t *space = malloc(limit + BLOB_SPACE_MORE);
            struct iovec piece = blob_message_piece(&message, at, limit, space);
            CHECK(piece.iov_len >= 1 && piece.iov_len <= limit && piece.iov_len <= size - at);
            CHECK_BYTES(piece.iov_base, expected + at, piece.iov_len);
            free(space);
        }
    free(expected);
    blob_free(&message.blob);
}

TEST(any_piece_of_a_message_is_what_stands_there)
{
    for (int kind = 0; kind < FRAMINGS; kind++)
        for (int base64 = 0; base64 < 2; base64++)
            for (size_t length = 0; length < 130; length += length < 8 ? 1 : 61) {
                check_pieces((enum framing_kind)kind, base64, length, 1000);
                check_pieces((enum framing_kind)kind, base64, length, 7);
                check_pieces((enum framing_kind)kind, base64, length, 32);
            }
}

TEST(a_blob_is_cut_and_freed)
{
    static const size_t lengths[] = {0, 1, 4095, 4096, 4097, 100000};
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k <= i; k++) {
            struct blob blob;
            CHECK_EQ(blob_init(&blob, lengths[i]), 0);
            for (size_t at = 0; at < lengths[i]; at++)
                CHECK_EQ(blob.data[at], 0);
            blob_truncate(&blob, lengths[k]);
            CHECK_EQ(blob.length, lengths[k]);
            if (lengths[k])
                memset(blob.data, 1, lengths[k]);
            blob_free(&blob);
            blob_free(&blob);
        }
}

TEST(a_blob_that_finds_no_memory_says_so)
{
    struct blob blob;
    CHECK_EQ(blob_init(&blob, SIZE_MAX), -ENOMEM);
    CHECK_EQ(blob_init(&blob, SIZE_MAX / 2), -ENOMEM);
    blob_free(&blob);
    faults_at(1, ENOMEM, FAULT_MALLOC);
    CHECK_EQ(blob_init(&blob, 1), -ENOMEM);
    faults_clear();
}
