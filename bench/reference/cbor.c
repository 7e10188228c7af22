/* CBOR (RFC 8949) of definite length. */
#include "measure.h"
#include "message.h"

enum { UNSIGNED, NEGATIVE, BYTES, TEXT, LIST, MAP, TAG, SIMPLE };

struct cursor {
    const uint8_t *at, *end;
};

static void head(struct request *r, int major, uint64_t value) {
    uint8_t bytes[9];
    int extra = value < 24 ? 0 : value < 256 ? 1 : value < 65536 ? 2 : value >> 32 ? 8 : 4;
    int code = extra == 0 ? (int)value : extra == 1 ? 24 : extra == 2 ? 25 : extra == 4 ? 26 : 27;
    bytes[0] = (uint8_t)(major << 5 | code);
    for (int i = extra; i > 0; i--, value >>= 8)
        bytes[i] = (uint8_t)value;
    put(r, bytes, (size_t)extra + 1);
}

static void map(struct request *r, size_t members) { head(r, MAP, members); }
static void list(struct request *r, size_t items) { head(r, LIST, items); }
static void end(struct request *r) { (void)r; }
static void boolean(struct request *r, bool value) { head(r, SIMPLE, value ? 21 : 20); }

static void text(struct request *r, const char *value) {
    head(r, TEXT, strlen(value));
    put(r, value, strlen(value));
}

static void integer(struct request *r, int64_t value) {
    head(r, value < 0 ? NEGATIVE : UNSIGNED, value < 0 ? ~(uint64_t)value : (uint64_t)value);
}

static void byte(struct request *r, char value) {
    head(r, BYTES, 1);
    put(r, &value, 1);
}

/* Reads one head; returns its major type, and its argument in `value`. */
static int read_head(struct cursor *c, uint64_t *value) {
    if (c->at >= c->end) die("CBOR item cut short");
    int major = *c->at >> 5, code = *c->at & 31;
    c->at++;
    *value = (uint64_t)code;
    if (code < 24) return major;
    if (code > 27) die("CBOR item of indefinite length");
    int extra = 1 << (code - 24);
    if (c->end - c->at < extra) die("CBOR item cut short");
    for (*value = 0; extra; extra--)
        *value = *value << 8 | *c->at++;
    return major;
}

static const char *take(struct cursor *c, uint64_t length) {
    if ((uint64_t)(c->end - c->at) < length) die("CBOR string cut short");
    const char *data = (const char *)c->at;
    c->at += length;
    return data;
}

static void skip(struct cursor *c) {
    uint64_t value;
    int major = read_head(c, &value);
    if (major == BYTES || major == TEXT) take(c, value);
    if (major == TAG) value = 1;
    if (major == MAP) value *= 2;
    if (major == LIST || major == MAP || major == TAG)
        while (value--)
            skip(c);
}

static int64_t read_integer(struct cursor *c) {
    uint64_t value;
    int major = read_head(c, &value);
    if (major > NEGATIVE) die("expected an integer");
    return major == NEGATIVE ? ~(int64_t)value : (int64_t)value;
}

static const char *read_string(struct cursor *c, uint64_t *length) {
    int major = read_head(c, length);
    if (major != TEXT && major != BYTES) die("expected a string");
    return take(c, *length);
}

static void read_members(struct cursor *c, struct message *m) {
    uint64_t members, length;
    if (read_head(c, &members) != MAP) die("params or result are no map");
    while (members--) {
        const char *name = read_string(c, &length);
        if (same(name, length, "processId")) {
            const char *id = read_string(c, &length);
            m->process = process_number(id, length);
        } else if (same(name, length, "chunk") || same(name, length, "dataBase64")) {
            read_string(c, &m->bytes);
        } else if (same(name, length, "seq")) {
            m->seq = read_integer(c);
        } else if (same(name, length, "exitCode")) {
            m->exit_code = read_integer(c);
        } else {
            skip(c);
        }
    }
}

static struct message parse(struct span text) {
    struct cursor c = {(const uint8_t *)text.data, (const uint8_t *)text.data + text.length};
    struct message m = {.id = -1, .process = -1};
    uint64_t members, length;
    if (read_head(&c, &members) != MAP) die("the message is no map");
    while (members--) {
        const char *name = read_string(&c, &length);
        if (same(name, length, "method")) {
            const char *method = read_string(&c, &length);
            m.kind = kind_of_method(method, length);
        } else if (same(name, length, "params") || same(name, length, "result")) {
            read_members(&c, &m);
        } else if (same(name, length, "id")) {
            m.id = read_integer(&c);
            m.kind = ANSWER;
        } else {
            m.failed |= same(name, length, "error");
            skip(&c);
        }
    }
    return m;
}

const struct codec cbor_codec = {map, list, end, end, text, text, integer, boolean, byte, parse};
