"""`execnode` as a process: run to its end, talked to through pipes, or used at a terminal.

None outlives the test: each is killed when the test is over, and by the kernel should the test
process itself be killed.
"""

import atexit
import fcntl
import json
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from execnode.client import ProcessInfo, blocking

__all__ = [
    "PATIENCE",
    "Person",
    "Program",
    "Relay",
    "RunningNode",
    "alive",
    "eventually",
    "execnode",
    "from_removed_folder",
    "lines",
]

# Seconds for what takes a fraction of one, on a machine that is busy with other tests.
PATIENCE = 20.0

_LAUNCH = """
import ctypes, fcntl, os, sys, termios
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: not longer than the test
if sys.argv[1] == "terminal":
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""

# A home of its own, so that nothing of the user's is met or left.
_HOME = tempfile.mkdtemp(prefix="xn-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)


def _environment(changes: dict[str, str] | None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EXECNODE_", "XDG_"))}
    return kept | {"HOME": _HOME, "PYTHONUNBUFFERED": "1", "TERM": "xterm"} | (changes or {})


def _command(args: tuple[str | bytes, ...], mode: str = "pipes") -> list[str | bytes]:
    return [sys.executable, "-c", _LAUNCH, mode, "-m", "execnode", *args]


def execnode(
    *args: str | bytes,
    input: bytes = b"",  # noqa: A002 (as in subprocess)
    env: dict[str, str] | None = None,
    **options: Any,
) -> "subprocess.CompletedProcess[bytes]":
    """Run it to its end; its stdin is a pipe."""
    return subprocess.run(
        _command(args),
        input=None if "stdin" in options else input,
        capture_output=True,
        env=_environment(env),
        timeout=PATIENCE * 2,
        check=False,
        **options,
    )


def from_removed_folder(*args: str) -> "subprocess.CompletedProcess[bytes]":
    """Run it to its end, without input, in a working folder that is no more."""
    enter = ["/bin/sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', tempfile.mkdtemp(prefix="xn-")]
    return subprocess.run(
        [*enter, *_command(args)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=_environment(None),
        timeout=PATIENCE * 2,
        check=False,
    )


def lines(data: bytes) -> list[Any]:
    """JSON lines."""
    return [json.loads(line) for line in data.splitlines()]


class Program:
    """`execnode` with pipes, while it runs."""

    def __init__(self, *args: str, env: dict[str, str] | None = None, **options: Any) -> None:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
        self.popen: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[assignment]
            _command(args), env=_environment(env), bufsize=0, **pipes
        )
        self.pid = self.popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()

    def line(self) -> str:
        """The next line of stdout."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().decode().rstrip("\n")

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def ends(self) -> int:
        """Its exit code."""
        return self.popen.wait(PATIENCE)

    def errors(self) -> str:
        """What is left on stderr, to its end."""
        assert self.popen.stderr is not None
        return self.popen.stderr.read().decode()


class RunningNode(Program):
    """`execnode serve`, from when it can be connected to."""

    def __init__(self, *options: str, env: dict[str, str] | None = None) -> None:
        super().__init__("serve", *options, env=env, stdin=subprocess.DEVNULL)
        self._stack = ExitStack()
        self._client: blocking.Node | None = None
        self.url = self.line()
        assert self.url, self.errors()

    def run(
        self,
        *args: str | bytes,
        input: bytes = b"",  # noqa: A002
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a verb with this node as EXECNODE_NODE."""
        return execnode(*args, input=input, env=self.env)

    @property
    def env(self) -> dict[str, str]:
        return {"EXECNODE_NODE": self.url}

    def detached(self, *args: str) -> str:
        """Start a command that is left running; its ref."""
        done = self.run("run", "--detach", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def process(self, ref: str) -> ProcessInfo:
        """What the node says of a process, asked without the command."""
        if self._client is None:
            self._client = self._stack.enter_context(blocking.connect(self.url, session_ttl=0))
        return next(p for p in self._client.list(all_sessions=True) if p.ref == ref)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        super().__exit__(kind, value, traceback)


class Relay:
    """Passes one connection at a time on to a Unix socket, while it is told to."""

    def __init__(self, folder: Path, url: str) -> None:
        self._path = str(folder / "relay.sock")
        self._target = url.removeprefix("unix://")
        self._sockets: list[socket.socket] = []
        self.url = f"unix://{self._path}"

    def open(self) -> None:
        """Take a connection, now or later."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path)
        listener.listen()
        self._sockets = [listener]
        threading.Thread(target=self._serve, args=(listener,)).start()

    def cut(self) -> None:
        """Break the connection, and take none."""
        Path(self._path).unlink()
        for each in self._sockets:
            with suppress(OSError):  # the end of one may have closed the other by now
                each.shutdown(socket.SHUT_RDWR)

    def _serve(self, listener: socket.socket) -> None:
        with listener:
            client, _ = listener.accept()
        with client, socket.socket(socket.AF_UNIX) as node:
            node.connect(self._target)
            self._sockets = [client, node]
            back = threading.Thread(target=_copy, args=(node, client))
            back.start()
            _copy(client, node)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Person:
    """Somebody who runs `execnode` at a terminal."""

    def __init__(
        self,
        *args: str,
        size: tuple[int, int] = (24, 80),
        env: dict[str, str] | None = None,
    ) -> None:
        self._master, self._slave = os.openpty()
        self.resize(*size)
        self.modes_before = self.modes()
        self.seen = b""
        self.popen = subprocess.Popen(
            _command(args, "terminal"),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=_environment(env),
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.popen.kill()
        self.popen.wait()
        os.close(self._slave)
        os.close(self._master)

    def modes(self) -> list[Any]:
        """The terminal's, termios(3)."""
        return termios.tcgetattr(self._slave)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def sees(self, text: str) -> str:
        """Wait until this appears, and give what came before it."""
        deadline = time.monotonic() + PATIENCE
        while (at := self.seen.find(text.encode())) < 0:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._master], [], [], left)[0]:
                raise AssertionError(f"{text!r} did not appear; seen: {self.seen!r}")
            self.seen += os.read(self._master, 65536)
        before, self.seen = self.seen[:at], self.seen[at + len(text.encode()) :]
        return before.decode()

    def text(self) -> str:
        """What was seen and not waited for, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.seen.decode())

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def ends(self) -> int:
        """Its exit code; what it still writes is read meanwhile, and kept in `seen`."""
        pidfd = os.pidfd_open(self.popen.pid)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                ready, _, _ = select.select([self._master, pidfd], [], [], PATIENCE)
                if self._master in ready:
                    self.seen += os.read(self._master, 65536)
                elif pidfd in ready:
                    return self.popen.wait()
                assert ready, f"still there; seen: {self.seen!r}"
                assert time.monotonic() < deadline
        finally:
            os.close(pidfd)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Any) -> bool:
    """Whether it comes true while one has patience; for what gives no sign."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
