/* Start a program: clone3(2) with CLONE_VM | CLONE_VFORK | CLONE_PIDFD, so that the cost does not grow with the node's
 * memory, and execve(2) in the child on a stack of its own.
 *
 * The child shares the parent's memory until it execs.  It therefore calls only async-signal-safe functions, allocates
 * nothing, takes no lock, and reports a failure as (stage, errno) by writing into the plan, which the parent, suspended
 * until then, reads when it wakes.
 */
#ifndef EXECNODE_SPAWN_H
#define EXECNODE_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/* What was being done when a start failed; spawn_stage_name() has the words. */
enum spawn_stage {
    SPAWN_OK,
    SPAWN_PIPE,
    SPAWN_PTY,
    SPAWN_CLONE,
    SPAWN_SESSION,
    SPAWN_TERMINAL,
    SPAWN_STDIO,
    SPAWN_INHERIT,
    SPAWN_CHDIR,
    SPAWN_RLIMIT,
    SPAWN_SANDBOX,
    SPAWN_EXEC,
    SPAWN_STAGES
};

struct confinement;

enum { SPAWN_INHERIT_MAX = 64 };

struct spawn_rlimit {
    int resource; /* RLIMIT_* */
    struct rlimit limit;
};

struct spawn_plan {
    const char *const *paths; /* programs to try in order, as execvp(3) does; NULL-terminated */
    char *const *argv;        /* argv[0] is arg0 as the program sees it */
    char *const *envp;        /* the exact environment */
    const char *cwd;          /* absolute */
    const struct spawn_rlimit *rlimits;
    size_t rlimit_count;
    bool tty;                  /* a new controlling terminal instead of pipes */
    unsigned short rows, cols; /* of the terminal */
    bool stdin_pipe;           /* without a terminal: a pipe instead of /dev/null */
    int cgroup_fd;             /* folder of the cgroup v2 to start in, or -1 */
    const int *inherit;        /* descriptors that become 3, 4, ... in the child; everything else is closed */
    size_t inherit_count;      /* at most SPAWN_INHERIT_MAX */
    bool outlive;              /* not killed with the thread that starts it */
    const struct confinement *confinement; /* what it gives up before it runs, or NULL; see _seccomp/confine.h */
};

struct spawned {
    pid_t pid;
    int pidfd;
    int stdin_fd;  /* non-blocking, or -1; for a terminal a second descriptor of its master */
    int output_fd; /* non-blocking: stdout, or the terminal's master */
    int stderr_fd; /* non-blocking, or -1 for a terminal */
};

/* What a spawn needs every time: made once, owned by the engine. */
struct spawner {
    void *stack;
    int null_fd;
};

int spawner_init(struct spawner *spawner); /* 0 or -errno */
void spawner_destroy(struct spawner *spawner);

/* Start the program.  Returns 0, or the errno of the failure with *stage set; nothing is then left behind. */
int spawn(struct spawner *spawner, const struct spawn_plan *plan, struct spawned *spawned, enum spawn_stage *stage);

const char *spawn_stage_name(enum spawn_stage stage);

#endif
