/* execnode-escalated: what an escalated command is just before it is one.
 *
 *     execnode-escalated FILE_ID FOLDER_ID UMASK NUMBERS FILE ARGV0 [ARG...]
 *
 * The engine has started it with the descriptors of the process that asked as 3, 4, ...; NUMBERS (0,1,2) says what they
 * are to become.  FILE_ID and FOLDER_ID say which file and working folder were decided about: others are not run. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/_seccomp/escalation.h"
#include "engine/_seccomp/helper.h"

enum { EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127, ID_MAX = 128, SYS_OPENAT2 = 437 };

/* Put 3, 4, ... where they belong; a number of the first three that is not mentioned is closed. */
static bool place_descriptors(const char *numbers)
{
    int targets[DESCRIPTORS_MAX], lifted[DESCRIPTORS_MAX], count = 0, top = 2;
    for (const char *at = numbers; *at && count < DESCRIPTORS_MAX; count++) {
        char *end;
        targets[count] = (int)strtol(at, &end, 10);
        if (end == at || (*end && *end != ','))
            return false;
        top = targets[count] > top ? targets[count] : top;
        at = *end ? end + 1 : end;
    }
    top = top < 3 + count ? 3 + count : top + 1;
    for (int i = 0; i < count; i++) {
        lifted[i] = fcntl(3 + i, F_DUPFD_CLOEXEC, top);
        if (lifted[i] < 0)
            return false;
    }
    for (int fd = 0; fd < 3 + count; fd++)
        close(fd);
    for (int i = 0; i < count; i++)
        if (dup2(lifted[i], targets[i]) < 0)
            return false;
    return true;
}

/* Whether a file is the one that was decided about, and has not been changed since. */
static bool is_file(int fd, const char *id)
{
    struct stat status;
    char found[ID_MAX];
    if (fstat(fd, &status) < 0)
        return false;
    snprintf(found, sizeof found, "%llu:%llu:%lld:%lld.%09ld:%lld.%09ld", (unsigned long long)status.st_dev,
             (unsigned long long)status.st_ino, (long long)status.st_size, (long long)status.st_mtim.tv_sec,
             status.st_mtim.tv_nsec, (long long)status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
    return strcmp(found, id) == 0;
}

static bool is_folder(const char *id)
{
    struct stat status;
    char found[ID_MAX];
    if (stat(".", &status) < 0)
        return false;
    snprintf(found, sizeof found, "%llu:%llu", (unsigned long long)status.st_dev, (unsigned long long)status.st_ino);
    return strcmp(found, id) == 0;
}

/* Not through /proc/self and its like, which name something else to everybody who asks. */
static int open_file(const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_OPENAT2, AT_FDCWD, path, &how, sizeof how);
    return fd < 0 && errno == ENOSYS ? open(path, O_PATH | O_CLOEXEC) : fd; /* a sandbox hides openat2(2) */
}

int escalated_main(int argc, char **argv)
{
    if (argc < 7)
        return usage("execnode-escalated is started by the escalation server\n");
    const char *file = argv[5];
    if (!place_descriptors(argv[4]))
        return escalation_failed(EXIT_CANNOT_RUN, "cannot place the descriptors");
    umask((mode_t)strtoul(argv[3], NULL, 8));
    int fd = open_file(file);
    if (fd < 0)
        return escalation_failed(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, file);
    errno = 0;
    if (!is_file(fd, argv[1]))
        return escalation_failed(EXIT_CANNOT_RUN, "the program was changed since it was asked about");
    if (!is_folder(argv[2]))
        return escalation_failed(EXIT_CANNOT_RUN, "the working folder was changed since it was asked about");
    close(fd);
    exec_in_place(file, argv + 6);
    return escalation_failed(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, file);
}
