/* The one connection to the server, and the three ways in which messages follow each other on it. */
#ifndef CHANNEL_H
#define CHANNEL_H

#include <sys/types.h>

#include "message.h"

struct framing {
    size_t room; /* bytes that it needs free before a message */
    /* Puts around a message what the framing wants there. */
    void (*wrap)(struct request *);
    /* Finds the first message in `data`, and returns the length of all that belongs to it, or 0 when it is not all
     * there. `seen` is 0 for a new message, and then as it was left: how much of the data needs no second look. */
    size_t (*find)(char *data, size_t length, size_t *seen, struct span *message);
};

extern const struct framing length_prefixes, lines, web_frames;

void channel_open(const struct framing *framing, int in, int out);
int connect_unix(const char *path);
int connect_web(const char *url); /* ws://ADDRESS:PORT; does the opening handshake too */
pid_t connect_program(char **argv, int *in, int *out);

/* Readies a request for its items. */
void channel_begin(struct request *request);
void channel_send(struct request *request);
void channel_write(const char *data, size_t length);
/* The next message, which stays where it is until more is asked for. */
struct span channel_next(void);
/* Drops what comes until `fd` has something to read, and so answers pings meanwhile. */
void channel_rest(int fd);

#endif
