/* The command line of execnode-linux-sandbox, which is also how the engine hands a plan to it. */
#ifndef EXECNODE_OPTIONS_H
#define EXECNODE_OPTIONS_H

#include "engine/_seccomp/passed.h"
#include "engine/_seccomp/plan.h"
#include "engine/_seccomp/task.h"

struct options {
    struct plan plan;  /* sorted; its paths are real ones */
    const char *cwd;
    const char *arg0;  /* or NULL */
    char **command;    /* NULL-terminated */
    const struct task *task; /* in its place, or NULL */
    uint32_t accepted; /* protections whose loss is accepted: a set of 1 << enum protection */
    uint32_t told;     /* those of which there has been a word */
    int status_fd;     /* or -1 */
    struct passed passed;
    bool unrestricted; /* nothing is forbidden */
    bool isolate;      /* namespaces are wanted, even if the plan does without */
};

extern const char options_usage[];

/* Read the command line and look the paths up.  NULL, or what is wrong with it: a sentence in a static buffer. */
const char *options_parse(int argc, char **argv, struct options *options);

#endif
