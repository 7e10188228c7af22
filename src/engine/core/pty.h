/* Pseudoterminals, pty(7). */
#ifndef EXECNODE_PTY_H
#define EXECNODE_PTY_H

/* Open a pair of the given size, the master non-blocking, both close-on-exec and above descriptor 2.
 * Returns 0, or -1 with errno set and both left at -1. */
int pty_open(unsigned short rows, unsigned short cols, int *master, int *slave);

/* Set the size; the foreground process group gets SIGWINCH when it changes.  Returns 0 or -errno. */
int pty_resize(int master, unsigned short rows, unsigned short cols);

/* Move a descriptor clear of 0 to 2, where a child's own will be; a failure (-1) passes through.
 * Returns the new number, close-on-exec, or -1 with errno set; the old one is then closed. */
int above_stdio(int fd);

#endif
