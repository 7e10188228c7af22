/* Rights are named here and not by linux/landlock.h, whose older versions lack some; the numbers are the kernel's. */
#define _GNU_SOURCE
#include "engine/_seccomp/landlock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SYS_CREATE_RULESET = 444,
    SYS_ADD_RULE = 445,
    ASK_VERSION = 1,
    RULE_PATH = 1,
    RULE_PORT = 2,
};

enum {
    EXECUTE = 1 << 0,
    WRITE_FILE = 1 << 1,
    READ_FILE = 1 << 2,
    READ_DIR = 1 << 3,
    ALL_OF_ABI_1 = (1 << 13) - 1,
    REFER = 1 << 13,     /* ABI 2 */
    TRUNCATE = 1 << 14,  /* ABI 3 */
    IOCTL_DEV = 1 << 15, /* ABI 5 */
    MAKE_CHAR = 1 << 6,
    MAKE_BLOCK = 1 << 11,
    READING = EXECUTE | READ_FILE | READ_DIR,
    OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV,

    BIND_TCP = 1 << 0, /* ABI 4 */
    CONNECT_TCP = 1 << 1,

    SCOPE_ABSTRACT_UNIX = 1 << 0, /* ABI 6 */
    SCOPE_SIGNAL = 1 << 1,
};

struct ruleset_attr {
    uint64_t files, ports, scopes;
};

struct path_attr {
    uint64_t rights;
    int32_t fd;
} __attribute__((packed));

struct port_attr {
    uint64_t rights, port;
};

/* A ruleset under construction; after a failure nothing more is done. */
struct builder {
    int fd;
    uint64_t handled;
    int error;
};

int landlock_abi(void)
{
    long abi = syscall(SYS_CREATE_RULESET, NULL, 0, ASK_VERSION);
    return abi < 0 ? 0 : abi > LANDLOCK_KNOWN ? LANDLOCK_KNOWN : (int)abi;
}

uint32_t landlock_lacks(const struct plan *plan, int abi, bool namespaced)
{
    uint32_t lacks = 0;
    if (plan->network == FILTER_TCP && abi < 4)
        lacks |= 1U << PROTECT_PORTS;
    if (namespaced)
        return lacks;
    if (abi < 1)
        return lacks | 1U << PROTECT_LANDLOCK;
    if (abi < 3)
        lacks |= 1U << PROTECT_TRUNCATE;
    if (abi < 5)
        lacks |= 1U << PROTECT_IOCTL;
    if (abi < 6)
        lacks |= 1U << PROTECT_SIGNALS;
    return lacks;
}

static uint64_t handled_by(int abi)
{
    uint64_t rights = ALL_OF_ABI_1;
    if (abi >= 2)
        rights |= REFER;
    if (abi >= 3)
        rights |= TRUNCATE;
    if (abi >= 5)
        rights |= IOCTL_DEV;
    return rights;
}

static uint64_t rights_of(enum access access)
{
    if (access == ACCESS_WRITE)
        return ~(uint64_t)(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV);
    return access == ACCESS_READ ? READING : 0;
}

/* ---- rules ------------------------------------------------------------------------------------------------------- */

/* Allow `rights` on what a descriptor names and below. */
static void allow_fd(struct builder *builder, int fd, uint64_t rights)
{
    struct stat stat;
    if (fstat(fd, &stat) < 0) {
        builder->error = errno;
        return;
    }
    if (!S_ISDIR(stat.st_mode))
        rights &= OF_FILES;
    struct path_attr attr = {rights & builder->handled, fd};
    if (attr.rights && syscall(SYS_ADD_RULE, builder->fd, RULE_PATH, &attr, 0) < 0)
        builder->error = errno;
}

/* What does not exist, or may not be looked at, gets no rights. */
static void allow_at(struct builder *builder, int folder, const char *name, int flags, uint64_t rights)
{
    if (builder->error)
        return;
    int fd = openat(folder, name, O_PATH | O_CLOEXEC | flags);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
            builder->error = errno;
        return;
    }
    allow_fd(builder, fd, rights);
    close(fd);
}

static void allow(struct builder *builder, const char *path, uint64_t rights)
{
    allow_at(builder, AT_FDCWD, path, 0, rights);
}

/* A rule about a link is about that and not about what it leads to. */
static void allow_rule(struct builder *builder, const struct rule *rule)
{
    allow_at(builder, AT_FDCWD, rule->path, O_NOFOLLOW, rights_of(rule->access));
}

/* The root, but of /dev nothing: a right on "/" would hold for every device node. */
static void allow_root(struct builder *builder)
{
    allow(builder, "/", READ_DIR);
    DIR *root = opendir("/");
    if (!root) {
        builder->error = errno;
        return;
    }
    for (struct dirent *entry; (entry = readdir(root));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && strcmp(entry->d_name, "dev") != 0)
            allow_at(builder, dirfd(root), entry->d_name, O_NOFOLLOW, READING);
    closedir(root);
}

/* Without namespaces /dev is the host's.  Other people's terminals and shared memory cannot be told from those that a
 * program makes, so that a plan that Landlock is to enforce alone has none of them; where more than that is lost, and
 * the loss accepted, they are `shared`. */
static void allow_devices(struct builder *builder, bool shared)
{
    char path[32];
    for (const char *const *name = plan_devices; *name; name++) {
        snprintf(path, sizeof path, "/dev/%s", *name);
        allow(builder, path, READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV);
    }
    allow(builder, "/proc", READING);
    if (!shared)
        return;
    allow(builder, "/dev/ptmx", READ_FILE | WRITE_FILE | IOCTL_DEV);
    allow(builder, "/dev/pts", READ_FILE | WRITE_FILE | READ_DIR | IOCTL_DEV);
    allow(builder, "/dev/shm", rights_of(ACCESS_WRITE));
}

static bool is_of_the_kernel(const char *path)
{
    return path_is_in(path, "/dev") || path_is_in(path, "/proc") || path_is_in(path, "/sys");
}

static void allow_flat(struct builder *builder, const struct plan *plan)
{
    for (size_t i = 0; i < plan->rule_count && !builder->error; i++) {
        const struct rule *rule = &plan->rules[i];
        if (strcmp(rule->path, "/") == 0 && rule->access != ACCESS_DENY)
            allow_root(builder);
        else if (!is_of_the_kernel(rule->path))
            allow_rule(builder, rule);
        else if (rule->access != ACCESS_DENY && path_is_in(rule->path, "/sys"))
            allow(builder, rule->path, READING);
    }
    allow_devices(builder, !plan_is_flat(plan));
}

/* Mounts have made everything else read-only or invisible already. */
static void allow_namespaced(struct builder *builder, const struct plan *plan)
{
    allow(builder, "/", READING);
    for (size_t i = 0; i < plan->rule_count; i++)
        if (plan->rules[i].access == ACCESS_WRITE && !is_of_the_kernel(plan->rules[i].path))
            allow_rule(builder, &plan->rules[i]);
    /* Whole: these are the small /dev and what is in it. */
    allow(builder, "/dev", rights_of(ACCESS_WRITE) | IOCTL_DEV);
}

static void allow_ports(struct builder *builder, const uint16_t *ports, size_t count, uint64_t right)
{
    for (size_t i = 0; i < count && !builder->error; i++) {
        struct port_attr attr = {right, ports[i]};
        if (syscall(SYS_ADD_RULE, builder->fd, RULE_PORT, &attr, 0) < 0)
            builder->error = errno;
    }
}

int landlock_ruleset(const struct plan *plan, int abi, bool namespaced)
{
    struct ruleset_attr attr = {.files = handled_by(abi)};
    size_t size = abi >= 6 ? sizeof attr : abi >= 4 ? offsetof(struct ruleset_attr, scopes) : sizeof attr.files;
    if (abi >= 4 && plan->network == FILTER_TCP)
        attr.ports = BIND_TCP | CONNECT_TCP;
    if (abi >= 6)
        attr.scopes = SCOPE_SIGNAL | (plan->network == FILTER_FULL ? 0 : SCOPE_ABSTRACT_UNIX);
    int fd = (int)syscall(SYS_CREATE_RULESET, &attr, size, 0);
    if (fd < 0)
        return -1;
    struct builder builder = {.fd = fd, .handled = attr.files};
    if (namespaced)
        allow_namespaced(&builder, plan);
    else
        allow_flat(&builder, plan);
    if (attr.ports) {
        allow_ports(&builder, plan->connect_ports, plan->connect_count, CONNECT_TCP);
        allow_ports(&builder, plan->bind_ports, plan->bind_count, BIND_TCP);
    }
    if (!builder.error)
        return fd;
    close(fd);
    errno = builder.error;
    return -1;
}
