/* The escalation protocol, as docs/escalation.md describes it, for those of its parts that are in C. */
#ifndef EXECNODE_ESCALATION_H
#define EXECNODE_ESCALATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The name of the variable that has the number of the inherited socket. */
#define ESCALATION_VARIABLE "EXECNODE_ESCALATE_FD"

/* What a message on the inherited socket asks for, its only byte; one descriptor is attached to it. */
enum escalation_wish {
    WISH_EXEC = 'E',      /* a stream socket, over which one exec is then talked about */
    WISH_SUPERVISE = 'S', /* a listener of seccomp's user notifications */
};

/* Frames of the stream: a kind, the length of what follows as 4 bytes, the most significant first, and so much. */
enum escalation_frame {
    FRAME_REQUEST = 'Q',     /* from the wrapper: counts and umask, then folder, file, argv, environment, each ended by NUL */
    FRAME_DESCRIPTORS = 'F', /* from the wrapper: for each number asked for whether it is open there; those are attached */
    FRAME_SIGNAL = 'S',      /* to the server: a signal for the command; back: it was sent */
    FRAME_RUN = 'R',         /* to the wrapper: exec in place */
    FRAME_DENY = 'D',        /* to the wrapper: exit code, 1 byte, and the reason */
    FRAME_ESCALATE = 'E',    /* to the wrapper: the numbers of the descriptors wanted, 2 bytes each */
    FRAME_EXITED = 'X',      /* to the wrapper: exit code, 1 byte */
    FRAME_KILLED = 'K',      /* to the wrapper: the signal that ended the command, 1 byte */
};

enum { FRAME_HEAD = 5, ANSWER_MAX = 4096, DESCRIPTORS_MAX = 61 };

/* A frame from the server, whole. */
struct answer {
    uint8_t kind;
    uint32_t length;
    uint8_t payload[ANSWER_MAX + 1]; /* ended by NUL */
};

/* Send a wish with its descriptor on the inherited socket; false with errno, EBADF when there is none. */
bool escalation_wish(enum escalation_wish wish, int attached);

/* Send a whole frame of at most ANSWER_MAX bytes, with descriptors attached to it; false with errno. */
bool frame_send(int link, enum escalation_frame kind, const void *payload, size_t length, const int *attached,
                size_t attached_count);

/* Receive the next frame; false with errno, 0 when the server has gone away, EPROTO for what is no frame. */
bool frame_receive(int link, struct answer *answer);

/* Ask about an exec, over a link of its own on which the answer comes; false with errno. */
bool request_send(const char *file, char *const *argv, int *link);

/* execve(2), and what execvp(3) does with a file that is neither a program nor names one; with errno if it returns.
 * By the kernel's call itself: the C library's may be intercepted. */
void exec_in_place(const char *file, char *const *argv);

/* Complain about `what` on stderr, with errno's text unless it is 0, and give an exit code: `code`. */
int escalation_failed(int code, const char *what);

/* `--supervise -- COMMAND ARG...`, after the program's name. */
int supervise_main(int argc, char **argv);

/* From now on signals are read from the descriptor that is returned (-1: errno), and do nothing else.  To be called
 * before there is a command: one that came between would end or stop the wrapper alone. */
int signals_catch(void);

/* Stand for the command that runs outside: forward signals, end as it does.  Gives the exit code. */
int escalated_wait(int link, int signals);

#endif
