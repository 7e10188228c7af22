/* Fuzz target: a stream of lines that comes in pieces, against one that looks at every byte of the whole.
 *
 * The first byte is the longest line, the second the size of the pieces; the rest is what a connection sends.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The line at `start`: where it ends, where the next one starts, and whether there is anything in it. */
struct line {
    size_t end, next;
    bool blank;
};

static struct line line_at(const uint8_t *data, size_t size, size_t start)
{
    struct line line = {start, size, true};
    while (line.end < size && data[line.end] != '\n')
        line.end++;
    if (line.end < size)
        line.next = line.end + 1;
    if (line.end > start && data[line.end - 1] == '\r')
        line.end--;
    for (size_t i = start; i < line.end; i++)
        line.blank &= data[i] == ' ' || data[i] == '\t' || data[i] == '\r';
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint32_t max = data[0];
    size_t step = 1 + data[1], start = 0, come = 0, scanned = 0;
    data += 2;
    size -= 2;
    for (bool ended = false;;) {
        struct found found;
        /* A copy of exactly what has come: reading past its end is seen. */
        uint8_t *copy = malloc(come - start + 1), *exact = realloc(copy, come - start ? come - start : 1);
        REQUIRE(exact);
        memcpy(exact, data + start, come - start);
        enum frame_split split =
            framings[FRAMING_LINES].split(exact, come - start, max, ended, &scanned, &found);
        free(exact);
        struct line line = line_at(data, size, start);
        if (split == FRAME_TOO_LARGE) {
            REQUIRE(line.end - start > max && found.size > max);
            return 0;
        }
        if (split == FRAME_WHOLE) {
            REQUIRE(found.size == line.end - start && found.size <= max && start + found.taken == line.next);
            REQUIRE(!found.body == line.blank);
            start += found.taken;
            scanned = 0;
            continue;
        }
        REQUIRE(come < line.next || (come == size && !ended) || start == size);
        if (ended) {
            REQUIRE(start == size);
            return 0;
        }
        ended = come == size;
        come = size - come < step ? size : come + step;
    }
}
