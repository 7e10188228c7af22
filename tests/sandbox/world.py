"""What a sandboxed process might reach: a folder, a process, sockets and shared memory outside."""

import ctypes
import json
import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

from execnode.engine.programs import HELPER

HERE = Path(__file__).parent
NOBODY = 65534
X86 = platform.machine() == "x86_64"
SMALL_DEV = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}
LIBC = ctypes.CDLL(None, use_errno=True)
# The tests' own may lie in root's home, where nobody else can go.
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or os.path.realpath(sys.executable)

VICTIM = "import signal\nsignal.signal(10, lambda *_: exit(9))\nprint(flush=True)\nsignal.pause()"


class World:
    """A workspace in the middle of things that are none of its business; all belongs to one user.

    It lies in /var/tmp, for /tmp is writable in the profiles.
    """

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.stack = ExitStack()
        self.base = Path(mkdtemp(prefix="xs-", dir="/var/tmp"))
        self.workspace = self.base / "ws"
        self.outside = self.base / "outside"
        self.facts: dict[str, object] = {}
        self.helper = self.base / "execnode-helper"

    def __enter__(self) -> Self:
        self.stack.callback(shutil.rmtree, self.base)
        self.base.chmod(0o755)
        shutil.copy(HELPER, self.helper)
        for folder in (self.workspace, self.outside):
            folder.mkdir()
            os.chown(folder, self.uid, self.uid)
        self.make("outside/file", "of somebody else")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stack.close()

    def make(self, name: str, text: str = "") -> Path:
        """A file in the world, with the folders on the way, which belongs to the user."""
        path = self.base / name
        for folder in reversed(path.relative_to(self.base).parents[:-1]):
            if not (self.base / folder).exists():
                (self.base / folder).mkdir()
                os.chown(self.base / folder, self.uid, self.uid)
        path.write_text(text)
        os.chown(path, self.uid, self.uid)
        return path

    def populate(self) -> dict[str, object]:
        """Start what only the attempts need; the facts that they are told."""
        victim = self.stack.enter_context(
            subprocess.Popen(
                [PYTHON, "-I", "-c", VICTIM], stdout=subprocess.PIPE, cwd=self.outside, **self.user
            )
        )
        self.stack.callback(victim.kill)
        assert victim.stdout
        victim.stdout.readline()
        self.victim = victim
        for name, kind in (("listener", socket.SOCK_STREAM), ("mailbox", socket.SOCK_DGRAM)):
            ours = self.stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            ours.bind(str(self.outside / name))
            (self.outside / name).chmod(0o777)
            if kind == socket.SOCK_STREAM:
                ours.listen()
        abstract = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0execnode-{os.getpid()}")
        abstract.listen()
        key = 0x5E000000 | os.getpid() & 0xFFFF
        memory = LIBC.shmget(key, 4096, 0o1666)
        self.stack.callback(LIBC.shmctl, memory, 0, None)
        master, terminal = os.openpty()
        self.stack.callback(os.close, master)
        self.stack.callback(os.close, terminal)
        os.chown(terminal, self.uid, -1)
        shared = Path(f"/dev/shm/execnode-{os.getpid()}")
        shared.write_text("x")
        shared.chmod(0o666)
        self.stack.callback(shared.unlink)
        return {
            "workspace": str(self.workspace),
            "outside": str(self.outside),
            "helper": str(self.helper),
            "victim": victim.pid,
            "abstract": f"execnode-{os.getpid()}",
            "shm_key": key,
            "shm_name": shared.name,
            "queue": f"execnode-{os.getpid()}",
            "network": str(Path("/proc/self/ns/net").readlink()),
            "terminal": os.ttyname(terminal),
            "devices": [entry.name for entry in os.scandir("/dev") if is_other_device(entry)],
        }

    @property
    def user(self) -> dict[str, Any]:
        """How subprocess becomes the user."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.uid, "extra_groups": []}

    def start(
        self, options: Sequence[object], command: Sequence[object], **more: Any
    ) -> subprocess.Popen[str]:
        """The helper, by hand, in the workspace."""
        words = words_of(["execnode-linux-sandbox", *options, "--", *command])
        environment = {**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin"}
        arguments: dict[str, Any] = {
            "cwd": self.workspace, "env": environment, "text": True, **self.user, **more,
        }  # fmt: skip
        return subprocess.Popen(words, executable=self.helper, **arguments)

    def run(
        self, options: Sequence[object], *command: object, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        streams: dict[str, Any] = {
            "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
        }  # fmt: skip
        with self.start(options, command, **{**streams, **more}) as process:
            try:
                out, err = process.communicate(timeout=30)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(words_of(command), process.returncode, out, err)

    def shell(self, options: Sequence[object], script: str) -> subprocess.CompletedProcess[str]:
        """A shell script in the sandbox."""
        return self.run(options, "sh", "-c", script)

    def run_fast(
        self, rules: Sequence[tuple[object, str]], *command: object
    ) -> subprocess.CompletedProcess[str]:
        """A command on the engine's fast path."""
        listed = json.dumps([[str(path), access] for path, access in rules])
        return subprocess.run(
            [sys.executable, HERE / "fastpath.py", str(self.uid), listed, *words_of(command)],
            cwd=self.workspace,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )

    @property
    def unharmed(self) -> bool:
        """Whether the victim of the attempts lives, and as it did."""
        pid = self.victim.pid
        return (
            self.victim.poll() is None
            and os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
            and os.sched_getscheduler(pid) == os.SCHED_OTHER
            and os.sched_getaffinity(pid) == os.sched_getaffinity(0)
            and LIBC.syscall(252 if X86 else 31, 1, pid) == LIBC.syscall(252 if X86 else 31, 1, 0)
        )

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove a folder and what is in it."""
        shutil.rmtree(folder)


def is_other_device(entry: os.DirEntry[str]) -> bool:
    """Whether it is a device that a sandbox does not have."""
    mode = entry.stat(follow_symlinks=False).st_mode
    return (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and entry.name not in SMALL_DEV


def words_of(command: Sequence[object]) -> list[str]:
    return [str(word) for word in command]
