/* Files that a program in a sandbox is given as stdin, stdout or stderr. */
#ifndef EXECNODE_STREAMS_H
#define EXECNODE_STREAMS_H

/* Whoever opened them has another mount of the file, through which its owner could change the mode (of the machine's own
 * /dev/null for one), or by /proc/self/fd write.  So what is read, and devices, are opened anew.
 *
 * First, while all of the machine is in sight, each file that is read is opened on a read-only mount of its own; -1 for
 * the others. */
void streams_hold(int held[3]);

/* Then, in the sandbox, all of them are opened by their paths; what has none there, or is another file, is replaced by
 * what was held.  A file that may be changed in the sandbox stays as it was given. */
void streams_reopen(const int held[3]);

#endif
