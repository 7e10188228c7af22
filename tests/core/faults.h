/* Calls of the code under test that fail on demand, by the linker's --wrap (see the Makefile for the list).
 *
 *     for (unsigned n = 1;; n++) {
 *         faults_at(n, EMFILE, FAULTS_ALL);
 *         int error = spawn(...);
 *         if (!faults_clear())
 *             break;     // there is no nth call: every one has failed once
 *         ...
 *     }
 */
#ifndef EXECNODE_FAULTS_H
#define EXECNODE_FAULTS_H

#include <stdbool.h>

enum fault_call {
    FAULT_MALLOC = 1, /* malloc, calloc, realloc, mmap */
    FAULT_OPEN = 2,   /* open, mkostemp, pipe2 */
    FAULT_FCNTL = 4,
    FAULT_IOCTL = 8,
    FAULT_PREAD = 16,
    FAULT_PWRITE = 32,
    FAULT_CHILD = 64, /* setsid, dup2 */
    FAULTS_ALL = 127,
    FAULT_WAIT = 128,  /* waitid */
    FAULT_EPOLL = 256, /* epoll_ctl */
};

/* Let the nth of these calls fail with `error` (malloc: ENOMEM in any case). */
void faults_at(unsigned n, int error, unsigned calls);

/* Let all of these calls fail from the nth on. */
void faults_from(unsigned n, int error, unsigned calls);

/* Let pread and pwrite move at most `most` bytes, every second time after an EINTR; 0: as they are. */
void faults_short(unsigned most);

/* No more faults.  Returns whether there was one. */
bool faults_clear(void);

#endif
