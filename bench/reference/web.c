/* WebSocket (RFC 6455), the client's side of it: the opening handshake, masked text frames out, and in whatever frames
 * the server likes to cut its messages into. Messages of one frame, which are nearly all, are not moved. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "measure.h"

enum { FINAL = 0x80, RESERVED = 0x70, CONTROL = 0x08, TEXT = 0x1, CLOSE = 0x8, PING = 0x9, PONG = 0xa, MASKED = 0x80 };
enum { HEAD = 8, SMALL = 125 }; /* the longest head that is sent; the longest payload of the shortest head */

/* ---- sending ---- */

/* Masks a payload and puts a head before it, where there is room. */
static void wrap(struct request *r, uint8_t opcode) {
    size_t length = r->end - r->start;
    bool small = length <= SMALL;
    uint32_t random_bits = (uint32_t)random();
    uint8_t key[4], head[HEAD] = {FINAL | opcode, (uint8_t)(MASKED | (small ? length : 126)), (uint8_t)(length >> 8),
                                  (uint8_t)length};
    memcpy(key, &random_bits, sizeof key);
    for (size_t i = 0; i < length; i++)
        r->data[r->start + i] ^= (char)key[i % 4];
    size_t plain = small ? 2 : 4;
    memcpy(head + plain, key, sizeof key);
    r->start -= plain + sizeof key;
    memcpy(r->data + r->start, head, plain + sizeof key);
}

static void wrap_text(struct request *r) { wrap(r, TEXT); }

static void answer(uint8_t opcode, const char *payload, size_t length) {
    static struct request pong;
    if (opcode == CLOSE) die("the server closed the connection");
    if (opcode != PING) return;
    pong.start = pong.end = HEAD;
    put(&pong, payload, length);
    wrap(&pong, PONG);
    channel_write(pong.data + pong.start, pong.end - pong.start);
}

/* ---- receiving ---- */

/* Reads the head of a frame; returns its length, or 0 when the frame is not all there. */
static size_t read_head(const char *data, size_t length, uint8_t *first, size_t *payload) {
    const uint8_t *p = (const uint8_t *)data;
    if (length < 2) return 0;
    if (p[0] & RESERVED || p[1] & MASKED) die("a server may not send such a frame");
    size_t extra = p[1] == 127 ? 8 : p[1] == 126 ? 2 : 0;
    if (length < 2 + extra) return 0;
    *first = p[0];
    *payload = extra ? 0 : p[1];
    for (size_t i = 0; i < extra; i++)
        *payload = *payload << 8 | p[2 + i];
    return length - 2 - extra < *payload ? 0 : 2 + extra;
}

static size_t find(char *data, size_t length, size_t *seen, struct span *message) {
    static size_t begin, gathered; /* of the message whose frames are coming: where it begins, what is there of it */
    for (;;) {
        uint8_t first;
        size_t part, head = read_head(data + *seen, length - *seen, &first, &part);
        if (!head) return 0;
        char *payload = data + *seen + head;
        *seen += head + part;
        if (first & CONTROL) {
            answer(first & ~FINAL, payload, part);
            continue;
        }
        if (!gathered)
            begin = (size_t)(payload - data);
        else
            memmove(data + begin + gathered, payload, part);
        gathered += part;
        if (first & FINAL) {
            *message = (struct span){data + begin, gathered};
            gathered = 0;
            return *seen;
        }
    }
}

const struct framing web_frames = {HEAD, wrap_text, find};

/* ---- connecting ---- */

/* The key is that of the RFC's example, and so the answer to it is known. */
static void handshake(int fd, const char *host) {
    char text[4096];
    int length = snprintf(text, sizeof text,
                          "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                          host);
    if (write(fd, text, (size_t)length) != length) die("the handshake was not sent");
    size_t got = 0;
    do {
        if (got == sizeof text - 1) die("the answer to the handshake is too long");
        if (check(read(fd, text + got, 1), "read") != 1) die("the server refused the handshake");
        text[++got] = 0;
    } while (got < 4 || strcmp(text + got - 4, "\r\n\r\n"));
    if (strncmp(text, "HTTP/1.1 101 ", 13) || !strstr(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) {
        fprintf(stderr, "reference: %s", text);
        die("the server refused the handshake");
    }
}

int connect_web(const char *url) {
    char host[16];
    uint16_t port;
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (sscanf(url, "ws://%15[0-9.]:%hu", host, &port) != 2 || !inet_aton(host, &address.sin_addr))
        die("expected ws://ADDRESS:PORT");
    address.sin_port = htons(port);
    int fd = (int)check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    check(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    /* What the client would hold back itself is not to be counted as the server's time. */
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
    handshake(fd, url + strlen("ws://"));
    return fd;
}
