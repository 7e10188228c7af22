#include "engine/core/frame.h"

#include <string.h>

/* ---- reading: RFC 8949 section 3 -------------------------------------------------------------------------------- */

enum major { UNSIGNED = 0, NEGATIVE = 1, BYTES = 2, TEXT = 3, ARRAY = 4, MAP = 5, TAG = 6, SIMPLE = 7 };

struct reader {
    const uint8_t *at, *end;
};

struct head {
    enum major major;
    uint64_t argument;
};

/* The head of the next item.  Indefinite lengths and reserved forms are not for us. */
static bool read_head(struct reader *reader, struct head *head)
{
    if (reader->at == reader->end)
        return false;
    uint8_t initial = *reader->at++;
    unsigned info = initial & 0x1f;
    head->major = initial >> 5;
    head->argument = info;
    if (info < 24)
        return true;
    if (info > 27)
        return false;
    size_t width = (size_t)1 << (info - 24);
    if ((size_t)(reader->end - reader->at) < width)
        return false;
    head->argument = 0;
    while (width--)
        head->argument = head->argument << 8 | *reader->at++;
    return true;
}

static bool read_string(struct reader *reader, enum major major, struct span *span)
{
    struct head head;
    if (!read_head(reader, &head) || head.major != major || head.argument > (uint64_t)(reader->end - reader->at))
        return false;
    *span = (struct span){reader->at, (size_t)head.argument};
    reader->at += head.argument;
    return true;
}

static bool is(struct span span, const char *text)
{
    return span.length == strlen(text) && memcmp(span.data, text, span.length) == 0;
}

/* Text whose UTF-8 need not be checked: bytes over 127 are left to the full decoder. */
static bool is_ascii(struct span span)
{
    for (size_t i = 0; i < span.length; i++)
        if (span.data[i] & 0x80)
            return false;
    return true;
}

static bool read_id(struct reader *reader, struct span *id)
{
    const uint8_t *start = reader->at;
    struct head head;
    if (!read_head(reader, &head))
        return false;
    if (head.major == TEXT) {
        if (head.argument > (uint64_t)(reader->end - reader->at))
            return false;
        struct span text = {reader->at, (size_t)head.argument};
        reader->at += head.argument;
        if (!is_ascii(text))
            return false;
    } else if ((head.major != UNSIGNED && head.major != NEGATIVE) || head.argument > INT64_MAX) {
        return false;
    }
    *id = (struct span){start, (size_t)(reader->at - start)};
    return true;
}

enum seen { SEEN_ID = 1, SEEN_METHOD = 2, SEEN_PARAMS = 4, SEEN_PROCESS = 8, SEEN_CHUNK = 16, SEEN_WRITE_ID = 32,
            SEEN_SEQ = 64 };

/* Notes that a member was seen; a second time is not for us. */
static bool once(unsigned *seen, enum seen member)
{
    bool first = !(*seen & member);
    *seen |= member;
    return first;
}

static bool read_params(struct reader *reader, struct request *request, unsigned *seen)
{
    struct head map, number;
    if (!read_head(reader, &map) || map.major != MAP)
        return false;
    for (uint64_t i = 0; i < map.argument; i++) {
        struct span key;
        if (!read_string(reader, TEXT, &key))
            return false;
        if (is(key, "processId")) {
            if (!once(seen, SEEN_PROCESS) || !read_string(reader, TEXT, &request->process))
                return false;
        } else if (is(key, "chunk")) {
            if (!once(seen, SEEN_CHUNK) || !read_string(reader, BYTES, &request->chunk))
                return false;
        } else if (is(key, "writeId")) {
            if (!once(seen, SEEN_WRITE_ID) || !read_string(reader, TEXT, &request->write_id) ||
                request->write_id.length == 0 || !is_ascii(request->write_id))
                return false;
        } else if (is(key, "seq")) {
            if (!once(seen, SEEN_SEQ) || !read_head(reader, &number) || number.major != UNSIGNED)
                return false;
            request->seq = number.argument;
        } else {
            return false;
        }
    }
    return true;
}

enum request_kind request_read(const uint8_t *body, size_t length, struct request *request)
{
    struct reader reader = {body, body + length};
    struct span method = {0};
    struct head map;
    unsigned seen = 0;
    *request = (struct request){0};
    if (!read_head(&reader, &map) || map.major != MAP || map.argument > 3)
        return REQUEST_OTHER;
    for (uint64_t i = 0; i < map.argument; i++) {
        struct span key;
        bool understood = false;
        if (!read_string(&reader, TEXT, &key))
            return REQUEST_OTHER;
        if (is(key, "id"))
            understood = once(&seen, SEEN_ID) && read_id(&reader, &request->id);
        else if (is(key, "method"))
            understood = once(&seen, SEEN_METHOD) && read_string(&reader, TEXT, &method);
        else if (is(key, "params"))
            understood = once(&seen, SEEN_PARAMS) && read_params(&reader, request, &seen);
        if (!understood)
            return REQUEST_OTHER;
    }
    if (reader.at != reader.end)
        return REQUEST_OTHER;
    unsigned need_write = SEEN_ID | SEEN_METHOD | SEEN_PARAMS | SEEN_PROCESS | SEEN_CHUNK;
    unsigned need_ack = SEEN_METHOD | SEEN_PARAMS | SEEN_PROCESS | SEEN_SEQ;
    if ((seen & ~(unsigned)SEEN_WRITE_ID) == need_write && is(method, "process/write"))
        return REQUEST_WRITE;
    if (seen == need_ack && is(method, "process/ack"))
        return REQUEST_ACK;
    return REQUEST_OTHER;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static uint8_t *put_head(uint8_t *to, enum major major, uint64_t argument)
{
    uint8_t initial = (uint8_t)(major << 5);
    if (argument < 24) {
        *to++ = initial | (uint8_t)argument;
        return to;
    }
    int power = argument <= UINT8_MAX ? 0 : argument <= UINT16_MAX ? 1 : argument <= UINT32_MAX ? 2 : 3;
    *to++ = initial | (uint8_t)(24 + power);
    for (int shift = (8 << power) - 8; shift >= 0; shift -= 8)
        *to++ = (uint8_t)(argument >> shift);
    return to;
}

static uint8_t *put_raw(uint8_t *to, const void *data, size_t length)
{
    memcpy(to, data, length);
    return to + length;
}

static uint8_t *put_map(uint8_t *to, unsigned members) { return put_head(to, MAP, members); }

static uint8_t *put_label(uint8_t *to, struct span text)
{
    return put_raw(put_head(to, TEXT, text.length), text.data, text.length);
}

static uint8_t *put_text(uint8_t *to, const char *text)
{
    return put_label(to, (struct span){(const uint8_t *)text, strlen(text)});
}

static uint8_t *put_number(uint8_t *to, uint64_t number) { return put_head(to, UNSIGNED, number); }

static uint8_t *put_negative(uint8_t *to, int64_t number) { return put_head(to, NEGATIVE, (uint64_t)(-1 - number)); }

static uint8_t *put_false(uint8_t *to) { return put_head(to, SIMPLE, 20); }

static uint8_t *put_bytes(uint8_t *to, uint64_t length) { return put_head(to, BYTES, length); }

static uint8_t *put_nothing(uint8_t *to) { return to; }

static size_t copy(uint8_t *to, struct span text)
{
    if (to)
        memcpy(to, text.data, text.length);
    return text.length;
}

const struct encoding cbor_encoding = {
    .map = put_map,
    .map_end = put_nothing,
    .key = put_text,
    .text = put_text,
    .label = put_label,
    .number = put_number,
    .negative = put_negative,
    .no = put_false,
    .bytes = put_bytes,
    .bytes_end = put_nothing,
    .escape = copy,
};

size_t accepted_write(uint8_t *to, struct span id)
{
    uint8_t *at = put_map(to + FRAME_LENGTH_SIZE, 2);
    at = put_raw(put_text(at, "id"), id.data, id.length);
    at = put_map(put_text(at, "result"), 1);
    at = put_text(put_text(at, "status"), "accepted");
    frame_put_length(to, (uint32_t)(at - to) - FRAME_LENGTH_SIZE);
    return (size_t)(at - to);
}
