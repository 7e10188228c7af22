/* Standard input: what waits for a program to read it, and the ids of what it was given. */
#include "engine/core/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "engine/core/quiet.h"

static uint64_t hash(struct span id)
{
    uint64_t value = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < id.length; i++)
        value = (value ^ id.data[i]) * 1099511628211u;
    return value;
}

static bool ids_contain(const struct write_ids *ids, struct span id, uint64_t value)
{
    for (size_t i = 0; i < ids->count; i++)
        if (ids->hashes[i] == value && ids->ids[i].length == id.length &&
            memcmp(ids->ids[i].data, id.data, id.length) == 0)
            return true;
    return false;
}

static bool ids_room(struct write_ids *ids)
{
    if (ids->count < ids->cap || ids->cap == WRITE_IDS_MAX)
        return true;
    size_t cap = ids->cap ? ids->cap * 4 : 16;
    uint64_t *hashes = realloc(ids->hashes, cap * sizeof *hashes);
    if (hashes)
        ids->hashes = hashes;
    struct span *spans = hashes ? realloc(ids->ids, cap * sizeof *spans) : NULL;
    if (!spans)
        return false;
    ids->ids = spans;
    ids->cap = cap;
    return true;
}

/* Remember an accepted id, forgetting the oldest when full.  Out of memory: the id is not remembered. */
static void ids_add(struct write_ids *ids, struct span id, uint64_t value)
{
    uint8_t *copy = id.length && ids_room(ids) ? malloc(id.length) : NULL;
    if (!copy)
        return;
    memcpy(copy, id.data, id.length);
    size_t at = ids->next;
    if (at < ids->count)
        free((void *)ids->ids[at].data);
    else
        ids->count++;
    ids->hashes[at] = value;
    ids->ids[at] = (struct span){copy, id.length};
    ids->next = (at + 1) % WRITE_IDS_MAX;
}

static ssize_t write_input(struct process *p, const void *data, size_t length)
{
    return writev_quietly(p->input.fd, &(struct iovec){(void *)data, length}, 1);
}

static void written(struct process *p, struct input_item *item, int error)
{
    struct event *event = engine_event(p->engine, EVENT_WRITTEN);
    if (event) {
        event->process = p;
        event->number = item->ticket;
        event->error = error;
    }
    if (!error)
        ids_add(&p->write_ids, (struct span){item->id, item->id_length}, item->id_hash);
    p->queued -= item->length + INPUT_ITEM_COST;
    p->queue = item->next;
    if (!p->queue)
        p->queue_end = &p->queue;
    free(item);
}

void process_input_failed(struct process *p, int error)
{
    if (p->tty && !p->exited) { /* it may open its terminal again */
        source_want(p->engine, &p->input, 0);
    } else {
        if (p->input.fd >= 0)
            p->input_error = error;
        source_close(p->engine, &p->input);
    }
    while (p->queue)
        written(p, p->queue, error);
}

void process_writable(struct process *p)
{
    while (p->queue) {
        struct input_item *item = p->queue;
        ssize_t n = write_input(p, item->data + item->written, item->length - item->written);
        if (n == -EAGAIN) {
            source_want(p->engine, &p->input, EPOLLOUT);
            return;
        }
        if (n < 0) {
            process_input_failed(p, (int)-n);
            return;
        }
        item->written += (size_t)n;
        if (item->written == item->length)
            written(p, item, 0);
    }
    source_want(p->engine, &p->input, 0);
    if (p->input_closing)
        source_close(p->engine, &p->input);
}

static enum write_result enqueue(struct process *p, struct span data, size_t done, struct span id, uint64_t value,
                                 uint64_t *ticket, int *error)
{
    struct input_item *item = malloc(sizeof *item + data.length + id.length);
    if (!item) {
        *error = ENOMEM;
        return WRITE_FAILED;
    }
    *item = (struct input_item){.ticket = ++p->engine->next_ticket,
                                .length = data.length,
                                .written = done,
                                .id_hash = value,
                                .id_length = id.length,
                                .id = item->data + data.length};
    memcpy(item->data, data.data, data.length);
    if (id.length)
        memcpy(item->id, id.data, id.length);
    *p->queue_end = item;
    p->queue_end = &item->next;
    p->queued += data.length + INPUT_ITEM_COST;
    *ticket = item->ticket;
    return WRITE_QUEUED;
}

enum write_result process_write(struct process *p, struct span data, struct span id, uint64_t *ticket, int *error)
{
    uint64_t value = hash(id);
    if (id.length && ids_contain(&p->write_ids, id, value))
        return WRITE_REPEATED;
    for (struct input_item *item = p->queue; item && id.length; item = item->next)
        if (item->id_hash == value && item->id_length == id.length && memcmp(item->id, id.data, id.length) == 0) {
            *ticket = item->ticket; /* a repeat of one that still waits shares its fate */
            return WRITE_QUEUED;
        }
    if (p->input_error) {
        *error = p->input_error;
        return WRITE_FAILED;
    }
    if (p->input.fd < 0 || p->input_closing)
        return WRITE_CLOSED;
    if (p->queue) {
        if (p->queued + data.length + INPUT_ITEM_COST > INPUT_QUEUE_MAX)
            return WRITE_FULL;
        return enqueue(p, data, 0, id, value, ticket, error);
    }
    ssize_t n = data.length ? write_input(p, data.data, data.length) : 0;
    if (n == -EAGAIN)
        n = 0;
    if (n < 0) {
        *error = (int)-n;
        process_input_failed(p, *error);
        return WRITE_FAILED;
    }
    if ((size_t)n < data.length) {
        int failed = source_want(p->engine, &p->input, EPOLLOUT);
        if (failed) {
            *error = -failed;
            return WRITE_FAILED;
        }
        return enqueue(p, data, (size_t)n, id, value, ticket, error);
    }
    ids_add(&p->write_ids, id, value);
    return WRITE_DONE;
}

bool process_close_input(struct process *p)
{
    if (p->input.fd < 0 || p->tty)
        return false;
    p->input_closing = true;
    if (!p->queue)
        source_close(p->engine, &p->input);
    return true;
}
