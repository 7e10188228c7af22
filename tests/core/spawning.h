/* What the tests of spawn.c share: plans, running them, reading what the probe reports. */
#ifndef EXECNODE_SPAWNING_H
#define EXECNODE_SPAWNING_H

#include <sys/syscall.h>

#include "engine/core/spawn.h"

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* A plan with what it points to; not to be copied. */
struct launch {
    struct spawn_plan plan;
    const char *paths[2];
    char *argv[6];
    char *envp[2];
};

/* What became of a child. */
struct run {
    int kind, status; /* CLD_* and the exit code or signal */
    char output[16384], errors[4096];
};

struct spawner *shared_spawner(void);
char *probe_path(void);

/* A start of the probe (`verb` may be NULL), of a program by its path, of /bin/sh; good for the next few of them. */
struct launch *launch_probe(char *verb);
struct launch *launch_path(char *path);
struct launch *launch_shell(char *script);
void launch_terminal(struct launch *launch, unsigned short rows, unsigned short cols);

/* Start it, or fail the test. */
void start(struct launch *launch, struct spawned *spawned);

/* Read to the end of all output, reap, close. */
struct run finish(struct spawned *spawned);

struct run run_launch(struct launch *launch);
struct run run_shell(char *script);

/* The value of a line NAME=VALUE of the output, or NULL. */
const char *field(const struct run *run, const char *name);

/* The start must fail in this way, and leave neither descriptors nor children. */
void check_refusal(struct launch *launch, enum spawn_stage stage, int error);

/* From now on this system call fails in this process, with a seccomp filter. */
void refuse_call(long number, int error);

#endif
