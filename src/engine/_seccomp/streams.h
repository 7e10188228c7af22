/* Files that a program in a sandbox is given as stdin, stdout or stderr. */
#ifndef EXECNODE_STREAMS_H
#define EXECNODE_STREAMS_H

/* Open anew, by their paths in the sandbox, devices, and files that were opened to be read and are read-only there.
 * Whoever opened them has another mount of the file, through which its owner could change the mode (of the machine's own
 * /dev/null for one), or by /proc/self/fd write. */
void streams_reopen(void);

#endif
