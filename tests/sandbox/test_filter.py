"""The system call filter, instruction by instruction, for both architectures."""

import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from tests.sandbox import bpf
from tests.sandbox.bpf import ALLOW, ERRNO, KILL, Call

ROOT = Path(__file__).parents[2]
ARCHES = {"x86_64": 0xC000003E, "arm64": 0xC00000B7}
I386, ARM = 0x40000003, 0x40000028
FULL, TCP, NONE = 0, 1, 2
# Numbers that no architecture has given out, or only one of 32 bits.
UNASSIGNED = {"x86_64": range(337, 424), "arm64": range(295, 424)}
EPERM, ENOSYS, EROFS = (ERRNO | e for e in (errno.EPERM, errno.ENOSYS, errno.EROFS))
NEW_USER, CREAT, TMPFILE = 0x10000000, 0o100, 0o20200000
FASTOPEN = 0x20000000

REFUSED = [
    "setns",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "kcmp",
    "pidfd_getfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "fanotify_init",
    "fanotify_mark",
    "add_key",
    "request_key",
    "keyctl",
    "open_by_handle_at",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "quotactl_fd",
    "syslog",
    "create_module",
    "init_module",
    "delete_module",
    "get_kernel_syms",
    "query_module",
    "finit_module",
    "settimeofday",
    "clock_settime",
    "sethostname",
    "setdomainname",
    "vhangup",
    "iopl",
    "ioperm",
    "modify_ldt",
    "uselib",
    "sysfs",
    "_sysctl",
    "nfsservctl",
    "lookup_dcookie",
]
LACKING = ["clone3", "openat2"]
IPC = [
    "shmget",
    "shmat",
    "shmctl",
    "semget",
    "semop",
    "semctl",
    "semtimedop",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
]
OTHERS = ["migrate_pages", "move_pages"]
SCHEDULING = [
    "sched_setscheduler",
    "sched_setparam",
    "sched_setattr",
    "sched_setaffinity",
    "prlimit64",
]
METADATA = [
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
]
# Whose arguments decide; those of no consequence are in TABLE.
ASKED = [
    "open",
    "openat",
    "creat",
    "mknod",
    "mknodat",
    "renameat2",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "ioctl",
    "fcntl",
    "setsockopt",
    "clone",
    "unshare",
    "personality",
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "setpriority",
    "setrlimit",
    "ioprio_set",
    *SCHEDULING,
]

Build = Callable[..., list[bpf.Instruction]]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    if not shutil.which(os.environ.get("CC", "cc")):
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("filter") / "dump"
    sources = [Path(__file__).with_name("filter_dump.c"), ROOT / "src/engine/_seccomp/filter.c"]
    compiler = [os.environ.get("CC", "cc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*compiler, f"-I{ROOT}/src", "-o", program, *sources], check=True)

    def build(arch: str, network: int = NONE, *flags: bool) -> list[bpf.Instruction]:
        words = [arch == "arm64", network, *flags, *[False] * (5 - len(flags))]
        done = subprocess.run(
            [program, *(str(int(word)) for word in words)], capture_output=True, check=True
        )
        rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
        built = [(code, jt, jf, k) for code, jt, jf, k in rows]
        bpf.check(built)
        return built

    return build


@pytest.fixture(params=ARCHES)
def arch(request: pytest.FixtureRequest) -> str:
    if not bpf.numbers(request.param):
        pytest.skip(f"no kernel headers with the numbers of {request.param}")
    return str(request.param)


def verdict(program: list[bpf.Instruction], arch: str, name: str, *args: int) -> int:
    number = bpf.numbers(arch).get(name)
    assert number is not None, name
    return bpf.run(program, Call(ARCHES[arch], number, args))[0]


def having(arch: str, names: list[str]) -> list[str]:
    return [name for name in names if name in bpf.numbers(arch)]


def variants() -> list[tuple[int, bool, bool, bool, bool]]:
    return list(product((FULL, TCP, NONE), *[(False, True)] * 4))  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", variants())
def test_every_call_has_the_verdict_that_the_table_says(
    build: Build, arch: str, variant: tuple[int, bool, bool, bool, bool]
) -> None:
    _, _, private_ipc, private_pids, read_only = variant
    program = build(arch, *variant)
    expected = {
        **dict.fromkeys(having(arch, REFUSED), EPERM),
        **dict.fromkeys(having(arch, LACKING), ENOSYS),
        **(dict.fromkeys(having(arch, IPC), ENOSYS) if not private_ipc else {}),
        **(dict.fromkeys(having(arch, OTHERS), EPERM) if not private_pids else {}),
        **(dict.fromkeys(having(arch, METADATA), EROFS) if read_only else {}),
    }
    for name, number in bpf.numbers(arch).items():
        if number > 462 or name in ("arch_specific_syscall", "syscalls"):
            continue
        if number in UNASSIGNED[arch]:
            continue
        if name not in ASKED or name in expected:
            wanted = expected.get(name, ALLOW)
            assert verdict(program, arch, name) == wanted, name


@pytest.mark.parametrize("variant", variants())
def test_a_foreign_abi_kills(
    build: Build, arch: str, variant: tuple[int, bool, bool, bool, bool]
) -> None:
    program = build(arch, *variant)
    others = {I386, ARM, *ARCHES.values()} - {ARCHES[arch]}
    for other, number in product(others, range(470)):
        assert bpf.run(program, Call(other, number))[0] == KILL
    if arch == "x86_64":
        for number in (0x40000000, 0x40000000 | 39, 0xFFFFFFFF):
            assert bpf.run(program, Call(ARCHES[arch], number))[0] == KILL


def test_a_call_younger_than_the_table_does_not_exist(build: Build, arch: str) -> None:
    program = build(arch)
    for number in (470, 471, 500, 1000, 0x3FFFFFFF):
        assert bpf.run(program, Call(ARCHES[arch], number))[0] == ENOSYS
    for number in UNASSIGNED[arch]:
        assert bpf.run(program, Call(ARCHES[arch], number))[0] == ENOSYS
    for number in (UNASSIGNED[arch].start - 1, 424, 468):
        assert bpf.run(program, Call(ARCHES[arch], number))[0] in (ALLOW, EPERM)


def test_a_verdict_takes_few_instructions(build: Build, arch: str) -> None:
    """The kernel tries every number when a filter is installed."""
    program = build(arch)
    assert max(bpf.run(program, Call(ARCHES[arch], nr))[1] for nr in range(470)) <= 24


SOCKET = [
    # family, type, protocol: none, tcp, full
    ((socket.AF_UNIX, socket.SOCK_STREAM, 0), ALLOW, EPERM, ALLOW),
    ((socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0), ALLOW, EPERM, ALLOW),
    ((socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK, 0), ALLOW, EPERM, ALLOW),
    ((socket.AF_UNIX, socket.SOCK_DGRAM, 0), EPERM, EPERM, ALLOW),
    ((socket.AF_UNIX, socket.SOCK_RAW, 0), EPERM, EPERM, ALLOW),
    ((socket.AF_INET, socket.SOCK_STREAM, 0), EPERM, ALLOW, ALLOW),
    ((socket.AF_INET, socket.SOCK_STREAM, 6), EPERM, ALLOW, ALLOW),
    ((socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 6), EPERM, ALLOW, ALLOW),
    ((socket.AF_INET, socket.SOCK_STREAM, 262), EPERM, EPERM, ALLOW),
    ((socket.AF_INET, socket.SOCK_STREAM, 132), EPERM, EPERM, ALLOW),
    ((socket.AF_INET, socket.SOCK_DGRAM, 0), EPERM, EPERM, ALLOW),
    ((socket.AF_INET6, socket.SOCK_DGRAM, 17), EPERM, EPERM, ALLOW),
    ((socket.AF_INET, socket.SOCK_RAW, 1), EPERM, EPERM, ALLOW),
    ((socket.AF_NETLINK, socket.SOCK_RAW, 0), EPERM, EPERM, ALLOW),
    ((socket.AF_PACKET, socket.SOCK_RAW, 0), EPERM, EPERM, ALLOW),
    ((socket.AF_VSOCK, socket.SOCK_STREAM, 0), EPERM, EPERM, ALLOW),
    ((38, socket.SOCK_SEQPACKET, 0), EPERM, EPERM, ALLOW),
    # the kernel ignores the high half
    ((socket.AF_INET | 1 << 32, socket.SOCK_STREAM, 0), EPERM, ALLOW, ALLOW),
    ((socket.AF_UNIX | 1 << 40, socket.SOCK_STREAM, 0), ALLOW, EPERM, ALLOW),
]


@pytest.mark.parametrize(("args", "none", "tcp", "full"), SOCKET)
def test_sockets(
    build: Build, arch: str, args: tuple[int, ...], none: int, tcp: int, full: int
) -> None:
    for network, wanted in ((NONE, none), (TCP, tcp), (FULL, full)):
        assert verdict(build(arch, network), arch, "socket", *args) == wanted


def test_other_calls_of_the_network(build: Build, arch: str) -> None:
    none, tcp, server, full = (
        build(arch, NONE), build(arch, TCP), build(arch, TCP, True), build(arch, FULL)
    )  # fmt: skip
    pair = (socket.AF_UNIX, socket.SOCK_DGRAM)
    for program, wanted in ((none, EPERM), (tcp, EPERM), (full, ALLOW)):
        assert verdict(program, arch, "socketpair", *pair) == wanted
        assert verdict(program, arch, "socketpair", socket.AF_UNIX, socket.SOCK_STREAM) == ALLOW
    assert [verdict(p, arch, "connect") for p in (none, tcp, full)] == [EPERM, ALLOW, ALLOW]
    assert [verdict(p, arch, "bind") for p in (none, tcp, full)] == [EPERM, ALLOW, ALLOW]
    namespaced = build(arch, NONE, False, True, True, False, True)
    assert verdict(namespaced, arch, "bind") == ALLOW
    assert [verdict(p, arch, "listen") for p in (none, tcp, server, full)] == [
        ALLOW, EPERM, ALLOW, ALLOW,
    ]  # fmt: skip
    for program, wanted in ((none, ALLOW), (tcp, EPERM), (full, ALLOW)):
        assert verdict(program, arch, "setsockopt", 0, socket.IPPROTO_TCP, 31) == wanted
        assert verdict(program, arch, "setsockopt", 0, socket.SOL_SOCKET, 31) == ALLOW
        assert verdict(program, arch, "setsockopt", 0, socket.IPPROTO_TCP, 1) == ALLOW
    for name, position in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        args = [0] * position + [FASTOPEN | 0x4000]
        assert verdict(tcp, arch, name, *args) == EPERM
        assert verdict(tcp, arch, name, *args[:-1], 0x4000) == ALLOW
        assert verdict(full, arch, name, *args) == ALLOW


ARGUMENTS = [
    ("clone", (int(signal.SIGCHLD),), ALLOW),
    ("clone", (0x003D0F00,), ALLOW),  # a thread
    *[("clone", (signal.SIGCHLD | bit,), EPERM) for bit in (
        0x20000, 0x2000000, 0x4000000, 0x8000000, NEW_USER, 0x20000000, 0x40000000)],
    ("unshare", (0x400 | 0x200,), ALLOW),  # files and fs
    ("unshare", (NEW_USER,), EPERM),
    ("unshare", (0x80,), EPERM),
    ("personality", (0,), ALLOW),
    ("personality", (0xFFFFFFFF,), ALLOW),
    ("personality", (0x0400000,), EPERM),
    ("personality", (8,), EPERM),
    ("ioctl", (0, 0x5401), ALLOW),
    ("ioctl", (0, 0x5413), ALLOW),
    ("ioctl", (0, 0x540E), ALLOW),
    ("ioctl", (0, 0x5412), EPERM),
    ("ioctl", (0, 0x5412 | 1 << 32), EPERM),
    ("ioctl", (0, 0x541C), EPERM),
    ("ioctl", (0, 0x541D), EPERM),
    ("ioctl", (0, 0x5423), EPERM),
    ("ioctl", (0, 0x4AFF), ALLOW),
    ("ioctl", (0, 0x4B00), EPERM),
    ("ioctl", (0, 0x4BFF), EPERM),
    ("ioctl", (0, 0x4C00), ALLOW),
    ("ioctl", (0, 0xC0502100), EPERM),  # SECCOMP_IOCTL_NOTIF_RECV
    ("ioctl", (0, 0xC0182101), ALLOW),
    ("ioctl", (0, 0x40086602), ALLOW),  # FS_IOC_SETFLAGS
    ("ioctl", (0, 0x5606), EPERM),  # VT_ACTIVATE
    ("ioctl", (0, 0x80025601), ALLOW),  # not of the consoles
    ("ioctl", (0, 0xC0506617), EPERM),  # FS_IOC_ADD_ENCRYPTION_KEY
    ("ioctl", (0, 0xC0406618), EPERM),
    ("fcntl", (0, 1), ALLOW),
    ("fcntl", (0, 1024), EPERM),  # F_SETLEASE
    ("fcntl", (0, 1024 | 1 << 32), EPERM),
    ("fcntl", (0, 1025), ALLOW),
    ("fcntl", (0, 1030), ALLOW),
    ("fcntl", (0, 1040), EPERM),
    ("setsockopt", (0, 6, 31), ALLOW),
    ("openat", (0, 0, CREAT, 0o644), ALLOW),
    ("openat", (0, 0, CREAT, 0o4755), EPERM),
    ("openat", (0, 0, CREAT, 0o2755), EPERM),
    ("openat", (0, 0, TMPFILE, 0o4755), EPERM),
    ("openat", (0, 0, 0, 0o4755), ALLOW),  # the mode is no argument then
    ("openat", (0, 0, 0o200000, 0o7777), ALLOW),
    ("fchmod", (0, 0o755), ALLOW),
    ("fchmod", (0, 0o4755), EPERM),
    ("fchmodat", (0, 0, 0o2755), EPERM),
    ("fchmodat", (0, 0, 0o1777), ALLOW),
    ("mknodat", (0, 0, 0o010644), ALLOW),  # a FIFO
    ("mknodat", (0, 0, 0o140644), ALLOW),  # a socket
    ("mknodat", (0, 0, 0o100644), ALLOW),
    ("mknodat", (0, 0, 0o644), ALLOW),
    ("mknodat", (0, 0, 0o104755), EPERM),
    ("mknodat", (0, 0, 0o020666), EPERM),
    ("mknodat", (0, 0, 0o060666), EPERM),
    ("prlimit64", (0,), ALLOW),
    ("prlimit64", (1,), ALLOW),
    ("fork", (), ALLOW),
    ("open", (0, CREAT, 0o4755), EPERM),
    ("open", (0, 0, 0o4755), ALLOW),
    ("creat", (0, 0o4755), EPERM),
    ("creat", (0, 0o755), ALLOW),
    ("chmod", (0, 0o6755), EPERM),
    ("mknod", (0, 0o060666), EPERM),
    ("mknod", (0, 0o010666), ALLOW),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "wanted"), ARGUMENTS)
def test_arguments(build: Build, arch: str, name: str, args: tuple[int, ...], wanted: int) -> None:
    if name not in bpf.numbers(arch):
        pytest.skip(f"{arch} has no {name}")
    assert verdict(build(arch, FULL, False, True, True, False), arch, name, *args) == wanted


@pytest.mark.parametrize("name", SCHEDULING)
def test_a_process_without_a_pid_namespace_changes_itself_alone(
    build: Build, arch: str, name: str
) -> None:
    program = build(arch, FULL, False, True, False)
    assert verdict(program, arch, name, 0) == ALLOW
    assert verdict(program, arch, name, 1) == EPERM
    assert verdict(build(arch, FULL, False, True, True), arch, name, 1) == ALLOW


def test_a_process_without_a_pid_namespace_keeps_its_mark(build: Build, arch: str) -> None:
    """Which is its RLIMIT_RTTIME; it may be read."""
    program = build(arch, FULL, False, True, False)
    for pointer, wanted in ((0, ALLOW), (8, EPERM), (1 << 32, EPERM)):
        assert verdict(program, arch, "prlimit64", 0, 15, pointer) == wanted
        assert verdict(program, arch, "prlimit64", 0, 7, pointer) == ALLOW
    assert verdict(program, arch, "setrlimit", 15) == EPERM
    assert verdict(program, arch, "setrlimit", 7) == ALLOW
    namespaced = build(arch, FULL, False, True, True)
    assert verdict(namespaced, arch, "prlimit64", 0, 15, 8) == ALLOW
    assert verdict(namespaced, arch, "setrlimit", 15) == ALLOW


@pytest.mark.parametrize(("name", "own"), [("setpriority", 0), ("ioprio_set", 1)])
def test_priorities_without_a_pid_namespace(build: Build, arch: str, name: str, own: int) -> None:
    program = build(arch, FULL, False, True, False)
    assert verdict(program, arch, name, own, 0) == ALLOW
    assert verdict(program, arch, name, own, 1) == EPERM
    for group_or_user in {0, 1, 2, 3} - {own}:
        assert verdict(program, arch, name, group_or_user, 0) == EPERM
    assert verdict(build(arch, FULL, False, True, True), arch, name, 2, 5) == ALLOW


def test_attributes_where_nothing_may_be_changed(build: Build, arch: str) -> None:
    program = build(arch, FULL, False, True, True, True)
    for request in (
        0x40086602, 0x40046602, 0x40087602, 0x40047602, 0x401C5820,
        0x40806685,  # FS_IOC_ENABLE_VERITY
        0x800C6613,  # FS_IOC_SET_ENCRYPTION_POLICY
        0x50009401, 0x5000940E,  # BTRFS_IOC_SNAP_CREATE, BTRFS_IOC_SUBVOL_CREATE
        0x40049409,  # FICLONE
        0x50009401 | 1 << 32,
    ):  # fmt: skip
        assert verdict(program, arch, "ioctl", 0, request) == EROFS
    for request in (0x80086601, 0x80046601, 0xC020660B, 0x801C581F, 0x5401, 0x5413):
        assert verdict(program, arch, "ioctl", 0, request) == ALLOW
    assert verdict(program, arch, "ioctl", 0, 0x5412) == EPERM
