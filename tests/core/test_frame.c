/* The requests that the engine reads itself, and its answer to them. */
#include "engine/core/frame.h"

#include <stdlib.h>
#include <string.h>

#include "cbor.h"
#include "check.h"

/* ---- requests --------------------------------------------------------------------------------------------------- */

#define MESSAGE_MAX 4096

static uint8_t buffer[MESSAGE_MAX];

/* What a message is made of: members of the envelope and of its params, each as encoded key and value. */
struct member {
    uint8_t data[640];
    size_t length;
};

static struct member member_raw(const char *key, const void *value, size_t length)
{
    struct member member;
    struct cbor_writer to = {member.data, 0};
    cbor_text(&to, key);
    cbor_raw(&to, value, length);
    member.length = to.length;
    return member;
}

static struct member member_string(const char *key, int major, const void *data, size_t length)
{
    uint8_t value[600];
    struct cbor_writer to = {value, 0};
    cbor_string(&to, major, data, length);
    return member_raw(key, value, to.length);
}

static struct member member_text(const char *key, const char *text)
{
    return member_string(key, CBOR_TEXT, text, strlen(text));
}

static struct member member_number(const char *key, int major, uint64_t argument)
{
    uint8_t value[9];
    struct cbor_writer to = {value, 0};
    cbor_head(&to, major, argument);
    return member_raw(key, value, to.length);
}

/* A map of these members in the nth order of all (n counts up to the factorial of `count`). */
static void write_map(struct cbor_writer *to, const struct member *members, int count, unsigned n)
{
    int left[8];
    for (int i = 0; i < count; i++)
        left[i] = i;
    cbor_head(to, CBOR_MAP, (uint64_t)count);
    for (int rest = count; rest; n /= (unsigned)rest, rest--) {
        int chosen = (int)(n % (unsigned)rest);
        cbor_raw(to, members[left[chosen]].data, members[left[chosen]].length);
        memmove(&left[chosen], &left[chosen + 1], (size_t)(rest - chosen - 1) * sizeof *left);
    }
}

static size_t message(const struct member *envelope, int envelope_count, unsigned envelope_order,
                      const struct member *params, int params_count, unsigned params_order)
{
    uint8_t value[MESSAGE_MAX];
    struct cbor_writer to = {value, 0};
    struct member members[4];
    write_map(&to, params, params_count, params_order);
    CHECK(to.length < 600);
    memcpy(members, envelope, (size_t)envelope_count * sizeof *envelope);
    members[envelope_count] = member_raw("params", value, to.length);
    to = (struct cbor_writer){buffer, 0};
    write_map(&to, members, envelope_count + 1, envelope_order);
    return to.length;
}

/* A plain write, with this member in the place of its id; the order is that of most encoders. */
static size_t write_with_id(struct member id)
{
    struct member envelope[] = {id, member_text("method", "process/write")};
    struct member params[] = {member_text("processId", "p"), member_string("chunk", CBOR_BYTES, "x", 1)};
    return message(envelope, 2, 0, params, 2, 0);
}

static struct request request;

/* Read a copy of exactly this size, and compare with the other reader. */
static enum request_kind read_copy(const uint8_t *body, size_t length)
{
    static uint8_t *copy;
    struct request expected;
    free(copy);
    copy = malloc(length ? length : 1); /* the spans in `request` point into it */
    memcpy(copy, body, length);
    enum request_kind kind = request_read(copy, length, &request);
    CHECK_EQ(kind, cbor_request(copy, length, &expected));
    if (kind != REQUEST_OTHER)
        CHECK(memcmp(&request, &expected, sizeof request) == 0);
    return kind;
}

static void check_span(struct span span, const void *data, size_t length)
{
    CHECK_EQ(span.length, length);
    if (length)
        CHECK_BYTES(span.data, data, length);
}

TEST(a_write_is_read_in_every_order_of_its_members)
{
    struct member envelope[] = {member_number("id", CBOR_UNSIGNED, 300), member_text("method", "process/write")};
    struct member params[] = {member_text("processId", "p-\xc3\xa9"), member_string("chunk", CBOR_BYTES, "\0\xff\n", 3),
                              member_text("writeId", "w1")};
    for (unsigned outer = 0; outer < 6; outer++)
        for (unsigned inner = 0; inner < 6; inner++)
            for (int count = 2; count <= 3; count++) {
                size_t length = message(envelope, 2, outer, params, count, inner);
                CHECK_EQ(read_copy(buffer, length), REQUEST_WRITE);
                check_span(request.id, "\x19\x01\x2c", 3);
                check_span(request.process, "p-\xc3\xa9", 4);
                check_span(request.chunk, "\0\xff\n", 3);
                check_span(request.write_id, "w1", count == 3 ? 2 : 0);
            }
}

TEST(an_ack_is_read_in_every_order_of_its_members)
{
    static const uint64_t seqs[] = {0, 1, 23, 24, 255, 256, 65536, UINT32_MAX, (uint64_t)1 << 32, UINT64_MAX};
    struct member method = member_text("method", "process/ack");
    for (size_t i = 0; i < sizeof seqs / sizeof *seqs; i++)
        for (unsigned order = 0; order < 4; order++) {
            struct member params[] = {member_text("processId", ""), member_number("seq", CBOR_UNSIGNED, seqs[i])};
            size_t length = message(&method, 1, order & 1, params, 2, order >> 1);
            CHECK_EQ(read_copy(buffer, length), REQUEST_ACK);
            check_span(request.process, "", 0);
            CHECK(request.seq == seqs[i]);
        }
}

TEST(an_empty_chunk_is_a_chunk)
{
    struct member envelope[] = {member_number("id", CBOR_UNSIGNED, 1), member_text("method", "process/write")};
    struct member params[] = {member_text("processId", "p"), member_string("chunk", CBOR_BYTES, "", 0)};
    CHECK_EQ(read_copy(buffer, message(envelope, 2, 0, params, 2, 0)), REQUEST_WRITE);
    CHECK_EQ(request.chunk.length, 0);
}

static const uint64_t numbers[] = {0, 1, 23, 24, 255, 256, 65535, 65536, UINT32_MAX, (uint64_t)1 << 32, INT64_MAX};

TEST(ids_are_any_64_bit_integer_or_ascii_text_and_are_echoed_as_they_came)
{
    uint8_t value[600];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (int major = CBOR_UNSIGNED; major <= CBOR_NEGATIVE; major++) { /* -1 - argument: down to INT64_MIN */
            struct cbor_writer to = {value, 0};
            cbor_head(&to, major, numbers[i]);
            CHECK_EQ(read_copy(buffer, write_with_id(member_raw("id", value, to.length))), REQUEST_WRITE);
            check_span(request.id, value, to.length);
        }
    for (size_t length = 0; length < 500; length += length < 30 ? 1 : 97) {
        char text[500];
        memset(text, 'i', sizeof text);
        struct cbor_writer to = {value, 0};
        cbor_string(&to, CBOR_TEXT, text, length);
        CHECK_EQ(read_copy(buffer, write_with_id(member_raw("id", value, to.length))), REQUEST_WRITE);
        check_span(request.id, value, to.length);
    }
    static const uint8_t long_form[] = {0x1b, 0, 0, 0, 0, 0, 0, 0, 5}; /* legal, if not the shortest */
    CHECK_EQ(read_copy(buffer, write_with_id(member_raw("id", long_form, sizeof long_form))), REQUEST_WRITE);
    check_span(request.id, long_form, sizeof long_form);
}

TEST(other_ids_are_left_to_the_full_decoder)
{
    static const struct {
        const char *data;
        size_t length;
    } ids[] = {
        {"\x1b\x80\0\0\0\0\0\0\0", 9},                 /* 2^63 */
        {"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", 9},   /* 2^64 - 1 */
        {"\x3b\x80\0\0\0\0\0\0\0", 9},                 /* -2^63 - 1 */
        {"\x41i", 2},                                  /* bytes */
        {"\x62\xc3\xa9", 3},                           /* text that is not ASCII */
        {"\x61\xff", 2},                               /* text that is not UTF-8 */
        {"\x80", 1}, {"\xa0", 1}, {"\xf6", 1},         /* array, map, null */
        {"\xf5", 1}, {"\xf9\x3c\0", 3},                /* true, 1.0 */
        {"\xc2\x41\x01", 3}, {"\xc0\x61x", 3},         /* tags */
        {"\x7f\x61x\xff", 4}, {"\xff", 1},           /* indefinite, break */
        {"\x1c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 17}, /* reserved */
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        size_t length = write_with_id(member_raw("id", ids[i].data, ids[i].length));
        CHECK_EQ(read_copy(buffer, length), REQUEST_OTHER);
    }
}

/* One member of a plain write or ack replaced, added or taken away. */
TEST(what_is_not_plain_is_left_to_the_full_decoder)
{
    struct member id = member_number("id", CBOR_UNSIGNED, 1), method = member_text("method", "process/write");
    struct member ack = member_text("method", "process/ack"), seq = member_number("seq", CBOR_UNSIGNED, 1);
    struct member process = member_text("processId", "p"), chunk = member_string("chunk", CBOR_BYTES, "x", 1);
    const struct {
        struct member envelope[3];
        int envelope_count;
        struct member params[5];
        int params_count;
    } cases[] = {
        {{method}, 1, {process, chunk}, 2},                                     /* no id */
        {{id}, 1, {process, chunk}, 2},                                         /* no method */
        {{id, method}, 2, {chunk}, 1},                                          /* no process */
        {{id, method}, 2, {process}, 1},                                        /* no chunk */
        {{id, method}, 2, {process, seq}, 2},                                   /* of the other message */
        {{id, method}, 2, {process, chunk, seq}, 3},                            /* of both */
        {{id, id}, 2, {process, chunk}, 2},                                     /* twice */
        {{id, method}, 2, {process, process, chunk}, 3},                        /* twice */
        {{id, method}, 2, {process, chunk, chunk}, 3},                          /* twice */
        {{id, method}, 2, {process, chunk, member_text("more", "x")}, 3},       /* unknown */
        {{id, method}, 2, {process, chunk, member_text("writeId", "")}, 3},     /* empty */
        {{id, method}, 2, {process, chunk, member_text("writeId", "\xff")}, 3}, /* not ASCII */
        {{id, method}, 2, {process, chunk, member_number("writeId", 0, 1)}, 3}, /* not text */
        {{id, method}, 2, {process, member_text("chunk", "x")}, 2},             /* text for bytes */
        {{id, method}, 2, {member_number("processId", 0, 1), chunk}, 2},        /* number for text */
        {{id, member_text("method", "process/writ")}, 2, {process, chunk}, 2},
        {{id, member_text("method", "process/write2")}, 2, {process, chunk}, 2},
        {{id, member_string("method", CBOR_BYTES, "process/write", 13)}, 2, {process, chunk}, 2},
        {{id, ack}, 2, {process, seq}, 2},       /* an ack is a notification */
        {{ack}, 1, {process}, 1},                /* no seq */
        {{ack}, 1, {seq}, 1},                    /* no process */
        {{ack}, 1, {process, seq, seq}, 3},      /* twice */
        {{ack}, 1, {process, seq, chunk}, 3},    /* of the other message */
        {{ack}, 1, {process, member_number("seq", CBOR_NEGATIVE, 0)}, 2},
        {{ack}, 1, {process, member_text("seq", "1")}, 2},
        {{ack}, 1, {process, member_raw("seq", "\xf9\x3c\0", 3)}, 2}, /* 1.0 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t length = message(cases[i].envelope, cases[i].envelope_count, 0, cases[i].params, cases[i].params_count, 0);
        if (read_copy(buffer, length) != REQUEST_OTHER)
            test_fail(__FILE__, __LINE__, "case %zu was taken for plain", i);
    }
}

TEST(a_message_cut_short_or_followed_by_more_is_not_plain)
{
    size_t length = write_with_id(member_text("id", "abc"));
    for (size_t cut = 0; cut < length; cut++)
        CHECK_EQ(read_copy(buffer, cut), REQUEST_OTHER);
    buffer[length] = 0;
    CHECK_EQ(read_copy(buffer, length), REQUEST_WRITE);
    CHECK_EQ(read_copy(buffer, length + 1), REQUEST_OTHER);
}

TEST(lengths_and_counts_beyond_the_message_are_not_believed)
{
    static const struct {
        const char *data;
        size_t length;
    } bodies[] = {
        {"\xa3\x7b\xff\xff\xff\xff\xff\xff\xff\xff", 10}, /* a key of 2^64 - 1 bytes */
        {"\xa3\x7a\xff\xff\xff\xff", 6},
        {"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", 9}, /* so many members */
        {"\xbb\0\0\0\x01\0\0\0\x02", 9},             /* 2^32 + 2 */
        {"\xa1\x66params\xbb\xff\xff\xff\xff\xff\xff\xff\xff", 17},
        {"\xa1\x66params\xa1\x65" "chunk\x5b\xff\xff\xff\xff\xff\xff\xff\xfe", 24},
        {"\xbf\xff", 2}, {"\xa0", 1}, {"\x80", 1}, {"\xd9\xd9\xf7\xa0", 4}, {"\xa4", 1}, {"", 0},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        CHECK_EQ(read_copy((const uint8_t *)bodies[i].data, bodies[i].length), REQUEST_OTHER);
}

/* Every byte of a write and of an ack replaced by every other: the two readers must agree (read_copy() checks it). */
TEST(both_readers_agree_on_every_single_byte_changed)
{
    struct member method = member_text("method", "process/ack");
    struct member params[] = {member_text("processId", "p"), member_number("seq", CBOR_UNSIGNED, 1000)};
    for (int which = 0; which < 2; which++) {
        size_t length = which ? message(&method, 1, 0, params, 2, 0) : write_with_id(member_text("id", "a"));
        int plain = 0;
        for (size_t at = 0; at < length; at++) {
            uint8_t before = buffer[at];
            for (int value = 0; value < 256; value++) {
                buffer[at] = (uint8_t)value;
                plain += read_copy(buffer, length) != REQUEST_OTHER;
            }
            buffer[at] = before;
        }
        CHECK(plain > 300 && plain < 2000);
    }
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

TEST(the_answer_to_a_write_decodes_to_what_it_says)
{
    static const size_t lengths[] = {1, 2, 9, 24, 300, 70000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t *id = malloc(lengths[i] + 9), *answer = malloc(ACCEPTED_SIZE + lengths[i] + 5);
        char *text = calloc(1, lengths[i]);
        struct cbor_writer to = {id, 0};
        struct cbor_token tokens[8];
        cbor_string(&to, CBOR_TEXT, text, lengths[i] - 1);
        size_t length = accepted_write(answer, (struct span){id, to.length});
        CHECK(length <= ACCEPTED_SIZE + to.length);
        CHECK_EQ(frame_length(answer), length - FRAME_LENGTH_SIZE);
        CHECK_EQ(cbor_tokens(answer + FRAME_LENGTH_SIZE, length - FRAME_LENGTH_SIZE, tokens, 8), 7);
        CHECK(tokens[0].major == CBOR_MAP && tokens[0].argument == 2 && cbor_is_text(&tokens[1], "id"));
        check_span(tokens[2].item, id, to.length);
        CHECK(cbor_is_text(&tokens[3], "result") && tokens[4].major == CBOR_MAP && tokens[4].argument == 1);
        CHECK(cbor_is_text(&tokens[5], "status") && cbor_is_text(&tokens[6], "accepted"));
        free(text);
        free(id);
        free(answer);
    }
}
