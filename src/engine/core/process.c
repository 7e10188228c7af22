#define _GNU_SOURCE
#include "engine/core/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The first read of a stream; four times as much follows each that was filled, up to LOG_CHUNK_MAX. */
#define READ_FIRST 4096u
/* Reads of one stream before others get their turn. */
#define READS_PER_TURN 8
/* What is read of a stream before its process is said to have exited: more than a pipe or terminal holds. */
#define EXIT_DRAIN (1u << 20)
/* A stream that fills a whole default pipe gets a larger one: fewer switches between writer and reader. */
#define PIPE_DEFAULT 65536
#define PIPE_LARGE 262144
/* Room below which stalled output is not yet worth reading again. */
#define UNSTALL_ROOM 4096

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void leave_stalled_list(struct process *p);
static void retry_stalled(struct engine *engine);

static void set_source(struct source *source, enum source_kind kind, int fd, void *owner)
{
    *source = (struct source){.kind = kind, .fd = fd, .owner = owner};
}

int process_start(struct engine *engine, const struct spawn_plan *plan, struct retention retention,
                  struct process **process, enum spawn_stage *stage)
{
    struct spawned spawned;
    struct process *p = calloc(1, sizeof *p);
    *stage = SPAWN_OK;
    if (!p)
        return ENOMEM;
    int error = spawn(&engine->spawner, plan, &spawned, stage);
    if (error) {
        free(p);
        return error;
    }
    p->engine = engine;
    p->pid = spawned.pid;
    p->tty = plan->tty;
    p->read_size[0] = p->read_size[1] = READ_FIRST;
    p->queue_end = &p->queue;
    set_source(&p->output[0], SOURCE_OUTPUT, spawned.output_fd, p);
    set_source(&p->output[1], SOURCE_OUTPUT, spawned.stderr_fd, p);
    set_source(&p->exit, SOURCE_EXIT, spawned.pidfd, p);
    set_source(&p->input, SOURCE_INPUT, spawned.stdin_fd, p);
    log_init(&p->log, &engine->budget, retention.policy, retention.bytes, retention.memory);
    p->hold.process = p;
    engine->processes++;
    error = source_want(engine, &p->output[0], EPOLLIN);
    if (!error && !p->tty)
        error = source_want(engine, &p->output[1], EPOLLIN);
    if (!error)
        error = source_want(engine, &p->exit, EPOLLIN);
    if (error) { /* the limit on epoll watches: end what cannot be watched */
        kill(-p->pid, SIGKILL);
        while (waitid(P_PIDFD, (id_t)p->exit.fd, &(siginfo_t){0}, WEXITED) < 0 && errno == EINTR)
            ;
        process_free(p);
        *stage = SPAWN_CLONE;
        return -error;
    }
    *process = p;
    return 0;
}

void process_free(struct process *p)
{
    process_release(p);
    while (p->log.cursors.next != &p->log.cursors)
        cursor_free((struct cursor *)p->log.cursors.next);
    source_close(p->engine, &p->output[0]);
    source_close(p->engine, &p->output[1]);
    source_close(p->engine, &p->exit);
    source_close(p->engine, &p->input);
    for (struct input_item *item = p->queue, *next; item; item = next) {
        next = item->next;
        free(item);
    }
    for (size_t i = 0; i < p->write_ids.count; i++)
        free((void *)p->write_ids.ids[i].data);
    free(p->write_ids.hashes);
    free(p->write_ids.ids);
    if (p->stalled[0] || p->stalled[1])
        leave_stalled_list(p);
    log_destroy(&p->log);
    retry_stalled(p->engine);
    p->engine->processes--;
    free(p);
}

/* ---- output ----------------------------------------------------------------------------------------------------- */

static void news(struct process *p)
{
    for (struct log_cursor *c = p->log.cursors.next; c != &p->log.cursors; c = c->next)
        cursor_ready((struct cursor *)c);
    if (p->watched) {
        struct event *event = engine_event(p->engine, EVENT_NEWS);
        if (event) {
            p->watched = false;
            event->process = p;
        }
    }
}

/* Append a mark and tell of it. */
static void mark(struct process *p, enum log_mark mark, enum event_kind kind)
{
    struct event *event = engine_event(p->engine, kind);
    if (event)
        event->process = p;
    if (!log_append_mark(&p->log, mark))
        p->engine->out_of_memory = true;
    news(p);
}

static void check_ended(struct process *p)
{
    if (p->log.exited_seq && !p->ended && p->output[0].fd < 0 && p->output[1].fd < 0) {
        p->ended = true;
        mark(p, LOG_CLOSED, EVENT_ENDED);
        log_shrink(&p->log); /* it grows no more */
        retry_stalled(p->engine);
    }
}

/* A terminal that nobody has open.  While the process lives it may open /dev/tty again, and closing our end would
 * send it a SIGHUP: wait for the edge, since EPOLLHUP stays. */
static bool terminal_let_go(struct process *p, int error)
{
    return p->tty && !p->exited && error == EIO && source_want(p->engine, &p->output[0], EPOLLIN | EPOLLET) == 0;
}

static void output_closed(struct process *p, int index)
{
    source_close(p->engine, &p->output[index]);
    if (p->tty)
        process_input_failed(p, EIO); /* nobody is left to read it */
    check_ended(p);
}

static void stall(struct process *p, int index)
{
    source_want(p->engine, &p->output[index], 0);
    if (!p->stalled[0] && !p->stalled[1]) {
        p->stalled_prev = NULL;
        p->stalled_next = p->engine->stalled;
        if (p->stalled_next)
            p->stalled_next->stalled_prev = p;
        p->engine->stalled = p;
    }
    p->stalled[index] = true;
}

static void leave_stalled_list(struct process *p)
{
    if (p->stalled_prev)
        p->stalled_prev->stalled_next = p->stalled_next;
    else
        p->engine->stalled = p->stalled_next;
    if (p->stalled_next)
        p->stalled_next->stalled_prev = p->stalled_prev;
}

/* A log has given memory back, which others may have been waiting for. */
static void retry_stalled(struct engine *engine)
{
    for (struct process *p = engine->stalled, *next; p; p = next) {
        next = p->stalled_next;
        process_unstall(p);
    }
}

/* Read once.  Returns true when there may be more to read at once. */
static bool read_output(struct process *p, int index, bool hung_up)
{
    struct source *source = &p->output[index];
    struct iovec iov[2];
    int count;
    ssize_t room = log_reserve(&p->log, p->read_size[index], iov, &count);
    if (room <= 0) {
        stall(p, index);
        return false;
    }
    ssize_t n = readv(source->fd, iov, count);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (n <= 0) { /* end of file; a terminal whose last user has left says EIO */
        if (n == 0 || !terminal_let_go(p, errno))
            output_closed(p, index);
        return false;
    }
    source_want(p->engine, source, EPOLLIN);
    int stream = p->tty ? LOG_PTY : index == 0 ? LOG_STDOUT : LOG_STDERR;
    if (log_commit(&p->log, stream, (size_t)n) < 0) {
        /* The bytes are out of the pipe and there is no memory for 24 bytes of record: nothing honest is left. */
        p->engine->out_of_memory = true;
        return false;
    }
    news(p);
    if (n == p->read_size[index] && p->read_size[index] < LOG_CHUNK_MAX)
        p->read_size[index] *= 4;
    if (n == PIPE_DEFAULT && !p->tty && !p->pipe_grown[index]) {
        p->pipe_grown[index] = true;
        fcntl(source->fd, F_SETPIPE_SZ, PIPE_LARGE); /* refused above a user's quota: fine */
    }
    /* A short read emptied a pipe.  Not so a terminal, which gives what one buffer holds. */
    return hung_up || p->tty || n == room;
}

void process_readable(struct process *p, int index, uint32_t events)
{
    for (int i = 0; i < READS_PER_TURN && p->output[index].fd >= 0; i++)
        if (!read_output(p, index, events & EPOLLHUP))
            break;
}

/* Read what a process has left behind; others may still be writing, so not without end. */
static void drain(struct process *p, int index)
{
    uint64_t limit = p->log.end + EXIT_DRAIN;
    while (p->output[index].fd >= 0 && !p->stalled[index] && p->log.end < limit)
        if (!read_output(p, index, true))
            break;
}

void process_unstall(struct process *p)
{
    struct iovec iov[2];
    int count;
    if (!p->stalled[0] && !p->stalled[1])
        return;
    ssize_t room = log_reserve(&p->log, LOG_CHUNK_MAX, iov, &count);
    if (room < UNSTALL_ROOM && room < (ssize_t)(p->log.retention / 4))
        return;
    for (int i = 0; i < 2; i++)
        if (p->stalled[i] && source_want(p->engine, &p->output[i], EPOLLIN) == 0)
            p->stalled[i] = false;
    if (!p->stalled[0] && !p->stalled[1])
        leave_stalled_list(p);
}

void process_hold(struct process *p, uint64_t from)
{
    log_detach(&p->hold.at);
    log_attach(&p->log, &p->hold.at, from ? from - 1 : 0, true);
    process_unstall(p); /* only now: a log that is let grow evicts what nobody protects */
}

void process_release(struct process *p)
{
    log_detach(&p->hold.at);
    process_unstall(p);
}

/* ---- exit ------------------------------------------------------------------------------------------------------- */

void process_exited(struct process *p)
{
    siginfo_t info = {0};
    if (waitid(P_PIDFD, (id_t)p->exit.fd, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        if (info.si_pid == 0)
            return; /* not yet */
        p->exit_kind = info.si_code;
        p->exit_status = info.si_status;
    } /* else somebody else reaped it, or SIGCHLD is ignored: the status is lost and exit_kind stays 0 */
    p->exited = true;
    source_want(p->engine, &p->exit, 0);
    p->next_zombie = p->engine->zombies;
    p->engine->zombies = p;
    /* What it wrote before it ended is in its pipes now: that comes before the mark. */
    for (int i = 0; i < 2; i++)
        drain(p, i);
    mark(p, LOG_EXITED, EVENT_EXITED);
    check_ended(p);
}

void process_reap(struct process *p)
{
    waitid(P_PIDFD, (id_t)p->exit.fd, &(siginfo_t){0}, WEXITED | WNOHANG);
    source_close(p->engine, &p->exit);
}

/* signal(7): the numbers that all architectures of ours share; those above are real-time signals. */
static const char *signal_name(int number)
{
    static const char *const names[] = {
        NULL,        "SIGHUP",  "SIGINT",  "SIGQUIT",   "SIGILL",  "SIGTRAP", "SIGABRT",  "SIGBUS",
        "SIGFPE",    "SIGKILL", "SIGUSR1", "SIGSEGV",   "SIGUSR2", "SIGPIPE", "SIGALRM",  "SIGTERM",
        "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP",   "SIGTSTP", "SIGTTIN", "SIGTTOU",  "SIGURG",
        "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",  "SIGPWR",   "SIGSYS",
    };
    static char real_time[_NSIG][24];
    if (number < (int)(sizeof names / sizeof *names))
        return names[number];
    if (number == SIGRTMAX)
        return "SIGRTMAX";
    if (number < SIGRTMIN) /* two that the C library keeps for itself */
        snprintf(real_time[number], sizeof real_time[number], "SIG%d", number);
    else
        snprintf(real_time[number], sizeof real_time[number], "SIGRTMIN+%d", number - SIGRTMIN);
    return real_time[number];
}

struct ending process_ending(const struct process *p)
{
    if (p->exit_kind == CLD_EXITED) {
        bool timeout = p->ended_by && strcmp(p->ended_by, "timeout") == 0;
        return (struct ending){p->exit_status, timeout ? "timeout" : "exit", NULL};
    }
    if (p->exit_kind == 0) /* somebody else waited for it */
        return (struct ending){-1, "lost", NULL};
    return (struct ending){128 + p->exit_status, p->ended_by ? p->ended_by : "signal", signal_name(p->exit_status)};
}

size_t process_mark_notice(const struct process *p, uint8_t *to, struct voice voice, struct span name, uint64_t seq,
                           enum log_mark mark)
{
    if (mark == LOG_EXITED)
        return exited_notice(to, voice, name, seq, process_ending(p));
    unsigned streams = p->tty ? 1u << LOG_PTY : 1u << LOG_STDOUT | 1u << LOG_STDERR;
    return closed_notice(to, voice, name, seq, streams, p->log.total, p->log.crc);
}

int process_signal(struct process *p, int number)
{
    /* Until it is reaped, its pid cannot be anybody else's. */
    if (p->exited)
        return -ESRCH;
    return kill(-p->pid, number) < 0 ? -errno : 0;
}
