/* The reactor: one epoll descriptor for every child and every connection, and the queue of what Python must decide.
 *
 * An epoll descriptor can itself be waited for, so the event loop above waits for this one; when it is readable,
 * engine_poll() does all that needs no decision: children's output into logs, logs into sockets, stdin into children,
 * exits.  What is left comes back as events.  One owner, one thread, no locks.
 */
#ifndef EXECNODE_REACTOR_H
#define EXECNODE_REACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/core/log.h"
#include "engine/core/spawn.h"

struct process;
struct channel;

enum source_kind { SOURCE_OUTPUT, SOURCE_INPUT, SOURCE_EXIT, SOURCE_CHANNEL_IN, SOURCE_CHANNEL_OUT, SOURCE_WAKE };

/* A descriptor in the epoll set.  `interest` is what epoll was last told; 0 means not in the set at all, since
 * EPOLLHUP is reported for every member whatever it asked for. */
struct source {
    enum source_kind kind;
    int fd; /* -1: closed */
    uint32_t interest;
    void *owner;
};

enum event_kind {
    EVENT_FRAME,    /* channel: a whole message came in, or some bytes where those are not split: data */
    EVENT_QUEUED,   /* channel: a process/write was taken but not finished: data is its frame, number its ticket */
    EVENT_OVERSIZE, /* channel: a message of at least `number` bytes comes; nothing more is read */
    EVENT_EOF,      /* channel: the peer has ended its side */
    EVENT_BROKEN,   /* channel: error is the errno of a failed read or write */
    EVENT_DRAINED,  /* channel: everything queued has left, as asked by channel_notify_drained() */
    EVENT_MARK,     /* cursor: stands at record `number`, a mark (of kind `error`), to be encoded by the caller */
    EVENT_GAP,      /* cursor: records number to last are gone, with them `bytes` of each stream */
    EVENT_EXITED,   /* process: exited, and reaped */
    EVENT_ENDED,    /* process: exited and all its output is at its end */
    EVENT_NEWS,     /* process: its log has grown, as asked by process->watched */
    EVENT_WRITTEN,  /* process: the write with ticket `number` is over; error 0 or errno */
};

struct event {
    enum event_kind kind;
    struct process *process;
    struct channel *channel;
    const uint8_t *data; /* valid until the next call into the engine */
    size_t length;
    uint64_t number, last;
    int error;
    uint64_t bytes[LOG_STREAMS];
};

struct engine {
    int epoll_fd;
    struct source wake;
    struct spawner spawner;
    struct log_budget budget;
    struct event *events;
    size_t event_count, event_cap;
    bool out_of_memory; /* an event was lost: the caller must raise */
    struct channel *dirty, **dirty_end; /* channels with something to flush */
    struct process *zombies; /* whose end was told, to be waited for before the caller hears of it */
    struct process *stalled;            /* whose log may not grow */
    uint8_t *space; /* where channels encode what leaves at once; made when it is first needed */
    uint64_t turn; /* counts calls of engine_poll() */
    uint64_t next_ticket;
    size_t processes, channels; /* alive, for leak checks */
};

/* Set up an engine; `spill_dir` may be NULL for none and is copied.  Returns 0 or -errno. */
int engine_init(struct engine *engine, size_t memory_limit, const char *spill_dir, uint64_t spill_limit);
void engine_destroy(struct engine *engine);

/* Do what can be done now and collect events in engine->events; whoever has taken them sets event_count to 0.
 * Returns true when there may be more to do at once. */
bool engine_poll(struct engine *engine);

/* Make the epoll descriptor readable, so that the loop above calls engine_poll(). */
void engine_wake(struct engine *engine);

/* For process.c and channel.c. */
struct event *engine_event(struct engine *engine, enum event_kind kind);
int source_want(struct engine *engine, struct source *source, uint32_t interest);
void source_close(struct engine *engine, struct source *source);

#endif
