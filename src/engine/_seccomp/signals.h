/* Sets of signals as the kernel has them. */
#ifndef EXECNODE_SIGNALS_H
#define EXECNODE_SIGNALS_H

#include <signal.h>
#include <string.h>

/* All of them: sigfillset(3) leaves out the real-time ones that a libc keeps for itself, and to us they may be sent. */
static inline void signals_fill(sigset_t *set)
{
    memset(set, 0xff, sizeof *set);
}

#endif
