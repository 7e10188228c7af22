#include "json_tokens.h"

#include <string.h>

struct reader {
    const uint8_t *at, *end;
    struct cbor_token *tokens;
    int count, max;
    uint8_t *room;
};

static int digit_of(uint8_t character)
{
    if (character >= 'A' && character <= 'Z')
        return character - 'A';
    if (character >= 'a' && character <= 'z')
        return character - 'a' + 26;
    if (character >= '0' && character <= '9')
        return character - '0' + 52;
    return character == '+' ? 62 : character == '/' ? 63 : -1;
}

long base64_read(uint8_t *to, const uint8_t *text, size_t length)
{
    long size = 0;
    if (length % 4)
        return -1;
    for (size_t i = 0; i < length; i += 4) {
        int pad = i + 4 < length ? 0 : (text[i + 3] == '=') + (text[i + 2] == '=' && text[i + 3] == '=');
        uint32_t bits = 0;
        for (int k = 0; k < 4; k++) {
            int digit = k < 4 - pad ? digit_of(text[i + (size_t)k]) : 0;
            if (digit < 0)
                return -1;
            bits = bits << 6 | (uint32_t)digit;
        }
        if (bits & ((1u << 8 * pad) - 1))
            return -1; /* bits that nobody reads have to be 0 */
        for (int k = 0; k < 3 - pad; k++)
            to[size++] = (uint8_t)(bits >> (16 - 8 * k));
    }
    return size;
}

static struct cbor_token *add(struct reader *reader, int major, uint64_t argument)
{
    if (reader->count == reader->max)
        return NULL;
    struct cbor_token *token = &reader->tokens[reader->count++];
    *token = (struct cbor_token){.major = major, .argument = argument};
    return token;
}

static bool skip(struct reader *reader, const char *text)
{
    size_t length = strlen(text);
    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, text, length) != 0)
        return false;
    reader->at += length;
    return true;
}

static int hexadecimal(uint8_t character)
{
    const char *digits = "0123456789abcdef", *found = character ? strchr(digits, character) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* One character of a string, escaped or not, or -1; escapes of one byte are enough. */
static int read_character(struct reader *reader)
{
    if (reader->at == reader->end || *reader->at < 0x20)
        return -1;
    if (*reader->at != '\\')
        return *reader->at++;
    if (skip(reader, "\\\""))
        return '"';
    if (skip(reader, "\\\\"))
        return '\\';
    if (!skip(reader, "\\u00") || reader->end - reader->at < 2)
        return -1;
    int high = hexadecimal(*reader->at++), low = hexadecimal(*reader->at++);
    return high < 0 || low < 0 || high > 1 ? -1 : 16 * high + low;
}

static bool read_string(struct reader *reader, bool base64)
{
    uint8_t *start = reader->room;
    if (!skip(reader, "\""))
        return false;
    while (!skip(reader, "\"")) {
        int character = read_character(reader);
        if (character < 0)
            return false;
        *reader->room++ = (uint8_t)character;
    }
    long length = reader->room - start;
    if (base64)
        length = base64_read(start, start, (size_t)length);
    struct cbor_token *token = length < 0 ? NULL : add(reader, base64 ? CBOR_BYTES : CBOR_TEXT, (uint64_t)length);
    if (token)
        token->content = (struct span){start, (size_t)length};
    return token;
}

static bool read_number(struct reader *reader)
{
    bool negative = skip(reader, "-");
    const uint8_t *first = reader->at;
    uint64_t value = 0;
    for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *reader->at - '0', &value))
            return false;
    if (reader->at == first || (*first == '0' && (reader->at - first > 1 || negative)))
        return false;
    return add(reader, negative ? CBOR_NEGATIVE : CBOR_UNSIGNED, negative ? value - 1 : value);
}

static bool read_value(struct reader *reader, bool base64);

static bool read_map(struct reader *reader)
{
    int map = reader->count;
    if (!add(reader, CBOR_MAP, 0))
        return false;
    while (!skip(reader, "}")) {
        int key = reader->count;
        if (reader->tokens[map].argument++ && !skip(reader, ","))
            return false;
        if (!read_string(reader, false) || !skip(reader, ":") ||
            !read_value(reader, cbor_is_text(&reader->tokens[key], "chunk")))
            return false;
    }
    return true;
}

static bool read_value(struct reader *reader, bool base64)
{
    if (reader->at < reader->end && *reader->at == '"')
        return read_string(reader, base64);
    if (skip(reader, "{"))
        return read_map(reader);
    if (skip(reader, "false"))
        return add(reader, CBOR_SIMPLE, 20);
    return read_number(reader);
}

int json_tokens(const uint8_t *data, size_t length, struct cbor_token *tokens, int max, uint8_t *room)
{
    struct reader reader = {data, data + length, tokens, 0, max, room};
    return read_value(&reader, false) && reader.at == reader.end ? reader.count : -1;
}
