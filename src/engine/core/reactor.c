#define _GNU_SOURCE
#include "engine/core/reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/channel.h"
#include "engine/core/process.h"

/* How long one engine_poll() may go on without coming up for the loop above: rounds of up to EVENTS_PER_ROUND ready
 * descriptors, of which each does a bounded amount, until this much time has passed. */
#define POLL_NANOSECONDS 2000000
#define EVENTS_PER_ROUND 64

int engine_init(struct engine *engine, size_t memory_limit, const char *spill_dir, uint64_t spill_limit)
{
    memset(engine, 0, sizeof *engine);
    engine->wake = (struct source){.kind = SOURCE_WAKE, .fd = -1, .owner = engine};
    engine->dirty_end = &engine->dirty;
    engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (engine->epoll_fd < 0)
        return -errno;
    int error = spawner_init(&engine->spawner);
    if (error) {
        close(engine->epoll_fd);
        return error;
    }
    engine->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    error = engine->wake.fd < 0 ? -errno : source_want(engine, &engine->wake, EPOLLIN);
    char *dir = spill_dir && !error ? strdup(spill_dir) : NULL;
    if (spill_dir && !dir && !error)
        error = -ENOMEM;
    engine->budget = (struct log_budget){.memory_limit = memory_limit, .spill_limit = spill_limit, .spill_dir = dir};
    if (error)
        engine_destroy(engine);
    return error;
}

void engine_destroy(struct engine *engine)
{
    source_close(engine, &engine->wake);
    spawner_destroy(&engine->spawner);
    close(engine->epoll_fd);
    free((void *)engine->budget.spill_dir);
    free(engine->events);
    free(engine->space);
    memset(engine, 0, sizeof *engine);
    engine->epoll_fd = -1;
}

int source_want(struct engine *engine, struct source *source, uint32_t interest)
{
    if (source->fd < 0 || interest == source->interest)
        return 0;
    struct epoll_event event = {.events = interest, .data.ptr = source};
    int operation = interest == 0 ? EPOLL_CTL_DEL : source->interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(engine->epoll_fd, operation, source->fd, &event) < 0)
        return -errno;
    source->interest = interest;
    return 0;
}

void source_close(struct engine *engine, struct source *source)
{
    if (source->fd < 0)
        return;
    /* Not left to close(2): a copy of the descriptor elsewhere would keep the registration alive. */
    source_want(engine, source, 0);
    close(source->fd);
    source->fd = -1;
}

struct event *engine_event(struct engine *engine, enum event_kind kind)
{
    if (engine->event_count == engine->event_cap) {
        size_t cap = engine->event_cap ? engine->event_cap * 2 : 64;
        struct event *events = realloc(engine->events, cap * sizeof *events);
        if (!events) {
            engine->out_of_memory = true;
            return NULL;
        }
        engine->events = events;
        engine->event_cap = cap;
    }
    struct event *event = &engine->events[engine->event_count++];
    *event = (struct event){.kind = kind};
    return event;
}

void engine_wake(struct engine *engine) { eventfd_write(engine->wake.fd, 1); }

static void handle(struct engine *engine, struct source *source, uint32_t events)
{
    struct process *process = source->owner;
    struct channel *channel = source->owner;
    eventfd_t count;
    if (source->fd < 0)
        return; /* closed earlier in this round */
    switch (source->kind) {
    case SOURCE_OUTPUT:
        process_readable(process, source == &process->output[1], events);
        break;
    case SOURCE_INPUT:
        process_writable(process);
        break;
    case SOURCE_EXIT:
        process_exited(process);
        break;
    case SOURCE_CHANNEL_OUT:
        channel_writable(channel);
        break;
    case SOURCE_CHANNEL_IN:
        if (events & EPOLLOUT)
            channel_writable(channel);
        if (events & EPOLLIN)
            channel_readable(channel);
        else if (events & (EPOLLHUP | EPOLLERR))
            channel_hung_up(channel);
        break;
    case SOURCE_WAKE:
        eventfd_read(engine->wake.fd, &count);
        break;
    }
}

/* Flush the channels that have something to send; those that still have wait for the next round. */
static void flush_dirty(struct engine *engine)
{
    struct channel *channel = engine->dirty;
    engine->dirty = NULL;
    engine->dirty_end = &engine->dirty;
    while (channel) {
        struct channel *next = channel->dirty_next;
        channel->dirty = false;
        channel_flush(channel);
        channel = next;
    }
}

/* The kernel takes its time to bury a process: news of its end has gone out by now. */
static void reap_zombies(struct engine *engine)
{
    struct process *process = engine->zombies;
    engine->zombies = NULL;
    for (struct process *next; process; process = next) {
        next = process->next_zombie;
        process_reap(process);
    }
}

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool engine_poll(struct engine *engine)
{
    struct epoll_event ready[EVENTS_PER_ROUND];
    int64_t until = nanoseconds() + POLL_NANOSECONDS;
    engine->turn++;
    flush_dirty(engine);
    while (engine->event_count == 0) {
        int count = epoll_wait(engine->epoll_fd, ready, EVENTS_PER_ROUND, 0);
        if (count <= 0 && !engine->dirty)
            return false;
        for (int i = 0; i < count; i++)
            if (((struct source *)ready[i].data.ptr)->kind != SOURCE_EXIT)
                handle(engine, ready[i].data.ptr, ready[i].events);
        for (int i = 0; i < count; i++) /* exits last: output that is ready comes before them */
            if (((struct source *)ready[i].data.ptr)->kind == SOURCE_EXIT)
                handle(engine, ready[i].data.ptr, ready[i].events);
        flush_dirty(engine);
        reap_zombies(engine);
        if (nanoseconds() > until)
            break;
    }
    return true;
}
