/* The little JSON (RFC 8259) that the engine writes.  Nothing of it is read here. */
#include "engine/core/encoding.h"

#include <string.h>

static uint8_t *put(uint8_t *to, const void *data, size_t length)
{
    memcpy(to, data, length);
    return to + length;
}

static uint8_t *put_map(uint8_t *to, unsigned members)
{
    (void)members;
    *to = '{';
    return to + 1;
}

static uint8_t *put_map_end(uint8_t *to)
{
    *to = '}';
    return to + 1;
}

static uint8_t *put_quote(uint8_t *to)
{
    *to = '"';
    return to + 1;
}

static uint8_t *put_label(uint8_t *to, struct span escaped)
{
    return put_quote(put(put_quote(to), escaped.data, escaped.length));
}

static uint8_t *put_text(uint8_t *to, const char *text)
{
    return put_label(to, (struct span){(const uint8_t *)text, strlen(text)});
}

/* The first member of a map follows its brace, others a comma. */
static uint8_t *put_key(uint8_t *to, const char *key)
{
    if (to[-1] != '{')
        *to++ = ',';
    to = put_text(to, key);
    *to = ':';
    return to + 1;
}

static uint8_t *put_number(uint8_t *to, uint64_t number)
{
    uint8_t digits[20], *at = digits + sizeof digits;
    do
        *--at = (uint8_t)('0' + number % 10);
    while (number /= 10);
    return put(to, at, (size_t)(digits + sizeof digits - at));
}

static uint8_t *put_negative(uint8_t *to, int64_t number)
{
    *to = '-';
    return put_number(to + 1, 0 - (uint64_t)number);
}

static uint8_t *put_false(uint8_t *to) { return put(to, "false", 5); }

static uint8_t *put_bytes(uint8_t *to, uint64_t length)
{
    (void)length;
    return put_quote(to);
}

/* Quotes, backslashes and control characters; the rest of UTF-8 stands for itself. */
static size_t escape(uint8_t *to, struct span text)
{
    size_t size = 0;
    for (size_t i = 0; i < text.length; i++) {
        uint8_t each = text.data[i], unicode[] = {'\\', 'u', '0', '0', '0', '0'}, pair[] = {'\\', each};
        struct span as = {&text.data[i], 1};
        if (each < 0x20) {
            unicode[4] = (uint8_t)('0' + (each >> 4));
            unicode[5] = (uint8_t)"0123456789abcdef"[each & 15];
            as = (struct span){unicode, sizeof unicode};
        } else if (each == '"' || each == '\\') {
            as = (struct span){pair, sizeof pair};
        }
        if (to)
            memcpy(to + size, as.data, as.length);
        size += as.length;
    }
    return size;
}

const struct encoding json_encoding = {
    .map = put_map,
    .map_end = put_map_end,
    .key = put_key,
    .text = put_text,
    .label = put_label,
    .number = put_number,
    .negative = put_negative,
    .no = put_false,
    .bytes = put_bytes,
    .bytes_end = put_quote,
    .escape = escape,
    .base64 = true,
};
