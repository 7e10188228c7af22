/* JSON without spaces; byte strings are base64 text. */
#include "measure.h"
#include "message.h"

struct cursor {
    const char *at, *end;
};

/* A comma goes before every item but the first of a map or list and the value of a key. */
static void comma(struct request *r) {
    if (r->end > r->start && !strchr("{[:", r->data[r->end - 1])) put(r, ",", 1);
}

static void literal(struct request *r, const char *value) {
    comma(r);
    put(r, value, strlen(value));
}

static void map(struct request *r, size_t members) { (void)members, literal(r, "{"); }
static void list(struct request *r, size_t items) { (void)items, literal(r, "["); }
static void end_map(struct request *r) { put(r, "}", 1); }
static void end_list(struct request *r) { put(r, "]", 1); }
static void boolean(struct request *r, bool value) { literal(r, value ? "true" : "false"); }

static void text(struct request *r, const char *value) {
    if (strpbrk(value, "\"\\\n")) die("this text would need escapes");
    literal(r, "\"");
    put(r, value, strlen(value));
    put(r, "\"", 1);
}

static void key(struct request *r, const char *name) {
    text(r, name);
    put(r, ":", 1);
}

static void integer(struct request *r, int64_t value) {
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)value);
    literal(r, digits);
}

static void byte(struct request *r, char value) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char base64[] = {alphabet[(uint8_t)value >> 2], alphabet[(uint8_t)value << 4 & 63], '=', '=', 0};
    text(r, base64);
}

static char peek(struct cursor *c) {
    if (c->at >= c->end) die("JSON text cut short");
    return *c->at;
}

static const char *read_string(struct cursor *c, size_t *length) {
    if (peek(c) != '"') die("expected a JSON string");
    const char *from = ++c->at, *quote = from - 1;
    do {
        quote = memchr(quote + 1, '"', (size_t)(c->end - quote - 1));
        if (!quote) die("JSON string cut short");
    } while (quote[-1] == '\\');
    c->at = quote + 1;
    *length = (size_t)(quote - from);
    return from;
}

static void skip(struct cursor *c) {
    size_t length;
    int depth = 0;
    do {
        char next = peek(c);
        if (next == '"') {
            read_string(c, &length);
            continue;
        }
        depth += (next == '{' || next == '[') - (next == '}' || next == ']');
        c->at++;
    } while (depth || !strchr(",}]", peek(c)));
}

static int64_t read_integer(struct cursor *c) {
    char *end;
    int64_t value = strtoll(c->at, &end, 10);
    c->at = end;
    return value;
}

/* Enters an object or goes on to its next member; false at its end. */
static bool member(struct cursor *c, const char **name, size_t *length) {
    char mark = peek(c);
    c->at++;
    if (mark == '}' || (mark == '{' && peek(c) == '}' && c->at++)) return false;
    if (mark != '{' && mark != ',') die("expected a JSON object without spaces");
    *name = read_string(c, length);
    if (*c->at++ != ':') die("expected a colon");
    return true;
}

static uint64_t base64_bytes(const char *text, size_t length) {
    if (!length) return 0;
    return length / 4 * 3 - (text[length - 1] == '=') - (text[length - 2] == '=');
}

static void read_members(struct cursor *c, struct message *m) {
    const char *name;
    size_t length;
    while (member(c, &name, &length)) {
        if (same(name, length, "processId")) {
            const char *id = read_string(c, &length);
            m->process = process_number(id, length);
        } else if (same(name, length, "chunk") || same(name, length, "dataBase64")) {
            const char *chunk = read_string(c, &length);
            m->bytes = base64_bytes(chunk, length);
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
    struct cursor c = {text.data, text.data + text.length};
    struct message m = {.id = -1, .process = -1};
    const char *name;
    size_t length;
    while (member(&c, &name, &length)) {
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

const struct codec json_codec = {map, list, end_map, end_list, key, text, integer, boolean, byte, parse};
