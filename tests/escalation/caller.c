/* Executes a program by one of the ways that there are, and ends as that ended.
 *
 * caller WAY FILE ARGV0 [ARG...]: for an `e` at its end, a way has an environment of its own: MINE=1. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char *mine[] = {"MINE=1", NULL};

static int descriptor_of(const char *file, int flags)
{
    int fd = open(file, flags | O_CLOEXEC);
    if (fd < 0)
        perror(file);
    return fd;
}

/* Executes in place. */
static bool execute(const char *way, char *file, char **argv)
{
    if (strcmp(way, "execve") == 0)
        execve(file, argv, mine);
    else if (strcmp(way, "execv") == 0)
        execv(file, argv);
    else if (strcmp(way, "execvp") == 0)
        execvp(file, argv);
    else if (strcmp(way, "execvpe") == 0)
        execvpe(file, argv, mine);
    else if (strcmp(way, "execl") == 0)
        execl(file, argv[0], argv[1], argv[2], NULL);
    else if (strcmp(way, "execlp") == 0)
        execlp(file, argv[0], argv[1], argv[2], NULL);
    else if (strcmp(way, "execle") == 0)
        execle(file, argv[0], argv[1], argv[2], NULL, mine);
    else if (strcmp(way, "fexecve") == 0)
        fexecve(descriptor_of(file, O_RDONLY), argv, mine);
    else if (strcmp(way, "execveat") == 0)
        execveat(descriptor_of("/", O_PATH | O_DIRECTORY), file + 1, argv, mine, 0);
    else if (strcmp(way, "syscall") == 0)
        syscall(SYS_execve, file, argv, environ);
    else
        return false;
    return true;
}

static int end_like(int status)
{
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    return WEXITSTATUS(status);
}

static int wait_for(pid_t child)
{
    int status = 0;
    waitpid(child, &status, 0);
    return end_like(status);
}

/* With everything that posix_spawn can do to the child, as far as it shows. */
static int spawn(bool search, const char *file, char **argv)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t set;
    pid_t child;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 5, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, 5, 6);
    posix_spawn_file_actions_addclose(&actions, 5);
    posix_spawn_file_actions_addchdir_np(&actions, "/usr");
    posix_spawn_file_actions_addclosefrom_np(&actions, 7);
    posix_spawnattr_init(&attributes);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    posix_spawnattr_setsigmask(&attributes, &set);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    errno = search ? posix_spawnp(&child, file, &actions, &attributes, argv, mine)
                   : posix_spawn(&child, file, &actions, &attributes, argv, mine);
    if (errno) {
        perror(file);
        return 127;
    }
    return wait_for(child);
}

/* Everything open that is not known is closed, and the numbers are then used otherwise. */
static int daemon_like(char *file, char **argv, bool one_by_one)
{
    pid_t child = vfork();
    if (child == 0) {
        if (one_by_one)
            for (int fd = 3; fd < 1024; fd++)
                close(fd);
        else
            close_range(3, ~0U, 0);
        for (int fd = 900; fd < 904; fd++)
            dup2(0, fd);
        closefrom(900);
        execve(file, argv, mine);
        _exit(127);
    }
    int first = wait_for(child);
    child = vfork(); /* the parent's own copy is where it was */
    if (child == 0) {
        execve(file, argv, mine);
        _exit(127);
    }
    int second = wait_for(child);
    return first == second ? first : 99;
}

static int in_shell(const char *way, char *const *argv)
{
    char command[4096] = "exec";
    for (; *argv; argv++)
        sprintf(command + strlen(command), " '%s'", *argv);
    if (strcmp(way, "system") == 0)
        return end_like(system(command));
    FILE *pipe = popen(command, "r");
    for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe))
        putchar(c);
    fflush(stdout);
    return end_like(pclose(pipe));
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    char *way = argv[1], *file = argv[2], **words = argv + 3;
    if (execute(way, file, words)) {
        int code = errno == ENOENT ? 127 : 126;
        fprintf(stderr, "caller: %s: %s\n", file, strerror(errno));
        return code;
    }
    if (strcmp(way, "posix_spawn") == 0 || strcmp(way, "posix_spawnp") == 0)
        return spawn(way[strlen(way) - 1] == 'p', file, words);
    if (strcmp(way, "vfork-close") == 0 || strcmp(way, "vfork-closefrom") == 0)
        return daemon_like(file, words, strcmp(way, "vfork-close") == 0);
    words[0] = file; /* a shell has it so */
    return in_shell(way, words);
}
