/* What may be done in a sandbox instead of running a program: a function, in a process of its own, with a copy of the
 * caller's memory, that sees, changes and reaches what the program would. */
#ifndef EXECNODE_TASK_H
#define EXECNODE_TASK_H

struct task {
    int (*run)(void *context); /* returns the process's exit code */
    void *context;
};

/* As the helper's main() with these arguments, but with the task for the command, of which only the name is looked at.
 * Blocks until the task has ended, and returns its exit code.  The caller has one thread and no use for its children.
 * Descriptors that are not passed on are close-on-exec in the task, and open: it closes what it does not want. */
int sandbox_run(int argc, char **argv, const struct task *task);

#endif
