#include "engine/core/framing.h"

#include <string.h>

#include "engine/core/frame.h"
#include "engine/core/websocket.h"

/* ---- incoming --------------------------------------------------------------------------------------------------- */

static enum frame_split split_frames(const uint8_t *data, size_t length, uint32_t max, bool ended, size_t *scanned,
                                     struct found *found)
{
    (void)ended;
    (void)scanned;
    *found = (struct found){0};
    if (length < FRAME_LENGTH_SIZE)
        return FRAME_PARTIAL;
    found->size = frame_length(data);
    if (found->size > max)
        return FRAME_TOO_LARGE;
    if (length - FRAME_LENGTH_SIZE < found->size)
        return FRAME_PARTIAL;
    found->body = data + FRAME_LENGTH_SIZE;
    found->taken = FRAME_LENGTH_SIZE + (size_t)found->size;
    return FRAME_WHOLE;
}

static bool is_blank(const uint8_t *line, size_t length)
{
    while (length && (*line == ' ' || *line == '\t' || *line == '\r'))
        line++, length--;
    return length == 0;
}

static enum frame_split split_lines(const uint8_t *data, size_t length, uint32_t max, bool ended, size_t *scanned,
                                    struct found *found)
{
    const uint8_t *feed = length > *scanned ? memchr(data + *scanned, '\n', length - *scanned) : NULL;
    size_t size = *scanned = feed ? (size_t)(feed - data) : length;
    if (size && data[size - 1] == '\r')
        size--;
    *found = (struct found){.size = size, .taken = *scanned + (feed != NULL)};
    if (size > max)
        return FRAME_TOO_LARGE;
    if (!feed && (!ended || length == 0))
        return FRAME_PARTIAL;
    found->body = is_blank(data, size) ? NULL : data;
    return FRAME_WHOLE;
}

static enum frame_split split_nothing(const uint8_t *data, size_t length, uint32_t max, bool ended, size_t *scanned,
                                      struct found *found)
{
    (void)max;
    (void)ended;
    (void)scanned;
    *found = (struct found){data, length, length};
    return length ? FRAME_WHOLE : FRAME_PARTIAL;
}

/* ---- outgoing --------------------------------------------------------------------------------------------------- */

static size_t header_of_frame(uint8_t *to, const struct layout *layout, uint64_t start)
{
    (void)start;
    frame_put_length(to, (uint32_t)layout->length);
    return FRAME_LENGTH_SIZE;
}

static size_t header_of_line(uint8_t *to, const struct layout *layout, uint64_t start)
{
    (void)to;
    (void)layout;
    (void)start;
    return 0;
}

static size_t header_of_websocket(uint8_t *to, const struct layout *layout, uint64_t start)
{
    uint64_t rest = layout->length - start;
    enum websocket_opcode opcode = start ? WEBSOCKET_CONTINUATION : layout->text ? WEBSOCKET_TEXT : WEBSOCKET_BINARY;
    return websocket_header(to, opcode, rest <= layout->part, rest < layout->part ? rest : layout->part);
}

const struct framing framings[FRAMINGS] = {
    [FRAMING_FRAMES] = {split_frames, header_of_frame, "", UINT32_MAX, false, false},
    [FRAMING_LINES] = {split_lines, header_of_line, "\n", UINT64_MAX, false, false},
    [FRAMING_WEBSOCKET] = {split_nothing, header_of_websocket, "", INT64_MAX, true, true},
};

struct layout layout_plan(const struct framing *framing, bool text, uint64_t length, uint64_t most, uint64_t part)
{
    bool whole = length <= most || !framing->parts;
    return (struct layout){framing, text, length, whole ? length : part};
}

uint64_t layout_position(const struct layout *layout, uint64_t start)
{
    uint8_t header[HEADER_MAX];
    return start == 0 ? 0 : start / layout->part * (layout->framing->header(header, layout, 0) + layout->part);
}

uint64_t layout_size(const struct layout *layout)
{
    uint8_t header[HEADER_MAX];
    uint64_t last = layout->length <= layout->part ? 0 : (layout->length - 1) / layout->part * layout->part;
    return layout_position(layout, last) + layout->framing->header(header, layout, last) + (layout->length - last) +
           strlen(layout->framing->end);
}
