/* See program.h. */
#define _GNU_SOURCE
#include "engine/_intercept/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/_intercept/decimal.h"

#define FD_FOLDER "/proc/self/fd/"

enum { HEAD = 256 /* what the kernel reads of a file (BINPRM_BUF_SIZE) */ };

static const char default_path[] = "/bin:/usr/bin"; /* confstr(_CS_PATH) */

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static int check_rights(const char *file)
{
    struct stat found;
    if (stat(file, &found) != 0)
        return errno;
    if (!S_ISREG(found.st_mode))
        return EACCES;
    return faccessat(AT_FDCWD, file, X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

/* The first line of a script without its "#!". */
static int check_interpreter(char *line, size_t length)
{
    char *end = memchr(line, '\n', length);
    size_t size = end ? (size_t)(end - line) : length;
    line[size] = '\0';
    line += strspn(line, " \t");
    size_t name = strcspn(line, " \t");
    if (name == 0 || (!end && line[name] == '\0' && size + 2 >= HEAD))
        return ENOEXEC; /* nothing named, or not all of the name */
    line[name] = '\0';
    return check_rights(line);
}

static int check_format(char *head, ssize_t length)
{
    if (length >= 4 && memcmp(head, "\177ELF", 4) == 0)
        return 0;
    if (length >= 2 && head[0] == '#' && head[1] == '!')
        return check_interpreter(head + 2, (size_t)length - 2);
    return ENOEXEC;
}

int program_check(const char *file)
{
    char head[HEAD + 1];
    int refused = check_rights(file);
    if (refused)
        return refused;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) /* it may be executed though not read */
        return 0;
    ssize_t length = read(fd, head, HEAD);
    syscall(SYS_close, fd);
    return length < 0 ? 0 : check_format(head, length);
}

/* ---- the search -------------------------------------------------------------------------------------------------- */

/* Whether the search goes on, as in glibc's execvpe: the folder may be gone, or be on a host that is down. */
static bool goes_on(int error)
{
    return error == ENOENT || error == ENOTDIR || error == EACCES || error == ESTALE || error == ENODEV ||
           error == ETIMEDOUT;
}

int program_search(const char *file, program_attempt *attempt, void *context)
{
    size_t name = strlen(file);
    if (name == 0)
        return ENOENT;
    if (strchr(file, '/'))
        return attempt(file, context);
    if (name > NAME_MAX)
        return ENAMETOOLONG;
    const char *folder = getenv("PATH");
    if (!folder)
        folder = default_path;
    bool denied = false;
    int error = ENOENT;
    for (;; folder++) {
        char candidate[PATH_MAX + NAME_MAX + 2];
        size_t length = strcspn(folder, ":");
        if (length < PATH_MAX) {
            char *end = mempcpy(candidate, folder, length);
            if (length > 0) /* an empty one is the current folder */
                *end++ = '/';
            stpcpy(end, file);
            error = attempt(candidate, context);
            if (!goes_on(error))
                return error;
            denied |= error == EACCES;
        }
        folder += length;
        if (*folder == '\0')
            return denied ? EACCES : error;
    }
}

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

/* The path of an open file, if it leads to that file: a deleted one, or one in memory, has none. */
static bool real_name(char *name, size_t size, const char *link, int fd)
{
    struct stat open_file, named;
    ssize_t length = readlink(link, name, size - 1);
    if (length <= 0)
        return false;
    name[length] = '\0';
    return fstat(fd, &open_file) == 0 && stat(name, &named) == 0 && open_file.st_dev == named.st_dev &&
           open_file.st_ino == named.st_ino;
}

int program_name(char *name, size_t size, int directory, const char *path)
{
    char link[sizeof FD_FOLDER + DECIMAL_SIZE] = FD_FOLDER;
    if (directory < 0)
        return EBADF;
    write_decimal(link + strlen(link), directory);
    if (!real_name(name, size, link, directory)) {
        int flags = fcntl(directory, F_GETFD);
        if (flags < 0)
            return EBADF;
        /* It has no other name than its number: the wrapper and the program must have it open. */
        fcntl(directory, F_SETFD, flags & ~FD_CLOEXEC);
        stpcpy(name, link);
    }
    if (*path == '\0')
        return 0;
    size_t length = strlen(name);
    if (length + 1 + strlen(path) >= size)
        return ENAMETOOLONG;
    stpcpy(stpcpy(name + length, name[length - 1] == '/' ? "" : "/"), path);
    return 0;
}
