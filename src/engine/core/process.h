/* A child process: its descriptors, its log and what waits for its standard input. */
#ifndef EXECNODE_PROCESS_H
#define EXECNODE_PROCESS_H

#include "engine/core/channel.h"
#include "engine/core/log.h"
#include "engine/core/notice.h"
#include "engine/core/reactor.h"
#include "engine/core/spawn.h"

/* Accepted write ids that are remembered, and what may wait for a program that does not read. */
#define WRITE_IDS_MAX 4096u
#define WRITE_ID_MAX 1024u
#define INPUT_QUEUE_MAX (8u << 20)
/* What a waiting write counts beyond its bytes: small ones cannot outgrow the bound, nor be many to search. */
#define INPUT_ITEM_COST 2048u

struct input_item {
    struct input_item *next;
    uint64_t ticket;
    size_t length, written;
    uint64_t id_hash;
    size_t id_length;
    uint8_t *id; /* points behind the data */
    uint8_t data[];
};

/* The last WRITE_IDS_MAX accepted ids.  A scan of the hashes, then one comparison: a microsecond when full. */
struct write_ids {
    uint64_t *hashes;
    struct span *ids;
    size_t count, cap, next;
};

struct process {
    struct engine *engine;
    void *handle; /* the caller's */
    pid_t pid;
    bool tty;
    struct source output[2]; /* stdout or terminal, stderr */
    bool stalled[2];         /* not read, since the log may not grow */
    struct process *stalled_prev, *stalled_next;
    bool pipe_grown[2];
    uint32_t read_size[2]; /* of the next read: grows with what comes, so that a short output needs no large ring */
    struct source exit; /* pidfd */
    struct process *next_zombie;
    struct source input;
    bool input_closing; /* close once the queue is empty */
    int input_error;    /* why the program can no longer be written to */
    struct input_item *queue, **queue_end;
    size_t queued; /* bytes, with INPUT_ITEM_COST for each */
    struct write_ids write_ids;
    struct log log;
    struct cursor hold; /* what `block` protects while nobody is attached */
    bool exited, ended; /* ended: EVENT_ENDED was sent */
    bool watched;       /* send EVENT_NEWS at the next growth, once */
    bool caller_tells;  /* marks are the caller's to encode: it has more to say than process_ending() */
    const char *ended_by; /* why the caller has ended it: the reason told at its end; NULL: it has not */
    int exit_kind;      /* CLD_EXITED, CLD_KILLED, CLD_DUMPED; 0 when the status was lost */
    int exit_status;    /* exit code or signal number */
};

struct retention {
    enum log_policy policy;
    uint64_t bytes;
    size_t memory;
};

/* Start a process.  On failure returns its errno, with *stage set (SPAWN_OK: out of memory before the spawn). */
int process_start(struct engine *engine, const struct spawn_plan *plan, struct retention retention,
                  struct process **process, enum spawn_stage *stage);

/* Forget the process: its descriptors are closed, its cursors detached.  It is not killed. */
void process_free(struct process *process);

enum write_result {
    WRITE_DONE,     /* all of it is in the pipe or terminal */
    WRITE_REPEATED, /* the id was accepted before */
    WRITE_QUEUED,   /* *ticket will be answered by EVENT_WRITTEN */
    WRITE_CLOSED,   /* there is no standard input to write to */
    WRITE_FULL,     /* INPUT_QUEUE_MAX bytes wait already; nothing of this one was taken */
    WRITE_FAILED,   /* *error is the errno; it did not reach the program, or not whole */
};

/* `id` has at most WRITE_ID_MAX bytes; none: the write may be repeated. */
enum write_result process_write(struct process *process, struct span data, struct span id, uint64_t *ticket, int *error);

/* End standard input once what is queued has been written.  False when there is none. */
bool process_close_input(struct process *process);

/* Signal the process group; -ESRCH once the leader is reaped. */
int process_signal(struct process *process, int number);

/* Protect the log from record `from` on, or no longer. */
void process_hold(struct process *process, uint64_t from);
void process_release(struct process *process);

/* How it ended, once it has exited. */
struct ending process_ending(const struct process *process);

/* The notification of one of its marks, as exited_notice() and closed_notice() write them. */
size_t process_mark_notice(const struct process *process, uint8_t *to, struct voice voice, struct span name,
                           uint64_t seq, enum log_mark mark);

/* A cursor has moved: look whether stalled output can be read again. */
void process_unstall(struct process *process);

/* For the reactor. */
void process_readable(struct process *process, int index, uint32_t events);
void process_writable(struct process *process);
void process_exited(struct process *process);
void process_reap(struct process *process);

/* For process.c: nobody can read what is written any more; what waits is answered with the error. */
void process_input_failed(struct process *process, int error);

#endif
