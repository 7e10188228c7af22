/* See filter.h.
 *
 * The program is a list without loops or far jumps: load the number, compare it with one call after the other, and
 * return as soon as one matches.  A call that no row names is allowed; the kernel finds out once which numbers are
 * allowed whatever their arguments (since Linux 5.11), and then runs nothing for these.
 */
#define _GNU_SOURCE
#include "engine/_seccomp/filter.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/ioctl.h>
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
    CONSOLE_FIRST = 0x4B00, /* linux/kd.h: fonts and key maps of the virtual consoles */
    CONSOLE_LAST = 0x4BFF,
    PERSONALITY_QUERY = -1,
};

struct writer {
    struct sock_filter *program;
    size_t count;
    enum filter_arch arch;
};

static const uint32_t REFUSE = SECCOMP_RET_ERRNO | EPERM, LACK = SECCOMP_RET_ERRNO | ENOSYS, ALLOW = SECCOMP_RET_ALLOW;

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

static int number_of(const struct writer *w, struct row row)
{
    return w->arch == FILTER_X86_64 ? row.x86_64 : row.arm64;
}

static void put_rows(struct writer *w, const struct row *rows, size_t count, uint32_t verdict)
{
    for (size_t i = 0; i < count; i++)
        if (number_of(w, rows[i]) != ABSENT)
            return_if(w, BPF_JEQ, (uint32_t)number_of(w, rows[i]), verdict);
}

#define PUT_ROWS(w, rows, verdict) put_rows(w, rows, sizeof(rows) / sizeof *(rows), verdict)

/* Open a block for one call; its tests may load what they like, since close_block() ends it with a return. */
static size_t open_block(struct writer *w, struct row row)
{
    put(w, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number_of(w, row), 0, 0);
    return w->count - 1;
}

static void close_block(struct writer *w, size_t block, uint32_t verdict)
{
    put_return(w, verdict);
    assert(w->count - block - 1 <= UINT8_MAX);
    w->program[block].jf = (uint8_t)(w->count - block - 1);
}

static void refuse_bits(struct writer *w, struct row row, int argument, uint32_t bits)
{
    if (number_of(w, row) == ABSENT)
        return;
    size_t block = open_block(w, row);
    load_argument(w, argument);
    return_if(w, BPF_JSET, bits, REFUSE);
    close_block(w, block, ALLOW);
}

/* ---- calls whose arguments decide -------------------------------------------------------------------------------- */

static void put_ioctl(struct writer *w)
{
    static const uint32_t requests[] = {
        TIOCSTI,   /* types into the terminal what the shell outside then reads */
        TIOCLINUX, /* pastes into it */
        TIOCSETD,  /* loads another line discipline */
        TIOCCONS,  /* takes the console's output */
    };
    size_t block = open_block(w, sys_ioctl);
    load_argument(w, 1);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        return_if(w, BPF_JEQ, requests[i], REFUSE);
    return_if(w, BPF_JGT, CONSOLE_LAST, ALLOW);
    return_if(w, BPF_JGE, CONSOLE_FIRST, REFUSE);
    close_block(w, block, ALLOW);
}

static void put_personality(struct writer *w)
{
    size_t block = open_block(w, sys_personality);
    load_argument(w, 0);
    return_if(w, BPF_JEQ, 0, ALLOW);
    return_if(w, BPF_JEQ, (uint32_t)PERSONALITY_QUERY, ALLOW);
    close_block(w, block, REFUSE);
}

/* Without O_CREAT the mode is whatever the register holds. */
static void put_open(struct writer *w, struct row row, int flags)
{
    if (number_of(w, row) == ABSENT)
        return;
    size_t block = open_block(w, row);
    load_argument(w, flags);
    return_unless(w, BPF_JSET, CREATES, ALLOW);
    load_argument(w, flags + 1);
    return_if(w, BPF_JSET, LENDS_RIGHTS, REFUSE);
    close_block(w, block, ALLOW);
}

static void put_mknod(struct writer *w, struct row row, int mode)
{
    if (number_of(w, row) == ABSENT)
        return;
    size_t block = open_block(w, row);
    load_argument(w, mode);
    return_if(w, BPF_JSET, LENDS_RIGHTS, REFUSE);
    put(w, BPF_ALU | BPF_AND | BPF_K, S_IFMT, 0, 0);
    return_if(w, BPF_JEQ, S_IFCHR, REFUSE);
    return_if(w, BPF_JEQ, S_IFBLK, REFUSE);
    close_block(w, block, ALLOW);
}

/* Only the Unix family, and of that no datagrams: these go to any name without a connect(2). */
static void put_unix_only(struct writer *w, struct row row)
{
    size_t block = open_block(w, row);
    load_argument(w, 0);
    return_unless(w, BPF_JEQ, AF_UNIX, REFUSE);
    load_argument(w, 1);
    put(w, BPF_ALU | BPF_AND | BPF_K, SOCKET_TYPE, 0, 0);
    return_if(w, BPF_JEQ, SOCK_STREAM, ALLOW);
    return_if(w, BPF_JEQ, SOCK_SEQPACKET, ALLOW);
    close_block(w, block, REFUSE);
}

/* The Unix family, and TCP proper: Landlock's rules on ports hold for no other protocol (MPTCP, UDP). */
static void put_unix_and_tcp(struct writer *w)
{
    size_t block = open_block(w, sys_socket);
    load_argument(w, 0);
    return_if(w, BPF_JEQ, AF_UNIX, ALLOW);
    put(w, BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 2, 0);
    return_unless(w, BPF_JEQ, AF_INET6, REFUSE);
    load_argument(w, 1);
    put(w, BPF_ALU | BPF_AND | BPF_K, SOCKET_TYPE, 0, 0);
    return_unless(w, BPF_JEQ, SOCK_STREAM, REFUSE);
    load_argument(w, 2);
    return_if(w, BPF_JEQ, 0, ALLOW);
    return_if(w, BPF_JEQ, IPPROTO_TCP, ALLOW);
    close_block(w, block, REFUSE);
}

static void put_network(struct writer *w, const struct filter *filter)
{
    if (filter->network == FILTER_FULL)
        return;
    if (filter->network == FILTER_NONE) {
        put_unix_only(w, sys_socket);
        put_unix_only(w, sys_socketpair);
        /* No family is left but one whose names are files, and a read-only mount does not keep from connecting. */
        put_rows(w, &sys_connect, 1, REFUSE);
        return;
    }
    put_unix_and_tcp(w);
    if (!filter->listens) /* on a socket without a port it takes any */
        put_rows(w, &sys_listen, 1, REFUSE);
    /* TCP Fast Open connects without connect(2), where Landlock does not look. */
    refuse_bits(w, sys_sendto, 3, MSG_FASTOPEN);
    refuse_bits(w, sys_sendmsg, 2, MSG_FASTOPEN);
    refuse_bits(w, sys_sendmmsg, 3, MSG_FASTOPEN);
}

static void put_own_limits_only(struct writer *w)
{
    size_t block = open_block(w, sys_prlimit64);
    load_argument(w, 0);
    return_if(w, BPF_JEQ, 0, ALLOW);
    close_block(w, block, REFUSE);
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

size_t filter_build(const struct filter *filter, struct sock_filter program[FILTER_MAX])
{
    struct writer w = {.program = program, .arch = filter->arch};
    load(&w, offsetof(struct seccomp_data, arch));
    return_unless(&w, BPF_JEQ, filter->arch == FILTER_X86_64 ? AUDIT_ARCH_X86_64 : AUDIT_ARCH_AARCH64,
                  SECCOMP_RET_KILL_PROCESS);
    load(&w, offsetof(struct seccomp_data, nr));
    if (filter->arch == FILTER_X86_64)
        return_if(&w, BPF_JGE, X32_BIT, SECCOMP_RET_KILL_PROCESS);
    return_if(&w, BPF_JGT, YOUNGEST, LACK);
    put_open(&w, sys_openat, 2); /* the most frequent first */
    put_open(&w, sys_open, 1);
    put_ioctl(&w);
    refuse_bits(&w, sys_clone, 0, NEW_NAMESPACE);
    refuse_bits(&w, sys_unshare, 0, NEW_NAMESPACE);
    refuse_bits(&w, sys_creat, 1, LENDS_RIGHTS);
    refuse_bits(&w, sys_chmod, 1, LENDS_RIGHTS);
    refuse_bits(&w, sys_fchmod, 1, LENDS_RIGHTS);
    refuse_bits(&w, sys_fchmodat, 2, LENDS_RIGHTS);
    refuse_bits(&w, sys_fchmodat2, 2, LENDS_RIGHTS);
    put_mknod(&w, sys_mknod, 1);
    put_mknod(&w, sys_mknodat, 2);
    put_personality(&w);
    put_network(&w, filter);
    if (!filter->private_pids) {
        put_own_limits_only(&w);
        PUT_ROWS(&w, others, REFUSE);
    }
    PUT_ROWS(&w, refused, REFUSE);
    PUT_ROWS(&w, absent, LACK);
    if (!filter->private_ipc)
        PUT_ROWS(&w, ipc, LACK);
    put_return(&w, ALLOW);
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
