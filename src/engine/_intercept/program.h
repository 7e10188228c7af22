/* What becomes of a program's file before the wrapper is asked.
 *
 * Once the wrapper runs, the caller cannot be told anymore that its exec failed: so what the kernel would say of the
 * file is found out first, and the search along PATH goes on as it does in the C library.
 */
#ifndef EXECNODE_INTERCEPT_PROGRAM_H
#define EXECNODE_INTERCEPT_PROGRAM_H

#include <stddef.h>

/* The errno with which the kernel would refuse to execute `file`, or 0.  A text without an interpreter line is refused
 * with ENOEXEC, and so is what only binfmt_misc knows. */
int program_check(const char *file);

/* Called with each file that the search finds; returns an errno if it could not be executed. */
typedef int program_attempt(const char *file, void *context);

/* Search PATH for `file`, as execvp does; returns the errno of the search. */
int program_search(const char *file, program_attempt *attempt, void *context);

/* Write a path for (directory, path) of execveat(2), at most `size` bytes; returns an errno. */
int program_name(char *name, size_t size, int directory, const char *path);

#endif
