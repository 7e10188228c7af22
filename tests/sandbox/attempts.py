"""Attempts to get out of a sandbox, run inside it: `python3 -I attempts.py NAME FACTS`.

Each function does one thing that must not work and returns normally if it did. FACTS is a JSON
object about the world outside, which the tests have prepared; see world.py. Prints `refused`, with
why, or `ESCAPED`.
"""

import array
import ctypes
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import stat
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
AT_FDCWD = -100
ATTEMPTS: dict[str, Callable[[SimpleNamespace], object]] = {}


class Harmless(Exception):
    """The call came through but reached nothing outside."""


def attempt(function: Callable[[SimpleNamespace], object]) -> Callable[[SimpleNamespace], object]:
    ATTEMPTS[function.__name__] = function
    return function


def syscall(x86: int, arm: int, *args: object) -> int:
    result: int = LIBC.syscall(ctypes.c_long(x86 if X86 else arm), *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def put(path: str | Path, text: str = "x") -> None:
    with open(path, "w") as file:
        file.write(text)


# ---- files -------------------------------------------------------------------------------------


@attempt
def write_outside(w: SimpleNamespace) -> None:
    put(f"{w.outside}/new")


@attempt
def change_outside(w: SimpleNamespace) -> None:
    os.open(f"{w.outside}/file", os.O_WRONLY)


@attempt
def truncate_outside(w: SimpleNamespace) -> None:
    os.truncate(f"{w.outside}/file", 0)


@attempt
def truncate_on_open_outside(w: SimpleNamespace) -> None:
    os.open(f"{w.outside}/file", os.O_RDONLY | os.O_TRUNC)


@attempt
def remove_outside(w: SimpleNamespace) -> None:
    os.unlink(f"{w.outside}/file")


@attempt
def rename_out(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/mine")
    os.rename(f"{w.workspace}/mine", f"{w.outside}/mine")


@attempt
def rename_in(w: SimpleNamespace) -> None:
    os.rename(f"{w.outside}/file", f"{w.workspace}/file")


@attempt
def exchange_with_outside(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/mine")
    mine, other = f"{w.workspace}/mine".encode(), f"{w.outside}/file".encode()
    syscall(316, 276, AT_FDCWD, mine, AT_FDCWD, other, 2)


@attempt
def hard_link_from_outside(w: SimpleNamespace) -> None:
    os.link(f"{w.outside}/file", f"{w.workspace}/link")
    os.open(f"{w.workspace}/link", os.O_WRONLY)


@attempt
def hard_link_to_outside(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/mine")
    os.link(f"{w.workspace}/mine", f"{w.outside}/mine")


@attempt
def write_through_a_link(w: SimpleNamespace) -> None:
    os.symlink(f"{w.outside}/file", f"{w.workspace}/way")
    put(f"{w.workspace}/way")


@attempt
def write_through_a_folder_link(w: SimpleNamespace) -> None:
    os.symlink(w.outside, f"{w.workspace}/folder")
    put(f"{w.workspace}/folder/new")


@attempt
def swap_a_link_while_writing(w: SimpleNamespace) -> None:
    """A folder that is now real, now a link outside, while another thread writes into it."""
    real, way = f"{w.workspace}/real", f"{w.workspace}/way"
    os.mkdir(real)
    os.symlink(w.outside, f"{w.workspace}/other")
    os.rename(real, way)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            syscall(316, 276, AT_FDCWD, way.encode(), AT_FDCWD, f"{w.workspace}/other".encode(), 2)

    thread = threading.Thread(target=swap)
    thread.start()
    for _ in range(3000):
        try:
            put(f"{way}/raced")
        except OSError:
            continue
    stop.set()
    thread.join()
    if not os.path.exists(f"{w.outside}/raced"):
        raise PermissionError("the race was never won")


@attempt
def write_by_proc_root(w: SimpleNamespace) -> None:
    put(f"/proc/self/root{w.outside}/new")


@attempt
def write_by_dotdot(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/../outside/new")


@attempt
def change_mode_outside(w: SimpleNamespace) -> None:
    os.chmod(f"{w.outside}/file", 0o777)


@attempt
def change_times_outside(w: SimpleNamespace) -> None:
    os.utime(f"{w.outside}/file", (1, 1))


@attempt
def set_attribute_outside(w: SimpleNamespace) -> None:
    os.setxattr(f"{w.outside}/file", "user.mark", b"x")


@attempt
def write_to_the_system(w: SimpleNamespace) -> None:
    put("/etc/execnode-was-here")


@attempt
def make_a_set_user_id_file(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/tool")
    os.chmod(f"{w.workspace}/tool", 0o4755)


@attempt
def make_a_set_group_id_file(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/tool")
    fd = os.open(f"{w.workspace}/tool", os.O_RDONLY)
    os.fchmod(fd, 0o2755)


@attempt
def create_a_set_user_id_file(w: SimpleNamespace) -> None:
    os.open(f"{w.workspace}/tool", os.O_CREAT | os.O_WRONLY, 0o4755)


@attempt
def create_a_set_user_id_file_by_openat2(w: SimpleNamespace) -> None:
    how = struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    syscall(437, 437, AT_FDCWD, f"{w.workspace}/tool".encode(), how, len(how))


@attempt
def open_by_handle(w: SimpleNamespace) -> None:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    mount = ctypes.c_int()
    path = f"{w.outside}/file".encode()
    syscall(303, 264, AT_FDCWD, path, handle, ctypes.byref(mount), 0)
    folder = os.open(w.workspace, os.O_RDONLY)
    syscall(304, 265, folder, handle, os.O_WRONLY)


@attempt
def reopen_a_mere_path_outside(w: SimpleNamespace) -> None:
    path = os.open(f"{w.outside}/file", os.O_PATH)
    os.open(f"/proc/self/fd/{path}", os.O_WRONLY)


@attempt
def change_a_mere_path_outside(w: SimpleNamespace) -> None:
    path = os.open(f"{w.outside}/file", os.O_PATH)
    syscall(452, 452, path, b"", 0o777, 0x1000)  # fchmodat2(2) with AT_EMPTY_PATH


@attempt
def change_a_mere_path_outside_by_proc(w: SimpleNamespace) -> None:
    path = os.open(f"{w.outside}/file", os.O_PATH)
    os.setxattr(f"/proc/self/fd/{path}", "user.mark", b"x")


@attempt
def link_a_mere_path_outside(w: SimpleNamespace) -> None:
    path = os.open(f"{w.outside}/file", os.O_PATH)
    syscall(265, 37, path, b"", AT_FDCWD, f"{w.workspace}/link".encode(), 0x1000)
    os.open(f"{w.workspace}/link", os.O_WRONLY)


@attempt
def put_a_nameless_file_outside(w: SimpleNamespace) -> None:
    file = os.open(w.outside, os.O_TMPFILE | os.O_WRONLY, 0o644)
    os.link(f"/proc/self/fd/{file}", f"{w.outside}/new", follow_symlinks=True)


@attempt
def clone_a_file_outside(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/mine")
    fcntl.ioctl(os.open(f"{w.outside}/file", os.O_RDONLY), 0x40049409,
                os.open(f"{w.workspace}/mine", os.O_RDONLY))  # fmt: skip


@attempt
def set_attributes_of_a_file_outside(w: SimpleNamespace) -> None:
    """Such as append-only, by FS_IOC_SETFLAGS."""
    fcntl.ioctl(os.open(f"{w.outside}/file", os.O_RDONLY), 0x40086602, struct.pack("l", 0x20))


@attempt
def set_attributes_outside_by_their_own_call(w: SimpleNamespace) -> None:
    attributes = struct.pack("QIIII", 0x40, 0, 0, 0, 0)
    syscall(469, 469, AT_FDCWD, f"{w.outside}/file".encode(), attributes, len(attributes), 0)


@attempt
def go_up_from_the_root(w: SimpleNamespace) -> None:
    """With the descriptor of a folder, as out of a chroot(2)."""
    root = os.open("/", os.O_RDONLY)
    os.chdir(w.workspace)
    for _ in range(40):
        os.fchdir(root)
        os.chdir("..")
    put(f".{w.outside}/new")


@attempt
def lease_a_file_outside(w: SimpleNamespace) -> None:
    """Whoever wanted to write to it would have to wait."""
    fcntl.fcntl(os.open(f"{w.outside}/file", os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)


@attempt
def read_inherited_descriptors(w: SimpleNamespace) -> None:
    extra = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2]
    for fd in extra:
        try:
            where = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if where != "/proc/self/fd" and not where.startswith(f"/proc/{os.getpid()}"):
            return
    raise PermissionError("there are none")


# ---- devices and the kernel's own file systems -------------------------------------------------


@attempt
def make_a_block_device(w: SimpleNamespace) -> None:
    os.mknod(f"{w.workspace}/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))


@attempt
def make_a_character_device(w: SimpleNamespace) -> None:
    os.mknod(f"{w.workspace}/mem", stat.S_IFCHR | 0o600, os.makedev(1, 1))


@attempt
def make_a_device_in_dev(w: SimpleNamespace) -> None:
    os.mknod("/dev/shm/mem", stat.S_IFCHR | 0o600, os.makedev(1, 1))


@attempt
def leave_a_device_behind_by_renaming(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/mine")
    mine, moved = f"{w.workspace}/mine".encode(), f"{w.workspace}/moved".encode()
    syscall(316, 276, AT_FDCWD, mine, AT_FDCWD, moved, 4)


@attempt
def open_memory(w: SimpleNamespace) -> None:
    os.open("/dev/mem", os.O_RDONLY)


@attempt
def open_the_disk(w: SimpleNamespace) -> None:
    for name in ("vda", "sda", "nvme0n1", "xvda"):
        try:
            os.open(f"/dev/{name}", os.O_RDONLY)
        except OSError:
            continue
        return
    raise PermissionError("no disk is to be had")


@attempt
def open_the_kernel_log(w: SimpleNamespace) -> None:
    os.open("/dev/kmsg", os.O_WRONLY)


@attempt
def open_fuse(w: SimpleNamespace) -> None:
    os.open("/dev/fuse", os.O_RDWR)


@attempt
def write_core_pattern(w: SimpleNamespace) -> None:
    os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)


@attempt
def write_modprobe(w: SimpleNamespace) -> None:
    os.open("/proc/sys/kernel/modprobe", os.O_WRONLY)


@attempt
def write_host_name_by_proc(w: SimpleNamespace) -> None:
    os.open("/proc/sys/kernel/hostname", os.O_WRONLY)


@attempt
def write_drop_caches(w: SimpleNamespace) -> None:
    os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)


@attempt
def write_binfmt(w: SimpleNamespace) -> None:
    os.open("/proc/sys/fs/binfmt_misc/register", os.O_WRONLY)


@attempt
def write_any_sysctl(w: SimpleNamespace) -> None:
    for folder, _, names in os.walk("/proc/sys"):
        for name in names:
            try:
                os.open(f"{folder}/{name}", os.O_WRONLY)
            except OSError:
                continue
            return
    raise PermissionError("none can be written")


@attempt
def write_any_file_of_proc(w: SimpleNamespace) -> None:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() or not entry.is_file(follow_symlinks=False):
            continue
        try:
            os.open(entry.path, os.O_WRONLY)
        except OSError:
            continue
        return
    raise PermissionError("none can be written")


@attempt
def write_sysrq(w: SimpleNamespace) -> None:
    os.open("/proc/sysrq-trigger", os.O_WRONLY)


@attempt
def write_uevent_helper(w: SimpleNamespace) -> None:
    os.open("/sys/kernel/uevent_helper", os.O_WRONLY)


@attempt
def write_any_file_of_sys_kernel(w: SimpleNamespace) -> None:
    for folder, _, names in os.walk("/sys/kernel"):
        for name in names:
            try:
                os.open(f"{folder}/{name}", os.O_WRONLY)
            except OSError:
                continue
            return
    raise PermissionError("none can be written")


@attempt
def make_a_cgroup(w: SimpleNamespace) -> None:
    for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"):
        try:
            os.mkdir(f"{folder}/execnode-was-here")
        except OSError:
            continue
        return
    raise PermissionError("none can be made")


@attempt
def leave_the_cgroup(w: SimpleNamespace) -> None:
    for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"):
        try:
            os.open(f"{folder}/cgroup.procs", os.O_WRONLY)
        except OSError:
            continue
        return
    raise PermissionError("none can be entered")


@attempt
def write_release_agent(w: SimpleNamespace) -> None:
    for path in Path("/sys/fs/cgroup").glob("*/release_agent"):
        try:
            os.open(path, os.O_WRONLY)
        except OSError:
            continue
        return
    raise PermissionError("none can be written")


@attempt
def open_debugfs(w: SimpleNamespace) -> None:
    os.open("/sys/kernel/debug/sched/features", os.O_WRONLY)


@attempt
def open_any_other_device(w: SimpleNamespace) -> None:
    for name in w.devices:
        try:
            os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            continue
        return
    raise PermissionError("none can be opened")


@attempt
def read_kernel_memory(w: SimpleNamespace) -> None:
    os.open("/proc/kcore", os.O_RDONLY)


@attempt
def read_kernel_messages(w: SimpleNamespace) -> None:
    os.open("/proc/kmsg", os.O_RDONLY | os.O_NONBLOCK)


@attempt
def send_the_machine_to_sleep(w: SimpleNamespace) -> None:
    for name in ("state", "mem_sleep", "disk", "wakeup_count"):
        try:
            os.open(f"/sys/power/{name}", os.O_WRONLY)
        except OSError:
            continue
        return
    raise PermissionError("none can be written")


@attempt
def write_any_parameter_of_a_module(w: SimpleNamespace) -> None:
    for module in os.scandir("/sys/module"):
        for name in ("parameters", "uevent"):
            path = Path(module.path) / name
            for each in path.iterdir() if path.is_dir() else [path]:
                try:
                    os.open(each, os.O_WRONLY)
                except OSError:
                    continue
                return
    raise PermissionError("none can be written")


@attempt
def open_userfaultfd_as_a_device(w: SimpleNamespace) -> None:
    os.open("/dev/userfaultfd", os.O_RDWR)


@attempt
def read_the_terminal_of_others(w: SimpleNamespace) -> None:
    os.open(w.terminal, os.O_RDONLY | os.O_NOCTTY)


@attempt
def write_to_the_terminal_of_others(w: SimpleNamespace) -> None:
    os.open(w.terminal, os.O_WRONLY | os.O_NOCTTY)


@attempt
def write_any_file_of_a_device(w: SimpleNamespace) -> None:
    for folder, _, names in os.walk("/sys/class"):
        for name in names:
            try:
                os.open(f"{folder}/{name}", os.O_WRONLY)
            except OSError:
                continue
            return
    raise PermissionError("none can be written")


# ---- namespaces and mounts ---------------------------------------------------------------------


@attempt
def unshare_user(w: SimpleNamespace) -> None:
    syscall(272, 97, 0x10000000)


@attempt
def unshare_mount(w: SimpleNamespace) -> None:
    syscall(272, 97, 0x20000)


@attempt
def unshare_time(w: SimpleNamespace) -> None:
    syscall(272, 97, 0x80)


@attempt
def clone_user(w: SimpleNamespace) -> None:
    if syscall(56, 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


@attempt
def clone3_user(w: SimpleNamespace) -> None:
    args = struct.pack("8Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    if syscall(435, 435, args, len(args)) == 0:
        os._exit(0)


@attempt
def enter_a_namespace(w: SimpleNamespace) -> None:
    fd = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    syscall(308, 268, fd, 0)


@attempt
def enter_the_namespaces_outside(w: SimpleNamespace) -> None:
    syscall(308, 268, os.pidfd_open(w.victim), 0x20000)


@attempt
def mount_tmpfs(w: SimpleNamespace) -> None:
    syscall(165, 40, b"none", w.workspace.encode(), b"tmpfs", 0, None)


@attempt
def remount_writable(w: SimpleNamespace) -> None:
    syscall(165, 40, None, b"/", None, 0x20 | 0x1000, None)


@attempt
def unmount_proc(w: SimpleNamespace) -> None:
    syscall(166, 39, b"/proc", 2)


@attempt
def clone_a_mount(w: SimpleNamespace) -> None:
    syscall(428, 428, AT_FDCWD, b"/", 1)


@attempt
def move_a_mount(w: SimpleNamespace) -> None:
    syscall(429, 429, AT_FDCWD, b"/proc", AT_FDCWD, w.workspace.encode(), 0)


@attempt
def pick_a_file_system(w: SimpleNamespace) -> None:
    syscall(433, 433, AT_FDCWD, b"/", 0)


@attempt
def open_a_tree_with_attributes(w: SimpleNamespace) -> None:
    syscall(467, 467, AT_FDCWD, b"/", 1, struct.pack("QQQQ", 0, 1, 0, 0), 32)


@attempt
def open_a_file_system(w: SimpleNamespace) -> None:
    syscall(430, 430, b"proc", 0)


@attempt
def change_mount_attributes(w: SimpleNamespace) -> None:
    syscall(442, 442, AT_FDCWD, b"/", 0x8000, struct.pack("QQQQ", 0, 1, 0, 0), 32)


@attempt
def pivot_the_root(w: SimpleNamespace) -> None:
    os.makedirs(f"{w.workspace}/new/old")
    new = f"{w.workspace}/new".encode()
    syscall(155, 41, new, new + b"/old")


@attempt
def change_the_root(w: SimpleNamespace) -> None:
    os.chroot(w.workspace)


# ---- other processes ---------------------------------------------------------------------------


@attempt
def signal_outside(w: SimpleNamespace) -> None:
    os.kill(w.victim, 0)


@attempt
def signal_everybody(w: SimpleNamespace) -> None:
    """The test looks whether the victim lives on."""
    os.kill(-1, signal.SIGUSR1)
    raise Harmless("nobody outside got it, or the victim is dead")


@attempt
def signal_the_parent(w: SimpleNamespace) -> None:
    if os.getppid() == 0:
        raise PermissionError("it is out of sight")
    os.kill(os.getppid(), signal.SIGKILL)
    raise Harmless("pid 1 of a namespace does not die of that")


@attempt
def signal_outside_by_pidfd(w: SimpleNamespace) -> None:
    signal.pidfd_send_signal(os.pidfd_open(w.victim), 0)


@attempt
def signal_outside_by_tgkill(w: SimpleNamespace) -> None:
    syscall(234, 131, w.victim, w.victim, 0)


@attempt
def signal_outside_by_owner(w: SimpleNamespace) -> None:
    ours, theirs = socket.socketpair()
    fcntl.fcntl(ours, fcntl.F_SETOWN, w.victim)
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC)
    theirs.send(b"x")
    raise Harmless("the victim is looked at by the test")


@attempt
def trace_outside(w: SimpleNamespace) -> None:
    syscall(101, 117, 16, w.victim, 0, 0)


@attempt
def trace_a_child(w: SimpleNamespace) -> None:
    syscall(101, 117, 0, 0, 0, 0)


@attempt
def read_memory_outside(w: SimpleNamespace) -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("QQ", ctypes.addressof(buffer), 8)
    syscall(310, 270, w.victim, vector, 1, vector, 1, 0)


@attempt
def write_memory_outside(w: SimpleNamespace) -> None:
    os.open(f"/proc/{w.victim}/mem", os.O_RDWR)


@attempt
def read_the_environment_outside(w: SimpleNamespace) -> None:
    Path(f"/proc/{w.victim}/environ").read_bytes()


@attempt
def enter_the_root_outside(w: SimpleNamespace) -> None:
    os.listdir(f"/proc/{w.victim}/root")


@attempt
def enter_the_folder_outside(w: SimpleNamespace) -> None:
    os.open(f"/proc/{w.victim}/cwd/file", os.O_WRONLY)


@attempt
def take_descriptors_outside(w: SimpleNamespace) -> None:
    syscall(438, 438, os.pidfd_open(w.victim), 0, 0)


@attempt
def open_descriptors_outside(w: SimpleNamespace) -> None:
    for name in os.listdir(f"/proc/{w.victim}/fd"):
        os.readlink(f"/proc/{w.victim}/fd/{name}")


@attempt
def compare_with_outside(w: SimpleNamespace) -> None:
    syscall(312, 272, os.getpid(), w.victim, 0, 0, 0)


@attempt
def limit_outside(w: SimpleNamespace) -> None:
    resource.prlimit(w.victim, resource.RLIMIT_CORE, (0, 0))


@attempt
def lose_the_mark_of_the_tree(w: SimpleNamespace) -> None:
    """By which it is found when it is to be ended, where there is no namespace (lineage.py)."""
    limit = struct.pack("QQ", 1 << 60, 1 << 60)
    syscall(302, 261, 0, 15, limit, None)
    if w.path == "namespaces":
        raise Harmless("it ends with its namespace")


@attempt
def renice_outside(w: SimpleNamespace) -> None:
    os.setpriority(os.PRIO_PROCESS, w.victim, 19)


@attempt
def renice_all_of_the_user(w: SimpleNamespace) -> None:
    os.setpriority(os.PRIO_USER, 0, 19)
    raise Harmless("the victim is looked at by the test")


@attempt
def prioritize_disks_outside(w: SimpleNamespace) -> None:
    syscall(251, 30, 1, w.victim, 3 << 13)


@attempt
def prioritize_disks_of_the_user(w: SimpleNamespace) -> None:
    syscall(251, 30, 3, 0, 3 << 13)
    raise Harmless("the victim is looked at by the test")


@attempt
def set_the_scheduler_outside(w: SimpleNamespace) -> None:
    os.sched_setscheduler(w.victim, os.SCHED_BATCH, os.sched_param(0))


@attempt
def set_the_scheduling_parameters_outside(w: SimpleNamespace) -> None:
    os.sched_setparam(w.victim, os.sched_param(0))


@attempt
def set_scheduling_attributes_outside(w: SimpleNamespace) -> None:
    attributes = struct.pack("IIQiIQQQ", 48, 3, 0, 19, 0, 0, 0, 0)
    syscall(314, 274, w.victim, attributes, 0)


@attempt
def set_the_processors_outside(w: SimpleNamespace) -> None:
    os.sched_setaffinity(w.victim, [0])


@attempt
def move_pages_outside(w: SimpleNamespace) -> None:
    syscall(279, 239, w.victim, 0, None, None, None, 0)


@attempt
def migrate_pages_outside(w: SimpleNamespace) -> None:
    nodes = struct.pack("Q", 1)
    syscall(256, 238, w.victim, 64, nodes, nodes)


@attempt
def advise_on_memory_outside(w: SimpleNamespace) -> None:
    vector = struct.pack("QQ", 4096, 4096)
    syscall(440, 440, os.pidfd_open(w.victim), vector, 1, 20, 0)


@attempt
def write_memory_outside_by_vector(w: SimpleNamespace) -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("QQ", ctypes.addressof(buffer), 8)
    syscall(311, 271, w.victim, vector, 1, vector, 1, 0)


@attempt
def read_the_maps_outside(w: SimpleNamespace) -> None:
    os.listdir(f"/proc/{w.victim}/map_files")
    Path(f"/proc/{w.victim}/maps").read_text()


@attempt
def tune_outside_by_proc(w: SimpleNamespace) -> None:
    for name in ("oom_score_adj", "coredump_filter", "clear_refs", "timerslack_ns", "comm"):
        try:
            os.open(f"/proc/{w.victim}/{name}", os.O_WRONLY)
        except OSError:
            continue
        return
    raise PermissionError("none can be written")


@attempt
def open_the_init(w: SimpleNamespace) -> None:
    for name in os.listdir("/proc/1/fd"):
        os.readlink(f"/proc/1/fd/{name}")


@attempt
def run_the_helper_by_its_other_names(w: SimpleNamespace) -> None:
    """It can do no more inside than any other program."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]
    script = f"echo x >{w.outside}/new"
    for name, words in {
        "execnode-linux-sandbox": ["--profile", "full-access", "--", "sh", "-c", script],
        "/execnode-linux-sandbox": ["--write", "/", "--accept-missing", "namespaces",
                                    "--", "sh", "-c", script],
        "execnode-escalated": ["0:0:0:0.0:0.0", "0:0", "22", "0,1,2",
                               "/bin/sh", "sh", "-c", script],
        "execnode-execve-wrapper": ["--", "/bin/sh", "sh", "-c", script],
        "execnode-probe": [],
    }.items():  # fmt: skip
        env = {"PATH": "/usr/bin:/bin", "EXECNODE_ESCALATE_FD": "0"}
        os.waitpid(os.posix_spawn(w.helper, [name, *words], env, file_actions=quiet), 0)
    raise Harmless("the victim and the folder outside are looked at by the test")


@attempt
def share_a_scheduling_cookie_outside(w: SimpleNamespace) -> None:
    if LIBC.prctl(62, 2, w.victim, 0, 0) < 0:  # PR_SCHED_CORE
        raise OSError(ctypes.get_errno(), "")


@attempt
def get_the_futexes_outside(w: SimpleNamespace) -> None:
    head, length = ctypes.c_void_p(), ctypes.c_size_t()
    syscall(274, 100, w.victim, ctypes.byref(head), ctypes.byref(length))


@attempt
def signal_outside_when_a_timer_ends(w: SimpleNamespace) -> None:
    """Whose thread gets it is said by number (SIGEV_THREAD_ID)."""
    event = struct.pack("QiiiI", 0, signal.SIGUSR1, 4, w.victim, 0) + bytes(40)
    syscall(222, 107, 0, event, ctypes.byref(ctypes.c_int()))


@attempt
def queue_a_signal_outside(w: SimpleNamespace) -> None:
    info = struct.pack("iii", signal.SIGUSR1, 0, -1) + bytes(116)
    syscall(129, 138, w.victim, signal.SIGUSR1, info)


# ---- the kernel's doors ------------------------------------------------------------------------


@attempt
def use_io_uring(w: SimpleNamespace) -> None:
    syscall(425, 425, 4, ctypes.create_string_buffer(120))


@attempt
def use_bpf(w: SimpleNamespace) -> None:
    syscall(321, 280, 0, struct.pack("IIII", 2, 4, 4, 1) + bytes(100), 72)


@attempt
def use_perf(w: SimpleNamespace) -> None:
    syscall(298, 241, struct.pack("II", 1, 112) + bytes(120), 0, -1, -1, 0)


@attempt
def use_userfaultfd(w: SimpleNamespace) -> None:
    syscall(323, 282, 1)


@attempt
def add_a_key(w: SimpleNamespace) -> None:
    syscall(248, 217, b"user", b"execnode", b"x", 1, -3)


@attempt
def read_keys(w: SimpleNamespace) -> None:
    syscall(250, 219, 0, -3, 0, 0, 0)


@attempt
def request_a_key(w: SimpleNamespace) -> None:
    syscall(249, 218, b"user", b"execnode", None, 0)


@attempt
def join_another_session_of_keys(w: SimpleNamespace) -> None:
    syscall(250, 219, 1, None)


@attempt
def watch_everything(w: SimpleNamespace) -> None:
    syscall(300, 262, 0, 0)


@attempt
def switch_on_accounting(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/account")
    syscall(163, 89, f"{w.workspace}/account".encode())


@attempt
def set_a_quota(w: SimpleNamespace) -> None:
    syscall(179, 60, 0x80000800 & 0x7FFFFFFF, b"/dev/vda", 0, None)


@attempt
def leave_the_groups(w: SimpleNamespace) -> None:
    os.setgroups([])


@attempt
def run_a_program_from_memory(w: SimpleNamespace) -> None:
    """A program without a file is in the sandbox as any other."""
    memory = os.memfd_create("program")
    os.write(memory, Path("/bin/sh").read_bytes())
    program = f"/proc/self/fd/{memory}"
    pid = os.posix_spawn(program, ["sh", "-c", f"echo x >{w.outside}/new"], {})
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise PermissionError("it could not either")


@attempt
def load_a_kernel(w: SimpleNamespace) -> None:
    syscall(246, 104, 0, 0, None, 0)


@attempt
def load_a_module(w: SimpleNamespace) -> None:
    syscall(313, 273, 0, b"", 0)


@attempt
def restart_the_machine(w: SimpleNamespace) -> None:
    syscall(169, 142, 0, 0, 0, None)  # wrong magic numbers: at worst EINVAL


@attempt
def set_the_clock(w: SimpleNamespace) -> None:
    syscall(227, 112, 0, None)


@attempt
def set_the_host_name(w: SimpleNamespace) -> None:
    socket.sethostname("execnode-was-here")


@attempt
def use_swap(w: SimpleNamespace) -> None:
    syscall(167, 224, b"/nowhere", 0)


@attempt
def read_the_kernel_log(w: SimpleNamespace) -> None:
    syscall(103, 116, 3, ctypes.create_string_buffer(16), 16)


@attempt
def change_personality(w: SimpleNamespace) -> None:
    syscall(135, 92, 0x0400000)  # READ_IMPLIES_EXEC


@attempt
def change_the_segments(w: SimpleNamespace) -> None:
    if not X86:
        raise Harmless("there are none")
    syscall(154, 0, 0, ctypes.create_string_buffer(16), 16)


@attempt
def adjust_the_clock(w: SimpleNamespace) -> None:
    syscall(159, 171, struct.pack("Iq", 0x4000, 10000) + bytes(200))  # ADJ_TICK: the usual


@attempt
def take_privileges_back(w: SimpleNamespace) -> None:
    """By prctl(2): secure bits, a capability that execve(2) keeps, the promise of none."""
    done = [
        LIBC.prctl(28, 0, 0, 0, 0),
        LIBC.prctl(47, 2, 21, 0, 0),
        LIBC.prctl(38, 0, 0, 0, 0),
        LIBC.prctl(35, 1, 0, 0, 0),
    ]
    if all(result < 0 for result in done):
        raise PermissionError("none of them")


@attempt
def overrule_the_filter(w: SimpleNamespace) -> None:
    """By another one, which lets everything through: the strictest verdict holds."""
    allow = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))
    syscall(317, 277, 1, 0, struct.pack("H6xQ", 1, ctypes.addressof(allow)))
    syscall(165, 40, b"none", w.workspace.encode(), b"tmpfs", 0, None)


@attempt
def use_the_32_bit_abi(w: SimpleNamespace) -> None:
    if not X86:
        raise Harmless("there is none")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    if call() < 0:
        raise PermissionError("refused")


@attempt
def use_the_x32_abi(w: SimpleNamespace) -> None:
    syscall(0x40000000 | 39, 1 << 20)


@attempt
def use_a_call_of_the_future(w: SimpleNamespace) -> None:
    syscall(600, 600)


@attempt
def gain_privileges(w: SimpleNamespace) -> None:
    """A program that is set-user-ID root, or just root's, keeps no capability."""
    status = Path("/proc/self/status").read_text()
    caps = [line.split() for line in status.splitlines() if line.startswith("Cap")]
    if any(int(mask, 16) for name, mask in caps if name != "CapBnd:"):
        return
    if "NoNewPrivs:\t1" not in status:
        return
    raise PermissionError("no capability, and no new ones")


@attempt
def change_the_user(w: SimpleNamespace) -> None:
    os.setuid(12345)


@attempt
def own_a_file_of_others(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/mine")
    os.chown(f"{w.workspace}/mine", 12345, 12345)


@attempt
def push_into_the_terminal(w: SimpleNamespace) -> None:
    _, terminal = os.openpty()
    os.setsid() if os.getpid() != os.getsid(0) else None
    fcntl.ioctl(terminal, 0x540E, 0)
    fcntl.ioctl(terminal, 0x5412, b"x")


@attempt
def push_with_high_bits(w: SimpleNamespace) -> None:
    """The kernel looks at the low half of the request alone."""
    _, terminal = os.openpty()
    if LIBC.ioctl(terminal, ctypes.c_ulong(0x5412 | 1 << 32), b"x") < 0:
        raise OSError(ctypes.get_errno(), "")


@attempt
def set_the_line_discipline(w: SimpleNamespace) -> None:
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, 0x5423, array.array("i", [2]))


@attempt
def paste_into_the_console(w: SimpleNamespace) -> None:
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, 0x541C, b"\x03")


@attempt
def take_the_console(w: SimpleNamespace) -> None:
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, 0x541D)


@attempt
def switch_the_screen(w: SimpleNamespace) -> None:
    _, terminal = os.openpty()
    if LIBC.ioctl(terminal, ctypes.c_ulong(0x5606), 1) < 0:  # VT_ACTIVATE
        raise OSError(ctypes.get_errno(), "")


# ---- the network -------------------------------------------------------------------------------


def has_socket(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


@attempt
def make_an_internet_socket(w: SimpleNamespace) -> None:
    has_socket(socket.AF_INET, socket.SOCK_STREAM)


@attempt
def make_an_internet_6_socket(w: SimpleNamespace) -> None:
    has_socket(socket.AF_INET6, socket.SOCK_DGRAM)


@attempt
def make_a_netlink_socket(w: SimpleNamespace) -> None:
    has_socket(socket.AF_NETLINK, socket.SOCK_RAW)


@attempt
def make_a_packet_socket(w: SimpleNamespace) -> None:
    has_socket(socket.AF_PACKET, socket.SOCK_RAW)


@attempt
def make_a_raw_socket(w: SimpleNamespace) -> None:
    has_socket(socket.AF_INET, socket.SOCK_RAW, 1)


@attempt
def make_a_vsock_socket(w: SimpleNamespace) -> None:
    has_socket(socket.AF_VSOCK, socket.SOCK_STREAM)


@attempt
def make_a_crypto_socket(w: SimpleNamespace) -> None:
    has_socket(socket.AF_ALG, socket.SOCK_SEQPACKET)


@attempt
def make_a_bluetooth_socket(w: SimpleNamespace) -> None:
    has_socket(31, socket.SOCK_RAW)


@attempt
def make_any_other_socket(w: SimpleNamespace) -> None:
    for family in range(2, 50):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                has_socket(family, kind)
            except OSError:
                continue
            return
    raise PermissionError("none can be made")


@attempt
def make_a_datagram_socket_that_says_it_is_raw(w: SimpleNamespace) -> None:
    has_socket(socket.AF_UNIX, socket.SOCK_RAW)


@attempt
def connect_to_a_socket_outside(w: SimpleNamespace) -> None:
    socket.socket(socket.AF_UNIX).connect(f"{w.outside}/listener")


@attempt
def connect_to_an_abstract_socket(w: SimpleNamespace) -> None:
    socket.socket(socket.AF_UNIX).connect(f"\0{w.abstract}")


@attempt
def take_an_abstract_name(w: SimpleNamespace) -> None:
    """Those outside could not tell whom they are talking to."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"\0{w.abstract}-taken")
    server.listen()
    if os.readlink("/proc/self/ns/net") != w.network:
        raise Harmless("there is nobody else in this network")


@attempt
def send_to_a_socket_outside(w: SimpleNamespace) -> None:
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendto(b"x", f"{w.outside}/mailbox")


@attempt
def send_from_a_pair_to_a_socket_outside(w: SimpleNamespace) -> None:
    ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendmsg([b"x"], [], 0, f"{w.outside}/mailbox")


@attempt
def use_shared_memory_outside(w: SimpleNamespace) -> None:
    syscall(29, 194, w.shm_key, 0, 0)


@attempt
def open_shared_memory_outside(w: SimpleNamespace) -> None:
    os.open(f"/dev/shm/{w.shm_name}", os.O_RDWR)


@attempt
def leave_something_in_shared_memory(w: SimpleNamespace) -> None:
    put(f"/dev/shm/{w.shm_name}-left")
    if w.path == "namespaces":
        raise Harmless("it is one of the sandbox's own")


@attempt
def open_a_queue_outside(w: SimpleNamespace) -> None:
    syscall(240, 180, w.queue.encode(), os.O_RDWR, 0, None)


# ---- paths within the workspace: only where there are namespaces -------------------------------


@attempt
def write_the_protected_folder(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/.git/config")


@attempt
def rename_the_protected_folder(w: SimpleNamespace) -> None:
    os.rename(f"{w.workspace}/.git", f"{w.workspace}/moved")


@attempt
def rename_over_the_protected_folder(w: SimpleNamespace) -> None:
    os.mkdir(f"{w.workspace}/mine")
    os.rename(f"{w.workspace}/mine", f"{w.workspace}/.git")


@attempt
def exchange_the_protected_folder(w: SimpleNamespace) -> None:
    os.mkdir(f"{w.workspace}/mine")
    mine, git = f"{w.workspace}/mine".encode(), f"{w.workspace}/.git".encode()
    syscall(316, 276, AT_FDCWD, mine, AT_FDCWD, git, 2)


@attempt
def rename_the_workspace(w: SimpleNamespace) -> None:
    os.rename(w.workspace, f"{w.workspace}-moved")


@attempt
def rename_the_way_to_a_protected_path(w: SimpleNamespace) -> None:
    os.rename(f"{w.workspace}/deep", f"{w.workspace}/moved")


@attempt
def link_into_the_protected_folder(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/mine")
    os.link(f"{w.workspace}/mine", f"{w.workspace}/.git/hook")


@attempt
def link_out_of_the_protected_folder(w: SimpleNamespace) -> None:
    os.link(f"{w.workspace}/.git/config", f"{w.workspace}/mine")
    put(f"{w.workspace}/mine")


@attempt
def read_the_hidden_file(w: SimpleNamespace) -> None:
    os.open(f"{w.workspace}/secret", os.O_RDONLY)


@attempt
def list_the_hidden_folder(w: SimpleNamespace) -> None:
    os.listdir(f"{w.workspace}/hidden")


@attempt
def enter_the_hidden_folder(w: SimpleNamespace) -> None:
    os.open(f"{w.workspace}/hidden/file", os.O_RDONLY)


@attempt
def link_the_hidden_file(w: SimpleNamespace) -> None:
    os.link(f"{w.workspace}/secret", f"{w.workspace}/mine")
    if not Path(f"{w.workspace}/mine").read_text():
        raise PermissionError("that is the one that hides it")


@attempt
def learn_of_the_hidden_file_by_its_size(w: SimpleNamespace) -> None:
    if os.stat(f"{w.workspace}/secret").st_size == 0:
        raise PermissionError("that is the one that hides it")


@attempt
def learn_of_hidden_names(w: SimpleNamespace) -> None:
    """What is there and what is not look the same."""
    told = []
    for name in ("file", "nothing"):
        try:
            told.append(os.lstat(f"{w.workspace}/hidden/{name}").st_mode)
        except OSError as error:
            told.append(error.errno or 0)
    if told[0] == told[1]:
        raise PermissionError("no difference is seen")


@attempt
def watch_the_hidden_folder(w: SimpleNamespace) -> None:
    watches = LIBC.inotify_init1(os.O_NONBLOCK)
    if LIBC.inotify_add_watch(watches, f"{w.workspace}/hidden".encode(), 0xFFF) < 0:
        raise OSError(ctypes.get_errno(), "")


@attempt
def reopen_the_hidden_file(w: SimpleNamespace) -> None:
    file = os.open(f"{w.workspace}/secret", os.O_PATH)
    os.open(f"/proc/self/fd/{file}", os.O_RDONLY)


@attempt
def remove_the_hidden_file(w: SimpleNamespace) -> None:
    os.unlink(f"{w.workspace}/secret")


@attempt
def make_a_missing_name_as_folder(w: SimpleNamespace) -> None:
    os.mkdir(f"{w.workspace}/.codex")


@attempt
def make_a_missing_name_as_file(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/.codex")


@attempt
def make_a_missing_name_as_link(w: SimpleNamespace) -> None:
    os.symlink("/etc", f"{w.workspace}/.codex")


@attempt
def rename_to_a_missing_name(w: SimpleNamespace) -> None:
    os.mkdir(f"{w.workspace}/mine")
    os.rename(f"{w.workspace}/mine", f"{w.workspace}/.codex")


@attempt
def exchange_with_a_missing_name(w: SimpleNamespace) -> None:
    os.mkdir(f"{w.workspace}/mine")
    mine, missing = f"{w.workspace}/mine".encode(), f"{w.workspace}/.codex".encode()
    syscall(316, 276, AT_FDCWD, mine, AT_FDCWD, missing, 2)


@attempt
def remove_a_missing_name(w: SimpleNamespace) -> None:
    os.rmdir(f"{w.workspace}/.codex")


@attempt
def put_something_in_a_missing_name(w: SimpleNamespace) -> None:
    put(f"{w.workspace}/.codex/config.toml")


@attempt
def make_a_missing_name_writable(w: SimpleNamespace) -> None:
    os.chmod(f"{w.workspace}/.codex", 0o777)


def main(name: str, facts: str) -> None:
    if "Seccomp:\t2" not in Path("/proc/self/status").read_text():
        sys.exit("there is no sandbox around this, and it would do harm")
    world = SimpleNamespace(**json.loads(facts))
    try:
        ATTEMPTS[name](world)
    except (OSError, Harmless) as error:
        print(f"refused: {type(error).__name__}: {error}")
    else:
        print("ESCAPED")


if __name__ == "__main__":
    main(*sys.argv[1:])
