/* The descriptors that a program is given: 0, 1, 2 and those that were asked for. */
#ifndef EXECNODE_PASSED_H
#define EXECNODE_PASSED_H

#include <stdbool.h>
#include <stddef.h>

struct passed {
    int *list; /* ascending, from 3 up */
    size_t count;
};

/* False when out of memory. */
bool passed_add(struct passed *passed, int fd);

/* In the program's process: all others are closed by the execve(2).  Async-signal-safe. */
void passed_keep(const struct passed *passed);

/* In the processes around it: close them, for whoever reads what the program writes waits for every copy. */
void passed_close(const struct passed *passed);

#endif
