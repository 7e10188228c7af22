/* See filter.h.
 *
 * What is to happen is first a list of calls, sorted by number, then of the ranges between them, and then a binary
 * search tree of these.  When a filter is installed, the kernel tries every number on it, to find those that are allowed
 * whatever their arguments, for which it then runs nothing (since Linux 5.11): in a plain list of comparisons that trial
 * would take longer than all else that starts a program.
 */
#define _GNU_SOURCE
#include "engine/_seccomp/filter.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "engine/_seccomp/filter_table.h"

enum {
    X32_BIT = 0x40000000,
    NEW_NAMESPACE = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                    CLONE_NEWNET | CLONE_NEWTIME,
    /* Group and user of a file may outlive the sandbox, and then lend their rights to whoever runs it. */
    LENDS_RIGHTS = S_ISUID | S_ISGID,
    CREATES = O_CREAT | (O_TMPFILE & ~O_DIRECTORY),
    SOCKET_TYPE = 0xf, /* the rest is SOCK_CLOEXEC and SOCK_NONBLOCK */
    IOCTL_CONSOLE = 'K' << 8, /* linux/kd.h: fonts and key maps of the virtual consoles */
    IOCTL_SCREEN = 'V' << 8,  /* linux/vt.h: which of these is seen */
    IOCTL_FAMILY = 0xff00, /* _IOC_TYPE, in its place */
    IOCTL_FILES = 'f' << 8,
    IOCTL_BTRFS = 0x94 << 8,
    ADD_FILE_KEY = (int)0xC0506617, /* linux/fscrypt.h, which older systems lack */
    REMOVE_FILE_KEY = (int)0xC0406618,
    IO_PROCESS = 1, /* IOPRIO_WHO_PROCESS, which linux/ioprio.h of older systems lacks */
    PERSONALITY_QUERY = -1,
    DELEGATION = F_SETLEASE + 16, /* F_SETDELEG of Linux 6.19: a lease of a folder */
    MAKES_DEVICE = 1 << 2, /* RENAME_WHITEOUT, which older linux/fs.h lack: it leaves a character device, 0:0 */
};

static const uint32_t REFUSE = SECCOMP_RET_ERRNO | EPERM, LACK = SECCOMP_RET_ERRNO | ENOSYS,
                      READ_ONLY = SECCOMP_RET_ERRNO | EROFS, ALLOW = SECCOMP_RET_ALLOW;

struct writer {
    struct sock_filter *program;
    size_t count;
};

/* One call and what becomes of it: a verdict, or one that a look at its arguments gives. */
struct entry {
    int number;
    uint32_t verdict;
    void (*test)(struct writer *w, int argument, uint32_t bits); /* writes a test that ends with a return; or NULL */
    int argument;
    uint32_t bits;
};

enum { ENTRIES_MAX = 320 };

struct entries {
    struct entry list[ENTRIES_MAX];
    size_t count;
    enum filter_arch arch;
};

/* ---- instructions ------------------------------------------------------------------------------------------------ */

static void put(struct writer *w, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
    assert(w->count < FILTER_MAX);
    w->program[w->count++] = (struct sock_filter){code, jt, jf, k};
}

static void put_return(struct writer *w, uint32_t verdict)
{
    put(w, BPF_RET | BPF_K, verdict, 0, 0);
}

static void load(struct writer *w, size_t offset)
{
    put(w, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* The low half of an argument; both architectures are little-endian.  All arguments looked at are int or unsigned int
 * to the kernel, which ignores the other half. */
static void load_argument(struct writer *w, int number)
{
    load(w, offsetof(struct seccomp_data, args) + 8 * (size_t)number);
}

/* `verdict` if the test holds for what was loaded, else go on. */
static void return_if(struct writer *w, uint16_t test, uint32_t k, uint32_t verdict)
{
    put(w, BPF_JMP | test | BPF_K, k, 0, 1);
    put_return(w, verdict);
}

static void return_unless(struct writer *w, uint16_t test, uint32_t k, uint32_t verdict)
{
    put(w, BPF_JMP | test | BPF_K, k, 1, 0);
    put_return(w, verdict);
}

/* ---- tests of arguments ------------------------------------------------------------------------------------------ */

/* Refused if an argument has one of these bits. */
static void test_bits(struct writer *w, int argument, uint32_t bits)
{
    load_argument(w, argument);
    return_if(w, BPF_JSET, bits, REFUSE);
    put_return(w, ALLOW);
}

/* Refused unless an argument is 0. */
static void test_zero(struct writer *w, int argument, uint32_t bits)
{
    (void)bits;
    load_argument(w, argument);
    return_if(w, BPF_JEQ, 0, ALLOW);
    put_return(w, REFUSE);
}

/* Refused for the limit `bits`, which carries the mark of the tree that a process belongs to (lineage.py). */
static void test_limit(struct writer *w, int argument, uint32_t bits)
{
    load_argument(w, argument);
    return_if(w, BPF_JEQ, bits, REFUSE);
    put_return(w, ALLOW);
}

/* Only for the caller, 0; and it may ask for the limit `bits`, but not set it: the new one is at NULL. */
static void test_own_limit(struct writer *w, int argument, uint32_t bits)
{
    load_argument(w, argument);
    return_unless(w, BPF_JEQ, 0, REFUSE);
    load_argument(w, argument + 1);
    return_unless(w, BPF_JEQ, bits, ALLOW);
    for (size_t half = 0; half < 2; half++) {
        load(w, offsetof(struct seccomp_data, args) + 8 * ((size_t)argument + 2) + 4 * half);
        return_unless(w, BPF_JEQ, 0, REFUSE);
    }
    put_return(w, ALLOW);
}

/* Only for the caller: of `argument` the kind must be `bits`, and then the number after it 0. */
static void test_own(struct writer *w, int argument, uint32_t bits)
{
    load_argument(w, argument);
    return_unless(w, BPF_JEQ, bits, REFUSE);
    test_zero(w, argument + 1, 0);
}

/* For descriptors that were opened to read, some file systems change what they hold by ioctl(2), and neither Landlock nor
 * another hook is asked: attributes, encryption, fs-verity; and of btrfs even new folders (snapshots). */
static void test_ioctl_of_files(struct writer *w, int argument)
{
    static const uint32_t asking[] = {FS_IOC_GETFLAGS, FS_IOC32_GETFLAGS, FS_IOC_FIEMAP};
    static const uint32_t changing[] = {FS_IOC_SETVERSION, FS_IOC32_SETVERSION, FS_IOC_FSSETXATTR};
    for (size_t i = 0; i < sizeof asking / sizeof *asking; i++)
        return_if(w, BPF_JEQ, asking[i], ALLOW);
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++)
        return_if(w, BPF_JEQ, changing[i], READ_ONLY);
    put(w, BPF_ALU | BPF_AND | BPF_K, IOCTL_FAMILY, 0, 0);
    return_if(w, BPF_JEQ, IOCTL_FILES, READ_ONLY);
    return_if(w, BPF_JEQ, IOCTL_BTRFS, READ_ONLY);
    load_argument(w, argument);
}

/* `bits`: whether nothing may be changed. */
static void test_ioctl(struct writer *w, int argument, uint32_t bits)
{
    static const uint32_t requests[] = {
        TIOCSTI,   /* types into the terminal what the shell outside then reads */
        TIOCLINUX, /* pastes into it */
        TIOCSETD,  /* loads another line discipline */
        TIOCCONS,  /* takes the console's output */
        /* Takes a question that the escalation server is about to: it would wait for the next, and for nothing else. */
        SECCOMP_IOCTL_NOTIF_RECV,
        ADD_FILE_KEY, REMOVE_FILE_KEY, /* of the user's, for a whole file system */
    };
    load_argument(w, argument);
    if (bits)
        test_ioctl_of_files(w, argument);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        return_if(w, BPF_JEQ, requests[i], REFUSE);
    put(w, BPF_ALU | BPF_AND | BPF_K, ~0xffU, 0, 0); /* these have no size and no direction */
    return_if(w, BPF_JEQ, IOCTL_CONSOLE, REFUSE);
    return_if(w, BPF_JEQ, IOCTL_SCREEN, REFUSE);
    put_return(w, ALLOW);
}

/* A lease needs no more than a descriptor to read, and keeps everybody else from writing for as long as a minute. */
static void test_fcntl(struct writer *w, int argument, uint32_t bits)
{
    (void)bits;
    load_argument(w, argument);
    return_if(w, BPF_JEQ, F_SETLEASE, REFUSE);
    return_if(w, BPF_JEQ, DELEGATION, REFUSE);
    put_return(w, ALLOW);
}

static void test_personality(struct writer *w, int argument, uint32_t bits)
{
    (void)bits;
    load_argument(w, argument);
    return_if(w, BPF_JEQ, 0, ALLOW);
    return_if(w, BPF_JEQ, (uint32_t)PERSONALITY_QUERY, ALLOW);
    put_return(w, REFUSE);
}

/* The flags are in `argument` and the mode in the next; without O_CREAT that is whatever the register holds. */
static void test_open(struct writer *w, int argument, uint32_t bits)
{
    load_argument(w, argument);
    return_unless(w, BPF_JSET, CREATES, ALLOW);
    test_bits(w, argument + 1, bits);
}

static void test_mknod(struct writer *w, int argument, uint32_t bits)
{
    load_argument(w, argument);
    return_if(w, BPF_JSET, bits, REFUSE);
    put(w, BPF_ALU | BPF_AND | BPF_K, S_IFMT, 0, 0);
    return_if(w, BPF_JEQ, S_IFCHR, REFUSE);
    return_if(w, BPF_JEQ, S_IFBLK, REFUSE);
    put_return(w, ALLOW);
}

/* Only the Unix family, and of that no datagrams: these go to any name without a connect(2). */
static void test_unix_only(struct writer *w, int argument, uint32_t bits)
{
    load_argument(w, argument);
    return_unless(w, BPF_JEQ, AF_UNIX, REFUSE);
    load_argument(w, argument + 1);
    put(w, BPF_ALU | BPF_AND | BPF_K, bits, 0, 0);
    return_if(w, BPF_JEQ, SOCK_STREAM, ALLOW);
    return_if(w, BPF_JEQ, SOCK_SEQPACKET, ALLOW);
    put_return(w, REFUSE);
}

/* TCP proper: Landlock's rules on ports hold for no other protocol (MPTCP, UDP).  And not the Unix family, for
 * connect(2) is allowed here and would reach servers outside by their names; socketpair(2) makes what needs none. */
static void test_tcp_only(struct writer *w, int argument, uint32_t bits)
{
    load_argument(w, argument);
    put(w, BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 2, 0);
    return_unless(w, BPF_JEQ, AF_INET6, REFUSE);
    load_argument(w, argument + 1);
    put(w, BPF_ALU | BPF_AND | BPF_K, bits, 0, 0);
    return_unless(w, BPF_JEQ, SOCK_STREAM, REFUSE);
    load_argument(w, argument + 2);
    return_if(w, BPF_JEQ, 0, ALLOW);
    return_if(w, BPF_JEQ, IPPROTO_TCP, ALLOW);
    put_return(w, REFUSE);
}

/* Another protocol on top of TCP may connect by itself, and unseen by Landlock (SMC). */
static void test_option(struct writer *w, int argument, uint32_t bits)
{
    load_argument(w, argument);
    return_unless(w, BPF_JEQ, IPPROTO_TCP, ALLOW);
    load_argument(w, argument + 1);
    return_if(w, BPF_JEQ, bits, REFUSE);
    put_return(w, ALLOW);
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static void add(struct entries *entries, struct row row, struct entry entry)
{
    entry.number = entries->arch == FILTER_X86_64 ? row.x86_64 : row.arm64;
    if (entry.number == ABSENT)
        return;
    assert(entries->count < ENTRIES_MAX);
    size_t at = entries->count++;
    for (; at > 0 && entries->list[at - 1].number > entry.number; at--)
        entries->list[at] = entries->list[at - 1];
    entries->list[at] = entry;
}

static void add_rows(struct entries *entries, const struct row *rows, size_t count, uint32_t verdict)
{
    for (size_t i = 0; i < count; i++)
        add(entries, rows[i], (struct entry){.verdict = verdict});
}

#define ADD_ROWS(entries, rows, verdict) add_rows(entries, rows, sizeof(rows) / sizeof *(rows), verdict)

static void add_modes(struct entries *entries, bool read_only)
{
    static const struct row *const chmods[] = {&sys_chmod, &sys_fchmod, &sys_fchmodat, &sys_fchmodat2};
    for (size_t i = 0; i < sizeof chmods / sizeof *chmods; i++)
        add(entries, *chmods[i], read_only ? (struct entry){.verdict = READ_ONLY}
                                           : (struct entry){.test = test_bits, .argument = i < 2 ? 1 : 2,
                                                            .bits = LENDS_RIGHTS});
    if (read_only)
        ADD_ROWS(entries, metadata, READ_ONLY);
    add(entries, sys_open, (struct entry){.test = test_open, .argument = 1, .bits = LENDS_RIGHTS});
    add(entries, sys_openat, (struct entry){.test = test_open, .argument = 2, .bits = LENDS_RIGHTS});
    add(entries, sys_creat, (struct entry){.test = test_bits, .argument = 1, .bits = LENDS_RIGHTS});
    add(entries, sys_mknod, (struct entry){.test = test_mknod, .argument = 1, .bits = LENDS_RIGHTS});
    add(entries, sys_mknodat, (struct entry){.test = test_mknod, .argument = 2, .bits = LENDS_RIGHTS});
    add(entries, sys_renameat2, (struct entry){.test = test_bits, .argument = 4, .bits = MAKES_DEVICE});
}

static void add_network(struct entries *entries, const struct filter *filter)
{
    if (filter->network == FILTER_NONE) {
        add(entries, sys_socket, (struct entry){.test = test_unix_only, .bits = SOCKET_TYPE});
        add(entries, sys_socketpair, (struct entry){.test = test_unix_only, .bits = SOCKET_TYPE});
        /* No family is left but one whose names are files, and a read-only mount does not keep from connecting. */
        add(entries, sys_connect, (struct entry){.verdict = REFUSE});
        if (!filter->private_network) /* an abstract name is there for everybody to connect to */
            add(entries, sys_bind, (struct entry){.verdict = REFUSE});
    } else if (filter->network == FILTER_TCP) {
        add(entries, sys_socket, (struct entry){.test = test_tcp_only, .bits = SOCKET_TYPE});
        add(entries, sys_socketpair, (struct entry){.test = test_unix_only, .bits = SOCKET_TYPE});
        if (!filter->listens) /* on a socket without a port it takes any */
            add(entries, sys_listen, (struct entry){.verdict = REFUSE});
        add(entries, sys_setsockopt, (struct entry){.test = test_option, .argument = 1, .bits = TCP_ULP});
        /* TCP Fast Open connects without connect(2), where Landlock does not look. */
        add(entries, sys_sendto, (struct entry){.test = test_bits, .argument = 3, .bits = MSG_FASTOPEN});
        add(entries, sys_sendmsg, (struct entry){.test = test_bits, .argument = 2, .bits = MSG_FASTOPEN});
        add(entries, sys_sendmmsg, (struct entry){.test = test_bits, .argument = 3, .bits = MSG_FASTOPEN});
    }
}

static void add_others(struct entries *entries)
{
    ADD_ROWS(entries, others, REFUSE);
    for (size_t i = 0; i < sizeof scheduling / sizeof *scheduling; i++)
        add(entries, scheduling[i], (struct entry){.test = test_zero, .argument = 0});
    add(entries, sys_setrlimit, (struct entry){.test = test_limit, .argument = 0, .bits = RLIMIT_RTTIME});
    add(entries, sys_prlimit64, (struct entry){.test = test_own_limit, .argument = 0, .bits = RLIMIT_RTTIME});
    add(entries, sys_setpriority, (struct entry){.test = test_own, .argument = 0, .bits = PRIO_PROCESS});
    add(entries, sys_ioprio_set, (struct entry){.test = test_own, .argument = 0, .bits = IO_PROCESS});
}

static void add_all(struct entries *entries, const struct filter *filter)
{
    ADD_ROWS(entries, refused, REFUSE);
    ADD_ROWS(entries, absent, LACK);
    for (int number = unassigned[entries->arch].first; number <= unassigned[entries->arch].last; number++)
        add(entries, (struct row){(short)number, (short)number}, (struct entry){.verdict = LACK});
    add(entries, sys_clone, (struct entry){.test = test_bits, .argument = 0, .bits = NEW_NAMESPACE});
    add(entries, sys_unshare, (struct entry){.test = test_bits, .argument = 0, .bits = NEW_NAMESPACE});
    add(entries, sys_ioctl, (struct entry){.test = test_ioctl, .argument = 1, .bits = filter->read_only});
    add(entries, sys_fcntl, (struct entry){.test = test_fcntl, .argument = 1});
    add(entries, sys_personality, (struct entry){.test = test_personality, .argument = 0});
    add_modes(entries, filter->read_only);
    add_network(entries, filter);
    if (!filter->private_pids)
        add_others(entries);
    if (!filter->private_ipc)
        ADD_ROWS(entries, ipc, LACK);
}

/* ---- the tree ---------------------------------------------------------------------------------------------------- */

/* From `number` on, up to the next range, this is what becomes of a call. */
struct ranges {
    struct entry list[2 * ENTRIES_MAX + 2];
    size_t count;
};

static void add_range(struct ranges *ranges, const struct entry *entry)
{
    const struct entry *last = ranges->count ? &ranges->list[ranges->count - 1] : NULL;
    if (last && last->number == entry->number)
        ranges->count--; /* nothing lay between two calls */
    else if (last && !last->test && !entry->test && last->verdict == entry->verdict)
        return;
    ranges->list[ranges->count++] = *entry;
}

static void find_ranges(struct ranges *ranges, const struct entries *entries)
{
    add_range(ranges, &(struct entry){.number = 0, .verdict = ALLOW});
    for (size_t i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->list[i];
        bool joins = i + 1 < entries->count && entries->list[i + 1].number == entry->number + 1;
        add_range(ranges, entry);
        if (!joins)
            add_range(ranges, &(struct entry){.number = entry->number + 1, .verdict = ALLOW});
    }
    add_range(ranges, &(struct entry){.number = YOUNGEST + 1, .verdict = LACK});
}

static void put_tree(struct writer *w, const struct entry *ranges, size_t count)
{
    if (count == 1) {
        if (ranges->test)
            ranges->test(w, ranges->argument, ranges->bits);
        else
            put_return(w, ranges->verdict);
        return;
    }
    size_t node = w->count, left = count / 2;
    put(w, BPF_JMP | BPF_JGE | BPF_K, (uint32_t)ranges[left].number, 0, 0);
    put_tree(w, ranges, left);
    size_t size = w->count - node - 1;
    if (size <= UINT8_MAX) {
        w->program[node].jt = (uint8_t)size;
    } else { /* farther than a comparison can jump */
        put_return(w, ALLOW);
        memmove(&w->program[node + 2], &w->program[node + 1], size * sizeof *w->program);
        w->program[node + 1] = (struct sock_filter){BPF_JMP | BPF_JA, 0, 0, (uint32_t)size};
        w->program[node].jf = 1;
    }
    put_tree(w, ranges + left, count - left);
}

size_t filter_build(const struct filter *filter, struct sock_filter program[FILTER_MAX])
{
    struct writer w = {.program = program};
    struct entries entries = {.arch = filter->arch};
    struct ranges ranges = {.count = 0};
    add_all(&entries, filter);
    find_ranges(&ranges, &entries);
    load(&w, offsetof(struct seccomp_data, arch));
    return_unless(&w, BPF_JEQ, filter->arch == FILTER_X86_64 ? AUDIT_ARCH_X86_64 : AUDIT_ARCH_AARCH64,
                  SECCOMP_RET_KILL_PROCESS);
    load(&w, offsetof(struct seccomp_data, nr));
    if (filter->arch == FILTER_X86_64)
        return_if(&w, BPF_JGE, X32_BIT, SECCOMP_RET_KILL_PROCESS);
    put_tree(&w, ranges.list, ranges.count);
    return w.count;
}

enum filter_arch filter_native(void)
{
#if defined(__x86_64__)
    return FILTER_X86_64;
#elif defined(__aarch64__)
    return FILTER_ARM64;
#else
#error "the filter knows x86-64 and arm64"
#endif
}
