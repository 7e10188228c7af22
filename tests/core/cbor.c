#include "cbor.h"

#include <string.h>

/* ---- reading ---------------------------------------------------------------------------------------------------- */

int cbor_tokens(const uint8_t *data, size_t length, struct cbor_token *tokens, int max)
{
    int count = 0;
    for (size_t at = 0; at < length; count++) {
        static const uint8_t widths[32] = {[24] = 1, [25] = 2, [26] = 4, [27] = 8};
        unsigned info = data[at] % 32, width = widths[info];
        if (count == max || info > 27 || length - at <= width)
            return -1;
        struct cbor_token *token = &tokens[count];
        *token = (struct cbor_token){.major = data[at] / 32, .argument = width ? 0 : info, .item.data = data + at};
        for (unsigned i = 1; i <= width; i++)
            token->argument = token->argument * 256 + data[at + i];
        at += 1 + width;
        if (token->major == CBOR_BYTES || token->major == CBOR_TEXT) {
            if (token->argument > length - at)
                return -1;
            token->content = (struct span){data + at, (size_t)token->argument};
            at += token->content.length;
        }
        token->item.length = (size_t)(data + at - token->item.data);
    }
    return count;
}

bool cbor_is_text(const struct cbor_token *token, const char *text)
{
    return token->major == CBOR_TEXT && token->content.length == strlen(text) &&
           memcmp(token->content.data, text, token->content.length) == 0;
}

static bool is_ascii(const struct cbor_token *token)
{
    for (size_t i = 0; i < token->content.length; i++)
        if (token->content.data[i] >= 128)
            return false;
    return true;
}

/* The value of `key` among `pairs` pairs of scalars; NULL when it is missing or there twice. */
static const struct cbor_token *member(const struct cbor_token *tokens, uint64_t pairs, const char *key)
{
    const struct cbor_token *found = NULL;
    for (uint64_t i = 0; i < pairs; i++)
        if (cbor_is_text(&tokens[2 * i], key)) {
            if (found)
                return NULL;
            found = &tokens[2 * i + 1];
        }
    return found;
}

static bool is_plain_id(const struct cbor_token *id)
{
    if (id->major == CBOR_TEXT)
        return is_ascii(id);
    return (id->major == CBOR_UNSIGNED || id->major == CBOR_NEGATIVE) && id->argument < (uint64_t)1 << 63;
}

static bool read_write(const struct cbor_token *params, uint64_t pairs, struct request *request)
{
    const struct cbor_token *process = member(params, pairs, "processId"), *chunk = member(params, pairs, "chunk");
    const struct cbor_token *write_id = member(params, pairs, "writeId");
    if (!process || process->major != CBOR_TEXT || !chunk || chunk->major != CBOR_BYTES)
        return false;
    if (pairs != 2 + (write_id != NULL))
        return false;
    if (write_id) {
        if (write_id->major != CBOR_TEXT || write_id->argument == 0 || !is_ascii(write_id))
            return false;
        request->write_id = write_id->content;
    }
    request->process = process->content;
    request->chunk = chunk->content;
    return true;
}

static bool read_ack(const struct cbor_token *params, uint64_t pairs, struct request *request)
{
    const struct cbor_token *process = member(params, pairs, "processId"), *seq = member(params, pairs, "seq");
    if (pairs != 2 || !process || process->major != CBOR_TEXT || !seq || seq->major != CBOR_UNSIGNED)
        return false;
    request->process = process->content;
    request->seq = seq->argument;
    return true;
}

/* The tokens of a plain message are: a map, its pairs, and in the place of the value of "params" a map and its pairs. */
enum request_kind cbor_request(const uint8_t *body, size_t length, struct request *request)
{
    struct cbor_token tokens[32], *params = NULL;
    int count = cbor_tokens(body, length, tokens, 32);
    *request = (struct request){0};
    if (count < 1 || tokens[0].major != CBOR_MAP || tokens[0].argument < 2 || tokens[0].argument > 3)
        return REQUEST_OTHER;
    const struct cbor_token *id = NULL, *method = NULL;
    int at = 1;
    for (uint64_t pair = 0; pair < tokens[0].argument; pair++, at += 2) {
        if (at + 1 >= count)
            return REQUEST_OTHER;
        struct cbor_token *key = &tokens[at], *value = &tokens[at + 1];
        if (cbor_is_text(key, "id") && !id) {
            id = value;
        } else if (cbor_is_text(key, "method") && !method) {
            method = value;
        } else if (cbor_is_text(key, "params") && !params && value->major == CBOR_MAP && value->argument < 8) {
            params = value;
            at += 2 * (int)value->argument;
        } else {
            return REQUEST_OTHER;
        }
    }
    if (at != count || !method || !params)
        return REQUEST_OTHER;
    if (id && is_plain_id(id) && cbor_is_text(method, "process/write") &&
        read_write(params + 1, params->argument, request)) {
        request->id = id->item;
        return REQUEST_WRITE;
    }
    if (!id && cbor_is_text(method, "process/ack") && read_ack(params + 1, params->argument, request))
        return REQUEST_ACK;
    return REQUEST_OTHER;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

void cbor_head(struct cbor_writer *to, int major, uint64_t argument)
{
    int width = argument < 24 ? 0 : argument < 256 ? 1 : argument < 65536 ? 2 : argument < (uint64_t)1 << 32 ? 4 : 8;
    static const uint8_t infos[] = {[1] = 24, [2] = 25, [4] = 26, [8] = 27};
    to->data[to->length++] = (uint8_t)(major * 32 + (width ? infos[width] : (int)argument));
    while (width--)
        to->data[to->length++] = (uint8_t)(argument >> 8 * width);
}

void cbor_raw(struct cbor_writer *to, const void *data, size_t length)
{
    if (length)
        memcpy(to->data + to->length, data, length);
    to->length += length;
}

void cbor_string(struct cbor_writer *to, int major, const void *data, size_t length)
{
    cbor_head(to, major, length);
    cbor_raw(to, data, length);
}

void cbor_text(struct cbor_writer *to, const char *text) { cbor_string(to, CBOR_TEXT, text, strlen(text)); }
