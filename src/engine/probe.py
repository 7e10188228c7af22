"""What this machine lets a node do, found out by trying it.

A version number promises little: a container, a security module or a boot option may refuse what
the kernel has. What needs a process of its own is tried by the helper (_seccomp/probe.c), the rest
here. Nothing is left behind.
"""

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from execnode.engine.cgroup import CgroupPool, CgroupsUnavailable
from execnode.engine.programs import HELPER

__all__ = ["Probe", "probe"]

HELPER_TIMEOUT_S = 60.0  # each of its probes gives up after five seconds


@dataclass(frozen=True, slots=True)
class Probe:
    """What was tried, whether it worked, and a few words on how or why not."""

    name: str
    ok: bool
    detail: str


def probe(spill_dir: Path | None = None, helper: Path = HELPER) -> list[Probe]:
    """Try everything a node builds on; takes some tens of milliseconds.

    spill_dir: where output would be spilled to, None: the folder for temporary files.
    helper: the helper executable.

    Never raises for what the machine lacks; `dataclasses.asdict` of a result is fit for JSON.
    """
    return [
        _kernel(),
        *_tried_by_helper(helper),
        _terminals(),
        _limits(),
        _spill(spill_dir or Path(tempfile.gettempdir())),
    ]


def _kernel() -> Probe:
    uname = os.uname()
    return Probe("kernel", True, f"{uname.sysname} {uname.release} {uname.machine}")


def _tried_by_helper(helper: Path) -> list[Probe]:
    """The helper's probes, the cgroup's first, which wants a cgroup to try it in."""
    try:
        pool = CgroupPool.open()
    except CgroupsUnavailable as error:
        return [Probe("cgroup", False, str(error)), *_run_helper(helper, [])]
    try:
        return _run_helper(helper, ["--cgroup", str(pool.acquire().path)])
    finally:
        pool.close()


def _run_helper(helper: Path, arguments: list[str]) -> list[Probe]:
    try:
        done = subprocess.run(
            ["execnode-probe", *arguments],
            executable=helper,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=HELPER_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [Probe("helper", False, str(error))]
    return [_parse(line) for line in done.stdout.splitlines()]


def _parse(line: str) -> Probe:
    name, _, rest = line.partition("=")
    verdict, _, detail = rest.partition(" ")
    return Probe(name, verdict == "yes", detail)


def _terminals() -> Probe:
    usage = ""
    with contextlib.suppress(OSError):
        used, most = (Path(f"/proc/sys/kernel/pty/{name}").read_text() for name in ("nr", "max"))
        usage = f"{used.strip()} of {most.strip()} in use"
    try:
        master, terminal = os.openpty()
    except OSError as error:
        return Probe("terminals", False, ", ".join(filter(None, [error.strerror, usage])))
    os.close(terminal)
    os.close(master)
    return Probe("terminals", True, usage or "one was opened")


def _limits() -> Probe:
    """Not a matter of yes or no, but what a person who wonders about EMFILE or EAGAIN looks for."""
    files, processes = (
        _limit(resource.getrlimit(kind)) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
    )
    detail = f"descriptors {files}, processes of this user {processes}"
    with contextlib.suppress(OSError):
        detail += f", pids {Path('/proc/sys/kernel/pid_max').read_text().strip()}"
    return Probe("limits", True, detail)


def _limit(values: tuple[int, int]) -> str:
    soft, hard = (
        "unlimited" if value == resource.RLIM_INFINITY else str(value) for value in values
    )
    return soft if soft == hard else f"{soft} (at most {hard})"


def _spill(folder: Path) -> Probe:
    """An unlinked file that takes a byte, as the log wants it."""
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"\0")
        finally:
            os.close(fd)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Probe("spill", False, f"{folder}: {error.strerror}")
    return Probe("spill", True, f"{folder}: {free / 2**30:.1f} GiB free")
