/* libexecnode-intercept.so: has each program that this process executes run by the escalation wrapper instead.
 *
 * Loaded with LD_PRELOAD.  These functions stand in front of those of the C library; they run in children of vfork, in
 * signal handlers and in threads, so they take no lock, allocate nothing and keep what they need on the stack.  All
 * else of the program is left alone, except that it cannot close the socket by which the wrapper asks (socket.h).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/_intercept/image.h"
#include "engine/_intercept/program.h"
#include "engine/_intercept/socket.h"

#define EXPORT __attribute__((visibility("default")))

static const char shell[] = "/bin/sh";

/* A cancellation point, which the system call alone is not. */
static int (*real_close)(int fd);

__attribute__((constructor)) static void prepare(void)
{
    real_close = (int (*)(int))(size_t)dlsym(RTLD_NEXT, "close");
    image_prepare();
}

/* ---- execute ----------------------------------------------------------------------------------------------------- */

/* Returns the errno of what could not be executed. */
static int execute(const char *file, char *const argv[], char *const env[])
{
    image_prepare(); /* another library's constructor may come first */
    if (!image_wanted()) {
        syscall(SYS_execve, file, argv, env);
        return errno;
    }
    int refused = program_check(file);
    if (refused)
        return refused;
    char *room[image_room(argv, env) / sizeof(char *) + 1];
    struct image image;
    image_fill(&image, room, file, argv, env);
    socket_keep();
    syscall(SYS_execve, image.path, image.argv, image.env);
    return errno;
}

static int fail(int error)
{
    errno = error;
    return -1;
}

EXPORT int execve(const char *file, char *const argv[], char *const env[])
{
    return fail(execute(file, argv, env));
}

EXPORT int execv(const char *file, char *const argv[])
{
    return execve(file, argv, environ);
}

EXPORT int execveat(int directory, const char *path, char *const argv[], char *const env[], int flags)
{
    char name[PATH_MAX];
    struct stat found;
    image_prepare();
    if (!image_wanted() || flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return (int)syscall(SYS_execveat, directory, path, argv, env, flags);
    if (*path == '\0' && !(flags & AT_EMPTY_PATH))
        return fail(ENOENT);
    if (flags & AT_SYMLINK_NOFOLLOW && *path && fstatat(directory, path, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(found.st_mode))
        return fail(ELOOP);
    if (*path == '/' || (*path && directory == AT_FDCWD))
        return execve(path, argv, env);
    int error = program_name(name, sizeof name, directory, path);
    return error ? fail(error) : execve(name, argv, env);
}

EXPORT int fexecve(int fd, char *const argv[], char *const env[])
{
    return fd < 0 ? fail(EINVAL) : execveat(fd, "", argv, env, AT_EMPTY_PATH);
}

/* ---- along PATH -------------------------------------------------------------------------------------------------- */

struct arguments {
    char *const *argv, *const *env;
};

/* A text without an interpreter line is given to the shell. */
static int execute_script(const char *file, char *const argv[], char *const env[])
{
    size_t argc = 0;
    while (argv && argv[argc])
        argc++;
    char *script[argc + 3], **end = script;
    *end++ = (char *)(size_t)shell;
    *end++ = (char *)(size_t)file;
    for (size_t i = 1; i < argc; i++)
        *end++ = argv[i];
    *end = NULL;
    return execute(shell, script, env);
}

static int attempt(const char *file, void *context)
{
    const struct arguments *arguments = context;
    int error = execute(file, arguments->argv, arguments->env);
    return error == ENOEXEC ? execute_script(file, arguments->argv, arguments->env) : error;
}

EXPORT int execvpe(const char *file, char *const argv[], char *const env[])
{
    return fail(program_search(file, attempt, &(struct arguments){argv, env}));
}

EXPORT int execvp(const char *file, char *const argv[])
{
    return execvpe(file, argv, environ);
}

/* ---- arguments one by one ---------------------------------------------------------------------------------------- */

static size_t count_arguments(va_list list)
{
    va_list left;
    size_t count = 1;
    va_copy(left, list);
    while (va_arg(left, char *))
        count++;
    va_end(left);
    return count;
}

/* `argv` has room for what count_arguments() counted and the end. */
static void take_arguments(char **argv, const char *first, va_list *list)
{
    *argv++ = (char *)(size_t)first;
    while ((*argv = va_arg(*list, char *)))
        argv++;
}

EXPORT int execl(const char *file, const char *first, ...)
{
    va_list list;
    va_start(list, first);
    char *argv[count_arguments(list) + 1];
    take_arguments(argv, first, &list);
    va_end(list);
    return execve(file, argv, environ);
}

EXPORT int execlp(const char *file, const char *first, ...)
{
    va_list list;
    va_start(list, first);
    char *argv[count_arguments(list) + 1];
    take_arguments(argv, first, &list);
    va_end(list);
    return execvpe(file, argv, environ);
}

EXPORT int execle(const char *file, const char *first, ...)
{
    va_list list;
    va_start(list, first);
    char *argv[count_arguments(list) + 1];
    take_arguments(argv, first, &list);
    char *const *env = va_arg(list, char *const *);
    va_end(list);
    return execve(file, argv, env);
}

/* ---- the socket stays open --------------------------------------------------------------------------------------- */

EXPORT int close(int fd)
{
    if (socket_is(fd))
        return 0;
    return real_close ? real_close(fd) : (int)syscall(SYS_close, fd);
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
    int fd = socket_number();
    if (fd < 0 || (unsigned)fd < first || (unsigned)fd > last)
        return (int)syscall(SYS_close_range, first, last, flags);
    int done = 0;
    if ((unsigned)fd > first)
        done = (int)syscall(SYS_close_range, first, (unsigned)fd - 1, flags);
    if (done == 0 && (unsigned)fd < last)
        done = (int)syscall(SYS_close_range, (unsigned)fd + 1, last, flags);
    return done;
}

EXPORT void closefrom(int lowest)
{
    if (close_range(lowest < 0 ? 0 : (unsigned)lowest, UINT_MAX, 0) == 0)
        return;
    long limit = sysconf(_SC_OPEN_MAX); /* the kernel has no close_range */
    for (int fd = lowest < 0 ? 0 : lowest; fd < limit; fd++)
        if (!socket_is(fd))
            syscall(SYS_close, fd);
}

EXPORT int dup3(int old, int new, int flags)
{
    if (old != new && socket_is(new) && !socket_give_way(new))
        return fail(EMFILE);
    return (int)syscall(SYS_dup3, old, new, flags);
}

EXPORT int dup2(int old, int new)
{
    if (old != new)
        return dup3(old, new, 0);
    return fcntl(old, F_GETFD) < 0 ? -1 : new; /* which dup3 refuses */
}
