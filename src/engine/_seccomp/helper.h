/* The helper executable: small programs that must not need Python, in one static file, chosen by argv[0]. */
#ifndef EXECNODE_HELPER_H
#define EXECNODE_HELPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { EXIT_USAGE = 2 };

int escalated_main(int argc, char **argv);
int guardian_main(int argc, char **argv);
int probe_main(int argc, char **argv);
int sandbox_main(int argc, char **argv);
int wrapper_main(int argc, char **argv);

/* Text to stderr; returns EXIT_USAGE, so that an applet can `return usage(...)`. */
int usage(const char *text);

/* What /proc/PID/limits says of RLIMIT_RTTIME, in microseconds; UINT64_MAX is unlimited.  False when the process is
 * gone or may not be looked at, with errno set. */
bool read_marks(pid_t pid, uint64_t *soft, uint64_t *hard);

/* Try, from within a sandbox, what it must refuse, and print a line `WHAT=refused` or `WHAT=let through` for each.
 * Outside there are a folder with a file called `file`, a process and an abstract socket. */
void trials_run(const char *folder, pid_t pid, const char *name);

#endif
