#include "engine/core/notice.h"

static const char *const streams[] = {"stdout", "stderr", "pty"}; /* by enum log_stream */

/* A notification whose params have `members` members, as far as the first two, which all of them begin with. */
static uint8_t *begin(uint8_t *to, const struct encoding *as, const char *method, unsigned members, struct span name,
                      uint64_t seq)
{
    to = as->key(as->map(to, 2), "method");
    to = as->key(as->text(to, method), "params");
    to = as->key(as->map(to, members), "processId");
    to = as->key(as->label(to, name), "seq");
    return as->number(to, seq);
}

static uint8_t *end(uint8_t *to, const struct encoding *as) { return as->map_end(as->map_end(to)); }

size_t output_head(uint8_t *to, struct voice voice, struct span name, uint64_t seq, int stream, uint64_t offset,
                   uint32_t length)
{
    const struct encoding *as = voice.encoding;
    uint8_t *at = begin(to, as, "process/output", voice.plain ? 4 : 5, name, seq);
    at = as->text(as->key(at, "stream"), streams[stream]);
    if (!voice.plain)
        at = as->number(as->key(at, "offset"), offset);
    at = as->bytes(as->key(at, "chunk"), length);
    return (size_t)(at - to);
}

size_t output_tail(uint8_t *to, struct voice voice)
{
    return (size_t)(end(voice.encoding->bytes_end(to), voice.encoding) - to);
}

size_t exited_notice(uint8_t *to, struct voice voice, struct span name, uint64_t seq, struct ending ending)
{
    const struct encoding *as = voice.encoding;
    unsigned members = voice.plain ? 4 : ending.signal ? 6 : 5;
    uint8_t *at = begin(to, as, "process/exited", members, name, seq);
    at = as->key(at, "exitCode");
    at = ending.code < 0 ? as->negative(at, ending.code) : as->number(at, (uint64_t)ending.code);
    at = as->no(as->key(at, "sandboxDenied"));
    if (!voice.plain)
        at = as->text(as->key(at, "reason"), ending.reason);
    if (!voice.plain && ending.signal)
        at = as->text(as->key(at, "signal"), ending.signal);
    return (size_t)(end(at, as) - to);
}

size_t closed_notice(uint8_t *to, struct voice voice, struct span name, uint64_t seq, unsigned which,
                     const uint64_t *totals, const uint32_t *crcs)
{
    const struct encoding *as = voice.encoding;
    uint8_t *at = begin(to, as, "process/closed", voice.plain ? 2 : 3, name, seq);
    if (voice.plain)
        return (size_t)(end(at, as) - to);
    at = as->map(as->key(at, "streams"), (unsigned)__builtin_popcount(which));
    for (unsigned i = 0; i < sizeof streams / sizeof *streams; i++) {
        char digest[] = "crc32c:00000000";
        if (!(which & 1u << i))
            continue;
        for (int digit = 0; digit < 8; digit++)
            digest[sizeof digest - 2 - digit] = "0123456789abcdef"[crcs[i] >> 4 * digit & 0xf];
        at = as->map(as->key(at, streams[i]), 2);
        at = as->number(as->key(at, "bytes"), totals[i]);
        at = as->map_end(as->text(as->key(at, "digest"), digest));
    }
    return (size_t)(end(as->map_end(at), as) - to);
}
