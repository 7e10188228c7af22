/* execnode-guardian: ends what a node started when the node itself is gone, also when it was killed by SIGKILL.
 *
 * Theory of operation.  Descriptor 0 is the read end of a pipe whose only writer is the node.  While the node lives the
 * guardian sleeps in read(2).  The kernel closes the write end however the node ends, so end-of-file means: the node is
 * gone.  A node that leaves in order writes 'q' first, and the guardian leaves too.
 *
 * At end-of-file it writes cgroup.kill of the node's cgroup and removes the folders, then kills every process whose
 * RLIMIT_RTTIME lies in the node's range of marks (src/engine/lineage.py explains these), until a look through /proc
 * finds none.  A child caught between clone3 and execve may carry no mark yet; it dies by its own parent-death signal.
 * Last it removes the placeholders of sandboxes (missing.h) that the node has told of: '+' PATH NUL, and '-' PATH NUL
 * when one is gone.
 */
#include "engine/_seccomp/helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/_seccomp/missing.h"

enum {
    PATIENCE_S = 10, /* a process in an uninterruptible wait may outlast any patience; then give up */
    FIRST_PAUSE_NS = 1000 * 1000,
    LAST_PAUSE_NS = 50 * 1000 * 1000,
};

static const char USAGE[] = "usage: execnode-guardian [--cgroup DIR] [--lineage LOW HIGH] < pipe\n"
                            "At end-of-file on standard input, kill all in the cgroup DIR and remove it, and kill\n"
                            "every process whose RLIMIT_RTTIME is from LOW to HIGH; after a 'q' do nothing.\n"
                            "'+' PATH NUL is a placeholder to be removed then, '-' PATH NUL one no more.\n";

struct duty {
    const char *cgroup; /* or NULL */
    uint64_t low, high; /* high 0: no lineage */
    char *names;        /* placeholders: each ended by a NUL */
    size_t names_size;
};

/* ---- time ---------------------------------------------------------------------------------------------------- */

struct patience {
    time_t deadline;
    long pause_ns;
};

static time_t now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static struct patience patience_new(void)
{
    return (struct patience){now_s() + PATIENCE_S, FIRST_PAUSE_NS};
}

/* Sleep, each time longer.  False when it is time to give up. */
static bool pause_before_retry(struct patience *patience)
{
    nanosleep(&(struct timespec){.tv_nsec = patience->pause_ns}, NULL);
    if (patience->pause_ns < LAST_PAUSE_NS)
        patience->pause_ns *= 2;
    return now_s() < patience->deadline;
}

/* ---- reading /proc ------------------------------------------------------------------------------------------- */

/* The first `size - 1` bytes of a file, as a string.  False with errno. */
static bool read_text(int folder, const char *path, char *text, size_t size)
{
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, size - 1);
    int error = errno;
    close(fd);
    errno = error;
    if (length < 0)
        return false;
    text[length] = '\0';
    return true;
}

static const char *read_limit(const char *text, uint64_t *value)
{
    char *end;
    text += strspn(text, " ");
    *value = strncmp(text, "unlimited", 9) == 0 ? UINT64_MAX : strtoull(text, &end, 10);
    return text + strcspn(text, " ");
}

bool read_marks(pid_t pid, uint64_t *soft, uint64_t *hard)
{
    static const char ROW[] = "Max realtime timeout ";
    char path[32], text[4096];
    snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
    if (!read_text(AT_FDCWD, path, text, sizeof text))
        return false;
    const char *row = strstr(text, ROW);
    if (!row) {
        errno = ENOSYS;
        return false;
    }
    read_limit(read_limit(row + sizeof ROW - 1, soft), hard);
    return true;
}

static bool in_range(const struct duty *duty, uint64_t mark)
{
    return mark >= duty->low && mark <= duty->high;
}

/* False with errno when the process is gone, and with errno 0 when it is there and not the node's. */
static bool is_marked(pid_t pid, const struct duty *duty)
{
    uint64_t soft, hard;
    if (!read_marks(pid, &soft, &hard))
        return false;
    errno = 0;
    return in_range(duty, soft) || in_range(duty, hard);
}

/* A zombie only waits for its parent.  A zombie leader whose other threads run on is no zombie. */
static bool is_zombie(pid_t pid)
{
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!read_text(AT_FDCWD, path, text, sizeof text))
        return true;
    const char *rest = strrchr(text, ')'); /* the name before it may hold anything */
    if (!rest || (rest[2] != 'Z' && rest[2] != 'X'))
        return false;
    rest += 2;
    for (int field = 3; field < 20 && *rest; field++) /* proc_pid_stat(5): state is 3, num_threads 20 */
        rest += strcspn(rest, " ") + 1;
    return atoi(rest) <= 1;
}

/* ---- by lineage ---------------------------------------------------------------------------------------------- */

/* One bit for each pid that there can be (PID_MAX_LIMIT of proc(5)); untouched pages take no memory. */
enum { PIDS = 1 << 22 };
static uint8_t seen[PIDS / 8];

static bool is_new(pid_t pid)
{
    if (pid <= 0 || pid >= PIDS)
        return false;
    uint8_t bit = (uint8_t)(1U << (pid % 8));
    bool new = !(seen[pid / 8] & bit);
    seen[pid / 8] |= bit;
    return new;
}

/* Kill a process if it carries a mark; the mark is read again once there is a pidfd, so that a recycled pid is never
 * hit.  True when there was nothing to do.  One that is gone, or a zombie, may have left a child: that is not nothing. */
static bool is_no_concern(pid_t pid, const struct duty *duty)
{
    if (!is_marked(pid, duty))
        return errno != ENOENT && errno != ESRCH;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0) {
        if (is_marked(pid, duty) && !is_zombie(pid))
            syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        close(pidfd);
    }
    return false;
}

/* Kill all that carry a mark.  After the first look through /proc only newcomers are looked at; the end is a look that
 * finds no concern.  A process that SIGKILL was sent to forks no more. */
static bool end_lineage(const struct duty *duty)
{
    time_t deadline = now_s() + PATIENCE_S;
    DIR *proc = opendir("/proc");
    if (!proc)
        return false;
    bool settled = false;
    is_new(getpid()); /* no concern of its own */
    while (!settled && now_s() < deadline) {
        settled = true;
        rewinddir(proc);
        for (struct dirent *entry; (entry = readdir(proc));) {
            pid_t pid = (pid_t)atoi(entry->d_name);
            if (is_new(pid) && !is_no_concern(pid, duty))
                settled = false;
        }
    }
    closedir(proc);
    return settled;
}

/* ---- by cgroup ----------------------------------------------------------------------------------------------- */

static bool write_text(int folder, const char *name, const char *text)
{
    int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool written = write(fd, text, strlen(text)) >= 0;
    close(fd);
    return written;
}

/* Before Linux 5.14 there is no cgroup.kill. */
static void kill_listed(int folder)
{
    int fd = openat(folder, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    FILE *list = fd < 0 ? NULL : fdopen(fd, "r");
    if (!list)
        return;
    for (char line[32]; fgets(line, sizeof line, list);) {
        pid_t pid = (pid_t)atoi(line);
        if (pid > 0) /* 0: a process of another PID namespace */
            kill(pid, SIGKILL);
    }
    fclose(list);
}

/* Remove the cgroup `name` in `parent` and those below it, children first; with `by_hand`, kill what lives there. */
static void remove_cgroup(int parent, const char *name, bool by_hand)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
        return;
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = folder < 0 ? NULL : fdopendir(folder);
    if (!list)
        return;
    if (by_hand)
        kill_listed(folder);
    for (struct dirent *entry; (entry = readdir(list));)
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            remove_cgroup(folder, entry->d_name, by_hand);
    closedir(list);
    unlinkat(parent, name, AT_REMOVEDIR);
}

static bool end_cgroup(const char *path)
{
    struct patience patience = patience_new();
    do {
        int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
            return errno == ENOENT;
        bool killed = write_text(folder, "cgroup.kill", "1");
        if (!killed)
            write_text(folder, "cgroup.freeze", "1"); /* no forks while the list is read; SIGKILL gets through */
        close(folder);
        remove_cgroup(AT_FDCWD, path, !killed);
        if (access(path, F_OK) < 0 && errno == ENOENT)
            return true;
    } while (pause_before_retry(&patience));
    return false;
}

/* ---- placeholders ------------------------------------------------------------------------------------------------- */

static char *find_name(const struct duty *duty, const char *name)
{
    for (char *each = duty->names, *end = each + duty->names_size; each < end; each += strlen(each) + 1)
        if (strcmp(each, name) == 0)
            return each;
    return NULL;
}

static void add_name(struct duty *duty, const char *name)
{
    size_t length = strlen(name) + 1;
    char *names = find_name(duty, name) ? NULL : realloc(duty->names, duty->names_size + length);
    if (!names)
        return;
    memcpy(names + duty->names_size, name, length);
    duty->names = names;
    duty->names_size += length;
}

static void remove_name(struct duty *duty, const char *name)
{
    char *place = find_name(duty, name);
    if (!place)
        return;
    char *rest = place + strlen(place) + 1;
    memmove(place, rest, (size_t)(duty->names + duty->names_size - rest));
    duty->names_size -= (size_t)(rest - place);
}

/* One that another node's sandbox holds is that one's matter. */
static void sweep_names(const struct duty *duty)
{
    struct patience patience = patience_new();
    for (char *each = duty->names, *end = each + duty->names_size; each < end; each += strlen(each) + 1)
        while (!placeholder_sweep(each) && pause_before_retry(&patience))
            ;
}

/* ---- the node's words ---------------------------------------------------------------------------------------------- */

/* Listen until end-of-file.  False after a 'q', or what cannot be trusted to mean anything. */
static bool listen_to_node(struct duty *duty)
{
    char text[2 * PATH_MAX];
    size_t size = 0;
    for (;;) {
        ssize_t length = read(STDIN_FILENO, text + size, sizeof text - size);
        if (length == 0)
            return true;
        if (length < 0 && errno != EINTR)
            return false;
        size += length > 0 ? (size_t)length : 0;
        for (char *end; size && *text != 'q' && (end = memchr(text, '\0', size));) {
            (*text == '+' ? add_name : remove_name)(duty, text + 1);
            size -= (size_t)(end + 1 - text);
            memmove(text, end + 1, size);
        }
        if (size && (*text == 'q' || size == sizeof text))
            return false;
    }
}

/* ---- the applet ---------------------------------------------------------------------------------------------- */

static bool parse_number(const char *text, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
}

static bool parse(int argc, char **argv, struct duty *duty)
{
    for (int i = 1; i < argc;) {
        if (strcmp(argv[i], "--cgroup") == 0 && i + 1 < argc && argv[i + 1][0] == '/') {
            duty->cgroup = argv[i + 1];
            i += 2;
        } else if (strcmp(argv[i], "--lineage") == 0 && i + 2 < argc && parse_number(argv[i + 1], &duty->low) &&
                   parse_number(argv[i + 2], &duty->high) && duty->low > 0 && duty->low <= duty->high &&
                   duty->high < UINT64_MAX) {
            i += 3;
        } else {
            return false;
        }
    }
    return duty->cgroup || duty->high;
}

/* Nothing meant for the node or its terminal reaches the guardian, and it holds nothing open that others wait for. */
static void detach(void)
{
    static const int IGNORED[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2, SIGTSTP};
    for (size_t i = 0; i < sizeof IGNORED / sizeof *IGNORED; i++)
        signal(IGNORED[i], SIG_IGN);
    setsid(); /* fails for a group leader, which has left the terminal's group already */
    prctl(PR_SET_NAME, "execnode-guardian"); /* the kernel keeps 15 bytes */
    if (syscall(SYS_close_range, 3, ~0U, 0) < 0)
        for (long fd = sysconf(_SC_OPEN_MAX); fd-- > 3;)
            close((int)fd);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    if (chdir("/") < 0)
        return; /* then it keeps a folder busy, no more */
}

int guardian_main(int argc, char **argv)
{
    struct duty duty = {0};
    struct stat input;
    if (!parse(argc, argv, &duty) || fstat(STDIN_FILENO, &input) < 0 || !S_ISFIFO(input.st_mode))
        return usage(USAGE);
    detach();
    if (!listen_to_node(&duty))
        return 0;
    bool over = !duty.cgroup || end_cgroup(duty.cgroup);
    over = (!duty.high || end_lineage(&duty)) && over;
    sweep_names(&duty);
    return over ? 0 : 1;
}
