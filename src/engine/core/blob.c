#define _GNU_SOURCE
#include "engine/core/blob.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/core/base64.h"

/* Bytes from which it is worth asking for large pages. */
#define HUGE_FROM (8u << 20)

static size_t pages(size_t length)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (length + page - 1) & ~(page - 1);
}

int blob_init(struct blob *blob, size_t length)
{
    size_t mapped = pages(length);
    *blob = (struct blob){0};
    if (mapped < length)
        return -ENOMEM;
    if (length == 0)
        return 0;
    void *data = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return -ENOMEM;
    if (length >= HUGE_FROM)
        madvise(data, mapped, MADV_HUGEPAGE); /* fewer faults while it is filled; some kernels refuse: fine */
    *blob = (struct blob){data, length, mapped};
    return 0;
}

void blob_free(struct blob *blob)
{
    if (blob->mapped)
        munmap(blob->data, blob->mapped);
    *blob = (struct blob){0};
}

void blob_truncate(struct blob *blob, size_t length)
{
    size_t keep = pages(length);
    if (keep < blob->mapped)
        munmap(blob->data + keep, blob->mapped - keep);
    blob->length = length;
    blob->mapped = keep;
}

uint64_t blob_message_length(size_t around, size_t length, bool base64)
{
    return around + (base64 ? base64_length(length) : length);
}

static size_t least(uint64_t a, uint64_t b) { return (size_t)(a < b ? a : b); }

static struct iovec part_of(struct span span, uint64_t from, uint64_t most)
{
    return (struct iovec){(uint8_t *)span.data + from, least(span.length - from, most)};
}

/* Up to `most` characters of the blob's text, from the one at `from`. */
static struct iovec text_of(const struct blob *blob, uint64_t from, size_t most, uint8_t *space)
{
    size_t first = (size_t)(from / 4 * 3), skip = from % 4;
    size_t length = base64_encode(space, blob->data + first, least(blob->length - first, (most + skip + 3) / 4 * 3));
    return (struct iovec){space + skip, least(length - skip, most)};
}

struct iovec blob_message_piece(const struct blob_message *message, uint64_t position, size_t limit, uint8_t *space)
{
    const struct layout *layout = &message->layout;
    const struct blob *blob = &message->blob;
    uint64_t last = layout->length <= layout->part ? 0 : (layout->length - 1) / layout->part;
    uint64_t number = last ? position / layout_position(layout, layout->part) : 0;
    uint64_t start = (number < last ? number : last) * layout->part;
    position -= layout_position(layout, start);
    size_t header = layout->framing->header(space, layout, start);
    if (position < header)
        return part_of((struct span){space, header}, position, limit);
    uint64_t at = start + position - header;
    size_t most = number < last ? least(limit, start + layout->part - at) : limit;
    if (at < message->head.length)
        return part_of(message->head, at, most);
    at -= message->head.length;
    uint64_t data = message->base64 ? base64_length(blob->length) : blob->length;
    if (at >= data)
        return part_of(message->tail, at - data, most);
    if (message->base64)
        return text_of(blob, at, most, space);
    return part_of((struct span){blob->data, blob->length}, at, most);
}
