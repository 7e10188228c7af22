/* The connection: connecting, sending, and a buffer from which messages are taken where they lie. */
#include "channel.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "measure.h"

extern char **environ;

/* Only a message that is longer than the window uses more than that of the buffer: less memory is sooner reached. */
enum { WINDOW = 1 << 20, BUFFER = 32 << 20 };

static struct {
    const struct framing *framing;
    int in, out;
    char buffer[BUFFER];
    size_t start, end, seen; /* of what was received: first unread byte, end, bytes after start already looked at */
} channel;

void channel_open(const struct framing *framing, int in, int out) {
    channel.framing = framing;
    channel.in = in;
    channel.out = out;
}

/* ---- sending ---- */

void put(struct request *r, const void *data, size_t length) {
    if (length > REQUEST_ROOM - r->end) die("request too long");
    memcpy(r->data + r->end, data, length);
    r->end += length;
}

void channel_begin(struct request *request) { request->start = request->end = channel.framing->room; }

void channel_send(struct request *request) {
    channel.framing->wrap(request);
    channel_write(request->data + request->start, request->end - request->start);
}

void channel_write(const char *data, size_t length) {
    for (size_t sent = 0; sent < length;)
        sent += (size_t)check(write(channel.out, data + sent, length - sent), "write");
}

/* ---- receiving ---- */

static void receive(void) {
    size_t left = channel.end - channel.start;
    if (!left || (channel.start && channel.end >= WINDOW)) {
        memmove(channel.buffer, channel.buffer + channel.start, left);
        channel.start = 0;
        channel.end = left;
    }
    if (channel.end == BUFFER) die("a message is longer than the buffer");
    size_t room = (channel.end < WINDOW ? WINDOW : BUFFER) - channel.end;
    long got = check(read(channel.in, channel.buffer + channel.end, room), "read");
    if (!got) die("the server closed the connection");
    channel.end += (size_t)got;
}

static bool take(struct span *message) {
    char *data = channel.buffer + channel.start;
    size_t whole = channel.framing->find(data, channel.end - channel.start, &channel.seen, message);
    channel.start += whole;
    if (whole) channel.seen = 0;
    return whole;
}

struct span channel_next(void) {
    struct span message;
    while (!take(&message))
        receive();
    return message;
}

void channel_rest(int fd) {
    struct span message;
    struct pollfd either[] = {{.fd = fd, .events = POLLIN}, {.fd = channel.in, .events = POLLIN}};
    while (check(poll(either, 2, -1), "poll") && !either[0].revents) {
        receive();
        while (take(&message))
            continue;
    }
}

/* ---- framings of a stream ---- */

static void wrap_length(struct request *r) {
    size_t length = r->end - r->start;
    for (int i = 0; i < 4; i++)
        r->data[--r->start] = (char)(length >> 8 * i);
}

static size_t find_length(char *data, size_t length, size_t *seen, struct span *message) {
    (void)seen;
    const uint8_t *p = (const uint8_t *)data;
    if (length < 4) return 0;
    *message = (struct span){data + 4, (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]};
    return length - 4 < message->length ? 0 : 4 + message->length;
}

static void wrap_line(struct request *r) { put(r, "\n", 1); }

static size_t find_line(char *data, size_t length, size_t *seen, struct span *message) {
    const char *newline = memchr(data + *seen, '\n', length - *seen);
    *seen = length;
    *message = (struct span){data, newline ? (size_t)(newline - data) : 0};
    return newline ? message->length + 1 : 0;
}

const struct framing length_prefixes = {4, wrap_length, find_length}, lines = {0, wrap_line, find_line};

/* ---- connecting ---- */

int connect_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) die("socket path too long");
    strcpy(address.sun_path, path);
    int fd = (int)check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    check(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    return fd;
}

pid_t connect_program(char **argv, int *in, int *out) {
    int to[2], from[2];
    pid_t pid;
    check(pipe2(to, O_CLOEXEC), "pipe2");
    check(pipe2(from, O_CLOEXEC), "pipe2");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    errno = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
    check(errno ? -1 : 0, "posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    *in = from[0];
    *out = to[1];
    return pid;
}
