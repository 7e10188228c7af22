#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/_seccomp/escalation.h"

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static bool send_all(int link, const void *data, size_t length)
{
    for (const uint8_t *from = data; length;) {
        ssize_t sent = send(link, from, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return false;
        from += sent > 0 ? sent : 0;
        length -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

/* With descriptors attached to the first byte; returns what send(2) does. */
static ssize_t send_attached(int socket, const void *data, size_t length, const int *attached, size_t count)
{
    union {
        char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
        struct cmsghdr aligned;
    } control = {{0}};
    struct iovec vector = {(void *)data, length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (count) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof *attached);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof *attached);
        memcpy(CMSG_DATA(head), attached, count * sizeof *attached);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

bool escalation_wish(enum escalation_wish wish, int attached)
{
    const char *text = getenv(ESCALATION_VARIABLE);
    char *end = NULL;
    long number = text && *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : -1;
    uint8_t byte = (uint8_t)wish;
    if (number < 0 || number > INT_MAX || *end) {
        errno = EBADF;
        return false;
    }
    return send_attached((int)number, &byte, 1, &attached, 1) == 1;
}

static void put_number(uint8_t *to, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(number >> (24 - 8 * i));
}

bool frame_send(int link, enum escalation_frame kind, const void *payload, size_t length, const int *attached,
                size_t attached_count)
{
    uint8_t frame[FRAME_HEAD + ANSWER_MAX];
    frame[0] = (uint8_t)kind;
    put_number(frame + 1, (uint32_t)length);
    memcpy(frame + FRAME_HEAD, payload, length);
    ssize_t sent = send_attached(link, frame, FRAME_HEAD + length, attached, attached_count);
    return sent >= 0 && send_all(link, frame + sent, FRAME_HEAD + length - (size_t)sent);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static bool receive_all(int link, void *to, size_t length)
{
    for (uint8_t *at = to; length;) {
        ssize_t got = recv(link, at, length, 0);
        if (got == 0)
            errno = 0;
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        at += got > 0 ? got : 0;
        length -= got > 0 ? (size_t)got : 0;
    }
    return true;
}

bool frame_receive(int link, struct answer *answer)
{
    uint8_t head[FRAME_HEAD];
    if (!receive_all(link, head, sizeof head))
        return false;
    answer->kind = head[0];
    answer->length = (uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 8 | head[4];
    if (answer->length > ANSWER_MAX) {
        errno = EPROTO;
        return false;
    }
    answer->payload[answer->length] = 0;
    return receive_all(link, answer->payload, answer->length);
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

/* The strings of a request may be megabytes of small pieces. */
struct writer {
    int link, theirs; /* the other end of the link, until the server has it */
    size_t used;
    uint8_t buffer[32768];
};

/* The first piece is sent before the server hears of the link, which then need not wait for it. */
static bool flush(struct writer *w)
{
    ssize_t sent = 0;
    if (w->theirs >= 0) {
        sent = send(w->link, w->buffer, w->used, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent = sent < 0 ? 0 : sent;
        bool heard = escalation_wish(WISH_EXEC, w->theirs);
        int error = errno;
        close(w->theirs);
        w->theirs = -1;
        errno = error;
        if (!heard)
            return false;
    }
    size_t left = w->used - (size_t)sent;
    w->used = 0;
    return send_all(w->link, w->buffer + sent, left);
}

static bool put(struct writer *w, const void *data, size_t length)
{
    const uint8_t *from = data;
    while (length) {
        size_t room = sizeof w->buffer - w->used, piece = length < room ? length : room;
        memcpy(w->buffer + w->used, from, piece);
        w->used += piece;
        from += piece;
        length -= piece;
        if (w->used == sizeof w->buffer && !flush(w))
            return false;
    }
    return true;
}

static bool put_strings(struct writer *w, char *const *strings)
{
    for (; *strings; strings++)
        if (!put(w, *strings, strlen(*strings) + 1))
            return false;
    return true;
}

static uint32_t measure(char *const *strings, size_t *bytes)
{
    uint32_t count = 0;
    for (; strings[count]; count++)
        *bytes += strlen(strings[count]) + 1;
    return count;
}

bool request_send(const char *file, char *const *argv, int *link)
{
    static struct writer writer;
    static char folder[PATH_MAX];
    uint8_t head[FRAME_HEAD], counts[12];
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    mode_t mask = umask(0);
    umask(mask);
    if (!getcwd(folder, sizeof folder) || folder[0] != '/')
        folder[0] = 0; /* removed, or not below our root: the server will not start anything there */
    size_t length = sizeof counts + strlen(folder) + 1 + strlen(file) + 1;
    put_number(counts, measure(argv, &length));
    put_number(counts + 4, measure(environ, &length));
    put_number(counts + 8, mask);
    head[0] = FRAME_REQUEST;
    put_number(head + 1, (uint32_t)length);
    *link = writer.link = ends[0];
    writer.theirs = ends[1];
    return put(&writer, head, sizeof head) && put(&writer, counts, sizeof counts) &&
           put(&writer, folder, strlen(folder) + 1) && put(&writer, file, strlen(file) + 1) &&
           put_strings(&writer, argv) && put_strings(&writer, environ) && flush(&writer);
}
