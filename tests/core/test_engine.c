/* The whole core at once: an engine, real processes, and clients that are slow, cut off, rude or greedy.
 *
 * Seeded random lives, in one thread.  Two sessions watch the same processes over socket pairs with small buffers: a
 * careful one, for which the logs are protected, also while it is away; and a casual one, which may be told of gaps.
 * Each time they come they speak in another framing and encoding.  Whatever happens, each must find every byte in its
 * place, from the first to the end that the engine tells of.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cbor.h"
#include "check.h"
#include "engine/core/channel.h"
#include "engine/core/crc32c.h"
#include "engine/core/frame.h"
#include "engine/core/process.h"
#include "engine/core/reactor.h"
#include "faults.h"
#include "spawning.h"
#include "wire.h"

enum { PLAIN, TERMINAL, SECOND, DROPPING, ORPHAN, FLOODS, ECHO = FLOODS /* copies stdin to stdout */, PROCESSES };
#define OUT_BYTES 200000u
#define ERR_BYTES 70000u
#define ECHO_BYTES 120000u
#define WRITE_MAX 30000u

/* What a session knows of a process. */
struct view {
    uint64_t seq, offset[LOG_STREAMS], missed;
    uint32_t crc[LOG_STREAMS];
    bool exited, closed;
    unsigned greetings; /* to come before what is told is from the right place */
};

struct session {
    struct channel *channel; /* NULL while it is away */
    struct wire wire;
    int fd;
    unsigned leaves; /* it may still do */
    unsigned links;  /* it has had */
    bool careful, acks;
    uint8_t in[1 << 18], out[WRITE_MAX + 256];
    char request[64]; /* a line that came in pieces, as the caller has it */
    size_t request_length;
    unsigned blobs; /* to come */
    size_t in_length, out_length, out_sent;
    struct view views[PROCESSES];
    uint64_t written, write_number; /* to the echo process */
    size_t write_length;            /* of the write that waits for its answer; 0: none */
};

static struct engine engine;
static struct process *processes[PROCESSES];
static struct session sessions[2];
static uint64_t state;
static bool trusted; /* no call has failed so far, so that everything must be right */

static uint64_t chance(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % below;
}

/* As in probe.c. */
static uint8_t pattern(int stream, uint64_t offset)
{
    return (uint8_t)('A' + (offset * 7 + (offset >> 8) * 13 + (offset >> 16) + (stream == LOG_STDERR ? 17 : 0)) % 57);
}

#define TRUST(condition)                                                                                               \
    do {                                                                                                               \
        if (trusted)                                                                                                   \
            CHECK(condition);                                                                                          \
    } while (0)

/* ---- what a session is told ------------------------------------------------------------------------------------- */

static struct view *view_of(struct session *s, const struct cbor_token *name)
{
    CHECK(name->content.length == 2 && name->content.data[0] == 'p');
    int index = name->content.data[1] - '0';
    CHECK(index >= 0 && index < PROCESSES);
    return &s->views[index];
}

static void told_output(struct view *view, const struct cbor_token *token)
{
    static const char *const names[] = {"stdout", "stderr", "pty"};
    int stream = 0;
    while (!cbor_is_text(&token[10], names[stream]))
        CHECK(++stream < LOG_STREAMS);
    struct span chunk = token[14].content;
    TRUST(token[8].argument == view->seq + 1);
    TRUST(token[12].argument == view->offset[stream]);
    for (size_t i = 0; i < chunk.length; i++)
        TRUST(chunk.data[i] == pattern(stream, token[12].argument + i));
    view->crc[stream] = crc32c(view->crc[stream], chunk.data, chunk.length);
    view->offset[stream] = token[12].argument + chunk.length;
    view->seq = token[8].argument;
}

/* As pass_gap() writes it. */
static void told_gap(const struct session *s, struct view *view, const struct cbor_token *token)
{
    int index = (int)(view - s->views);
    TRUST(!s->careful || processes[index]->log.policy == LOG_DROP_OLDEST);
    TRUST(token[8].argument == view->seq + 1);
    view->seq = token[10].argument;
    for (int i = 0; i < LOG_STREAMS; i++) {
        view->offset[i] += token[12 + 2 * i].argument;
        view->missed += token[12 + 2 * i].argument;
    }
}

static void told_closed(struct view *view, const struct cbor_token *token, int count)
{
    TRUST(token[8].argument == view->seq + 1 && view->exited);
    view->seq = token[8].argument;
    view->closed = true;
    for (int at = 11; at + 4 < count; at += 6) {
        int stream = cbor_is_text(&token[at], "stdout") ? LOG_STDOUT
                     : cbor_is_text(&token[at], "stderr") ? LOG_STDERR
                                                          : LOG_PTY;
        char digest[32];
        snprintf(digest, sizeof digest, "crc32c:%08x", view->crc[stream]);
        TRUST(token[at + 3].argument == view->offset[stream]);
        TRUST(view->missed || cbor_is_text(&token[at + 5], digest));
    }
}

static void told_blob(struct session *s, struct span bytes)
{
    s->blobs--;
    for (size_t i = 0; i < bytes.length; i++)
        CHECK_EQ(bytes.data[i], pattern(LOG_STDOUT, i));
}

static void told(struct session *s, struct span body)
{
    struct cbor_token token[40];
    int count = wire_tokens(&s->wire, body, token, 40);
    CHECK(count >= 3);
    if (cbor_is_text(&token[1], "chunk")) {
        told_blob(s, token[2].content);
        return;
    }
    if (cbor_is_text(&token[1], "greeting")) {
        s->views[token[2].argument].greetings--;
        return;
    }
    if (cbor_is_text(&token[1], "id")) {
        if (token[2].argument == s->write_number && s->write_length) {
            s->written += s->write_length;
            s->write_length = 0;
            s->write_number++;
        }
        return;
    }
    CHECK(count >= 9 && cbor_is_text(&token[7], "seq"));
    struct view *view = view_of(s, &token[6]);
    if (view->greetings)
        return;
    if (cbor_is_text(&token[2], "process/output")) {
        told_output(view, token);
    } else if (cbor_is_text(&token[2], "process/gap")) {
        told_gap(s, view, token);
    } else if (cbor_is_text(&token[2], "process/exited")) {
        TRUST(token[8].argument == view->seq + 1 && !view->exited);
        view->seq = token[8].argument;
        view->exited = true;
    } else {
        CHECK(cbor_is_text(&token[2], "process/closed"));
        told_closed(view, token, count);
    }
}

/* ---- what a session does ---------------------------------------------------------------------------------------- */

static void leave(struct session *s)
{
    if (!s->channel)
        return;
    for (int i = 0; i < PROCESSES; i++) {
        struct cursor *cursor = processes[i] ? channel_cursor(s->channel, processes[i]) : NULL;
        if (cursor && s->careful)
            process_hold(processes[i], cursor_unconfirmed(cursor));
    }
    channel_free(s->channel);
    close(s->fd);
    s->channel = NULL;
    s->in_length = s->out_length = s->out_sent = s->request_length = 0;
    s->blobs = 0;
    for (int i = 0; i < PROCESSES; i++)
        s->views[i].greetings = 0;
}

/* As a server answers an attach: its answer first, then what the process tells. */
static void attach(struct session *s, int index)
{
    char name[] = {'p', (char)('0' + index)};
    struct process *process = processes[index];
    struct view *view = &s->views[index];
    uint8_t data[32];
    const struct encoding *as = s->channel->voice.encoding;
    struct cursor *cursor = channel_cursor(s->channel, process);
    if (cursor)
        cursor_free(cursor);
    uint8_t *end = as->map_end(as->number(as->key(as->map(data, 1), "greeting"), (uint64_t)index));
    for (uint64_t i = 1 + (chance(4) ? 0 : chance(60)); i; i--)
        if (channel_send(s->channel, data, (size_t)(end - data)) == 0)
            view->greetings++;
    cursor = channel_attach(s->channel, process, (struct span){(uint8_t *)name, 2}, view->seq, s->careful);
    if (cursor && cursor->at.next_seq < process->log.base_seq)
        memcpy(cursor->at.offset, view->offset, sizeof cursor->at.offset);
}

static void come(struct session *s)
{
    int fds[2], size = 1 << (11 + chance(6));
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    s->wire.framing = (enum framing_kind)chance(FRAMINGS);
    s->wire.json = s->wire.framing == FRAMING_LINES || chance(2);
    s->wire.joined = 0;
    if (channel_open(&engine, fds[1], fds[1], s->wire.framing, 65536, &s->channel) < 0) {
        TRUST(false);
        s->channel = NULL;
        close(fds[0]);
        close(fds[1]);
        return;
    }
    s->fd = fds[0];
    s->links++;
    s->channel->hot = s->wire.framing == FRAMING_FRAMES && !s->wire.json;
    channel_speak(s->channel, (struct voice){s->wire.json ? &json_encoding : &cbor_encoding, false});
    s->channel->acks = s->acks;
    for (int i = 0; i < PROCESSES; i++) {
        if (!processes[i] || s->views[i].closed)
            continue;
        attach(s, i);
        if (s->careful && channel_cursor(s->channel, processes[i]))
            process_release(processes[i]);
    }
}

static bool receive(struct session *s)
{
    size_t room = sizeof s->in - s->in_length, most = 1 + chance(40000);
    ssize_t n = read(s->fd, s->in + s->in_length, most < room ? most : room);
    if (n <= 0)
        return false;
    s->in_length += (size_t)n;
    struct span body;
    size_t start = 0, used;
    while ((used = wire_next(&s->wire, s->in + start, s->in_length - start, &body))) {
        start += used;
        if (body.data)
            told(s, body);
    }
    memmove(s->in, s->in + start, s->in_length -= start);
    return true;
}

static void send_rest(struct session *s)
{
    size_t rest = s->out_length - s->out_sent, most = 1 + chance(20000);
    ssize_t n = write(s->fd, s->out + s->out_sent, most < rest ? most : rest);
    s->out_sent += n > 0 ? (size_t)n : 0;
    if (s->out_sent == s->out_length)
        s->out_sent = s->out_length = 0;
}

static struct cbor_writer begin_frame(struct session *s)
{
    return (struct cbor_writer){s->out, FRAME_LENGTH_SIZE};
}

static void end_frame(struct session *s, struct cbor_writer to)
{
    frame_put_length(s->out, (uint32_t)(to.length - FRAME_LENGTH_SIZE));
    s->out_length = to.length;
    send_rest(s);
}

/* In lines and over WebSocket requests are words, each on a line. */
__attribute__((format(printf, 2, 3))) static void send_line(struct session *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    s->out_length = (size_t)vsnprintf((char *)s->out, sizeof s->out, format, arguments);
    va_end(arguments);
    send_rest(s);
}

static void send_ack(struct session *s)
{
    int index = (int)chance(PROCESSES);
    if (s->wire.framing != FRAMING_FRAMES) {
        send_line(s, "ack %d %ju\n", index, (uintmax_t)s->views[index].seq);
        return;
    }
    struct cbor_writer to = begin_frame(s);
    cbor_head(&to, CBOR_MAP, 2);
    cbor_text(&to, "method");
    cbor_text(&to, "process/ack");
    cbor_text(&to, "params");
    cbor_head(&to, CBOR_MAP, 2);
    cbor_text(&to, "processId");
    cbor_string(&to, CBOR_TEXT, (char[]){'p', (char)('0' + index)}, 2);
    cbor_text(&to, "seq");
    uint64_t seq = s->views[index].seq; /* or an old one, or one that cannot be */
    cbor_head(&to, CBOR_UNSIGNED, chance(8) ? seq : chance(2) ? chance(seq + 1) : UINT64_MAX - chance(3));
    end_frame(s, to);
}

/* The next piece for the echo process, or again the one that was not answered when the link was lost. */
static void send_write(struct session *s)
{
    static uint8_t data[WRITE_MAX];
    char id[24];
    if (!s->write_length)
        s->write_length = 1 + chance(WRITE_MAX);
    if (s->write_length > ECHO_BYTES - s->written)
        s->write_length = ECHO_BYTES - s->written;
    if (s->wire.framing != FRAMING_FRAMES) {
        send_line(s, "write %ju\r\n", (uintmax_t)s->write_number);
        return;
    }
    for (size_t i = 0; i < s->write_length; i++)
        data[i] = pattern(LOG_STDOUT, s->written + i);
    snprintf(id, sizeof id, "w%ju", (uintmax_t)s->write_number);
    struct cbor_writer to = begin_frame(s);
    cbor_head(&to, CBOR_MAP, 3);
    cbor_text(&to, "id");
    cbor_head(&to, CBOR_UNSIGNED, s->write_number);
    cbor_text(&to, "method");
    cbor_text(&to, "process/write");
    cbor_text(&to, "params");
    cbor_head(&to, CBOR_MAP, 3);
    cbor_text(&to, "processId");
    cbor_string(&to, CBOR_TEXT, (char[]){'p', '0' + ECHO}, 2);
    cbor_text(&to, "chunk");
    cbor_string(&to, CBOR_BYTES, data, s->write_length);
    cbor_text(&to, "writeId");
    cbor_text(&to, id);
    end_frame(s, to);
}

static void send_noise(struct session *s)
{
    if (s->wire.framing != FRAMING_FRAMES) {
        send_line(s, "%*s\n", (int)chance(50), "");
        return;
    }
    struct cbor_writer to = begin_frame(s);
    for (uint64_t i = chance(100); i; i--)
        s->out[to.length++] = (uint8_t)chance(256);
    end_frame(s, to);
}

/* As a server answers a request for much. */
static void send_blob(struct session *s)
{
    struct blob blob;
    uint8_t head[32], tail[4];
    const struct encoding *as = s->channel->voice.encoding;
    size_t size = chance(3) ? chance(10) : chance(60000);
    if (blob_init(&blob, size) < 0)
        return;
    for (size_t i = 0; i < size; i++)
        blob.data[i] = pattern(LOG_STDOUT, i);
    struct span before = {head, (size_t)(as->bytes(as->key(as->map(head, 1), "chunk"), size) - head)};
    struct span after = {tail, (size_t)(as->map_end(as->bytes_end(tail)) - tail)};
    if (channel_send_blob(s->channel, before, &blob, after) == 0)
        s->blobs++;
    blob_free(&blob);
}

/* Returns whether something has moved. */
static bool act(struct session *s)
{
    if (!s->channel) {
        if (chance(10) == 0)
            come(s);
        return s->channel;
    }
    if (s->leaves && chance(400) == 0) {
        s->leaves--;
        leave(s);
        return true;
    }
    if (s->out_length) {
        send_rest(s);
    } else if (s->careful && s->written < ECHO_BYTES && (!s->write_length || s->out_length == 0) && chance(3) == 0) {
        static uint64_t sent_number;
        static unsigned sent_on;
        if (!s->write_length || sent_number != s->write_number || sent_on != s->links) { /* once on each link */
            sent_number = s->write_number;
            sent_on = s->links;
            send_write(s);
        }
    } else if (s->acks && chance(4) == 0) {
        send_ack(s);
    } else if (chance(40) == 0) {
        send_noise(s);
    }
    if (chance(60) == 0)
        send_blob(s);
    if (s->wire.framing == FRAMING_WEBSOCKET && chance(60) == 0)
        channel_send_raw(s->channel, (const uint8_t *)"\x89\3now", 5);
    int index = (int)chance(PROCESSES);
    struct cursor *cursor = processes[index] ? channel_cursor(s->channel, processes[index]) : NULL;
    if (!s->careful && cursor && chance(60) == 0)
        cursor_skip(cursor);
    if (!s->careful && cursor && chance(60) == 0)
        attach(s, index); /* again, where it is */
    return chance(3) && receive(s); /* at times it does not look */
}

/* ---- what the engine's caller does ------------------------------------------------------------------------------ */

static void pass_gap(struct event *event)
{
    uint8_t data[256];
    struct cursor *cursor = channel_cursor(event->channel, event->process);
    const struct encoding *as = event->channel->voice.encoding;
    static const char *const names[] = {"stdout", "stderr", "pty"};
    uint8_t *to = as->text(as->key(as->map(data, 2), "method"), "process/gap");
    to = as->label(as->key(as->map(as->key(to, "params"), 6), "processId"), cursor->label);
    to = as->number(as->key(to, "seq"), event->number);
    to = as->number(as->key(to, "toSeq"), event->last);
    for (int i = 0; i < LOG_STREAMS; i++)
        to = as->number(as->key(to, names[i]), event->bytes[i]);
    to = as->map_end(as->map_end(to));
    cursor_pass(cursor, event->last, data, (size_t)(to - data));
}

static uint64_t echo_ticket;

static void answer(struct session *s, uint64_t number)
{
    uint8_t data[32];
    if (!s->channel)
        return;
    const struct encoding *as = s->channel->voice.encoding;
    uint8_t *to = as->number(as->key(as->map(data, 2), "id"), number);
    to = as->map_end(as->map_end(as->map(as->key(to, "result"), 0)));
    channel_send(s->channel, data, (size_t)(to - data));
}

/* Write as the careful session asked: answered now, or when the ticket is done. */
static void write_for(struct session *s, struct span data, struct span id)
{
    int error;
    if (!processes[ECHO])
        return;
    switch (process_write(processes[ECHO], data, id, &echo_ticket, &error)) {
    case WRITE_DONE:
    case WRITE_REPEATED:
        answer(s, s->write_number);
        break;
    default:
        break;
    }
}

static void ack_for(struct session *s, int index, uint64_t seq)
{
    struct cursor *cursor = processes[index] ? channel_cursor(s->channel, processes[index]) : NULL;
    if (cursor)
        cursor_acked(cursor, seq);
}

/* The caller obeys a line.  What is to be written it knows as the session does. */
static void obey(struct session *s, const char *line)
{
    static uint8_t data[WRITE_MAX];
    uintmax_t number;
    char id[24];
    int index;
    if (sscanf(line, "ack %d %ju", &index, &number) == 2) {
        ack_for(s, index, number);
    } else if (sscanf(line, "write %ju", &number) == 1 && number == s->write_number && s->write_length) {
        for (size_t i = 0; i < s->write_length; i++)
            data[i] = pattern(LOG_STDOUT, s->written + i);
        int length = snprintf(id, sizeof id, "w%ju", number);
        write_for(s, (struct span){data, s->write_length}, (struct span){(uint8_t *)id, (size_t)length});
    }
}

/* What the engine did not do by itself. */
static void handed_up(struct session *s, struct event *event)
{
    struct request request;
    enum framing_kind framing = s->wire.framing;
    if (framing == FRAMING_FRAMES) {
        enum request_kind kind = request_read(event->data, event->length, &request);
        if (kind == REQUEST_WRITE)
            write_for(s, request.chunk, request.write_id);
        else if (kind == REQUEST_ACK)
            ack_for(s, request.process.data[1] - '0', request.seq);
        return;
    }
    for (size_t i = 0; i <= event->length; i++) {
        bool end = i == event->length ? framing == FRAMING_LINES : event->data[i] == '\n';
        if (end) {
            s->request[s->request_length] = 0;
            obey(s, s->request);
            s->request_length = 0;
        } else if (i < event->length) {
            CHECK(s->request_length < sizeof s->request - 1);
            s->request[s->request_length++] = (char)event->data[i];
        }
    }
}

static void handle(struct event *event)
{
    struct session *s = event->channel == sessions[0].channel ? &sessions[0] : &sessions[1];
    switch (event->kind) {
    case EVENT_FRAME:
        handed_up(s, event);
        break;
    case EVENT_QUEUED:
        echo_ticket = event->number;
        break;
    case EVENT_WRITTEN:
        if (event->number == echo_ticket && !event->error)
            answer(&sessions[0], sessions[0].write_number);
        break;
    case EVENT_GAP:
        pass_gap(event);
        break;
    case EVENT_BROKEN:
    case EVENT_EOF:
    case EVENT_OVERSIZE:
        TRUST(event->kind != EVENT_OVERSIZE);
        leave(s);
        break;
    default:
        break;
    }
}

static void handle_events(void)
{
    /* Others may be added meanwhile, and the array may move. */
    for (size_t i = 0; i < engine.event_count; i++) {
        struct event event = engine.events[i];
        bool gone = event.channel && event.channel != sessions[0].channel && event.channel != sessions[1].channel;
        if (!gone) /* not of a link that an event before has ended */
            handle(&event);
    }
    engine.event_count = 0;
}

/* ---- lives ------------------------------------------------------------------------------------------------------ */

static struct process *start_process(struct launch *r, enum log_policy policy)
{
    struct process *process = NULL;
    enum spawn_stage stage;
    struct retention retention = {policy, 4096u << chance(5), 4096u << chance(4)};
    int error = process_start(&engine, &r->plan, retention, &process, &stage);
    TRUST(error == 0);
    if (error)
        return NULL;
    process_hold(process, 1); /* until the careful session comes */
    return process;
}

/* All of them write the same bytes; one at a terminal, one by a descendant that outlives it. */
static void start_processes(void)
{
    static char seed[24], out[24], err[24], script[4200];
    snprintf(seed, sizeof seed, "%ju", (uintmax_t)state);
    snprintf(out, sizeof out, "%u", OUT_BYTES);
    for (int i = 0; i < FLOODS; i++) {
        snprintf(err, sizeof err, "%u", i == TERMINAL ? 0 : ERR_BYTES);
        snprintf(script, sizeof script, "%s flood %s %s %s & exit 3", probe_path(), seed, out, err);
        struct launch *r = i == ORPHAN ? launch_shell(script) : launch_probe("flood");
        if (i != ORPHAN) {
            r->argv[2] = seed;
            r->argv[3] = out;
            r->argv[4] = err;
        }
        if (i == TERMINAL)
            launch_terminal(r, 24, 80);
        processes[i] = start_process(r, i == DROPPING || i == ORPHAN ? LOG_DROP_OLDEST : LOG_BLOCK);
    }
    struct launch *r = launch_path("/bin/cat");
    r->plan.stdin_pipe = true;
    processes[ECHO] = start_process(r, LOG_BLOCK);
}

static bool all_seen(void)
{
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < PROCESSES; i++)
            if (!sessions[s].views[i].closed)
                return false;
    return true;
}

static void wait_for_engine(void)
{
    struct pollfd ready[] = {{engine.epoll_fd, POLLIN, 0},
                             {sessions[0].channel ? sessions[0].fd : -1, POLLIN, 0},
                             {sessions[1].channel ? sessions[1].fd : -1, POLLIN, 0}};
    poll(ready, 3, 1);
}

static void begin(uint64_t seed, const char *spill_dir)
{
    memset(sessions, 0, sizeof sessions);
    memset(processes, 0, sizeof processes);
    echo_ticket = 0;
    state = seed * 0x9e3779b97f4a7c15u | 1;
    sessions[0].careful = true;
    sessions[0].leaves = sessions[1].leaves = (unsigned)chance(10);
    sessions[0].acks = true;
    sessions[1].acks = seed & 1;
    CHECK_EQ(engine_init(&engine, 16384u << chance(5), chance(2) ? spill_dir : NULL, 1 << 20), 0);
}

static void step(void)
{
    static int idle;
    bool moved = engine_poll(&engine);
    handle_events();
    for (int i = 0; i < 2; i++)
        moved |= act(&sessions[i]);
    handle_events();
    struct session *s = &sessions[0];
    if (s->written == ECHO_BYTES && processes[ECHO] && !processes[ECHO]->input_closing)
        process_close_input(processes[ECHO]);
    idle = moved ? 0 : idle + 1;
    if (idle > 10) /* a session that does nothing now may act the next time */
        wait_for_engine();
}

static void end(void)
{
    for (int i = 0; i < 2 && state & 4; i++) /* before or after the processes */
        leave(&sessions[i]);
    for (int i = 0; i < PROCESSES; i++) {
        if (!processes[i])
            continue;
        if (!processes[i]->exited) {
            process_signal(processes[i], SIGKILL);
            waitid(P_PID, (id_t)processes[i]->pid, &(siginfo_t){0}, WEXITED);
        }
        process_free(processes[i]);
        processes[i] = NULL;
    }
    for (int i = 0; i < 2; i++)
        leave(&sessions[i]);
    CHECK_EQ(engine.processes, 0);
    CHECK_EQ(engine.channels, 0);
    CHECK_EQ(engine.budget.memory_used, 0);
    CHECK_EQ(engine.budget.spill_used, 0);
    engine_destroy(&engine);
}

TEST(whatever_clients_do_every_byte_is_where_it_belongs)
{
    int before = open_descriptors();
    for (uint64_t seed = 1; seed <= 16; seed++) {
        trusted = true;
        begin(seed, "/tmp");
        start_processes();
        for (time_t end = time(NULL) + 20; !all_seen(); step())
            if (time(NULL) > end)
                test_fail(__FILE__, __LINE__, "life %ju does not end", (uintmax_t)seed);
        const struct view *views = sessions[0].views;
        CHECK_EQ(views[TERMINAL].offset[LOG_PTY], OUT_BYTES);
        CHECK_EQ(views[ECHO].offset[LOG_STDOUT], ECHO_BYTES);
        for (int i = 0; i < PROCESSES; i++) {
            CHECK(views[i].missed == 0 || i == DROPPING || i == ORPHAN);
            CHECK(i == TERMINAL || i == ECHO || views[i].offset[LOG_STDOUT] == OUT_BYTES);
            CHECK(i == TERMINAL || i == ECHO || views[i].offset[LOG_STDERR] == ERR_BYTES);
        }
        end();
        CHECK_EQ(open_descriptors(), before);
        CHECK(!has_children());
    }
}

/* Memory or watches run out at some moment: then nothing is promised but that nothing is corrupted or leaked. */
TEST(running_out_of_anything_corrupts_and_leaks_nothing)
{
    int before = open_descriptors();
    for (uint64_t seed = 1; seed <= 100; seed++) {
        trusted = false;
        begin(seed, "/tmp");
        faults_at(1 + (unsigned)chance(600), ENOSPC, FAULT_MALLOC | FAULT_EPOLL);
        start_processes();
        for (int steps = 0; steps < 600 && !all_seen(); steps++)
            step();
        faults_clear();
        end();
        CHECK_EQ(open_descriptors(), before);
        CHECK(!has_children());
    }
}
