"""The node's side of the zygote: it is started when a worker is first needed."""

from __future__ import annotations

import array
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Final

import anyio

from execnode.environment.local.status import Line, Report, StatusPipe
from execnode.protocol.errors import INTERNAL_ERROR, RpcError

__all__ = ["Breeder"]

# What the zygote imports beside Python's own.
_PACKAGES: Final = ("execnode", "msgspec", "typing_extensions")


class Breeder:
    """Has workers made."""

    def __init__(self) -> None:
        self._orders: socket.socket | None = None
        self._ordering = anyio.Lock()
        self._pid = -1
        self._pidfd = -1

    async def breed(self, options: list[bytes]) -> tuple[socket.socket, Report]:
        """Make a worker; returns the node's end of its socket, and what was told of its sandbox.

        options: of execnode-linux-sandbox. Raises RpcError when they cannot be enforced here, or
        the system has no room.
        """
        try:
            with ExitStack() as stack:
                link, theirs = map(stack.enter_context, socket.socketpair())
                with StatusPipe() as status:
                    with theirs, _file_of(options) as words:
                        async with self._ordering:
                            await self._order([words.fileno(), theirs.fileno(), status.writer])
                    status.close_writer()
                    told = await status.report()
                if told.failures:
                    raise _refusal(told.failures)
                stack.pop_all()
                return link, told
        except OSError as error:
            raise RpcError(INTERNAL_ERROR, f"no process for a sandbox: {error}") from None

    async def _order(self, descriptors: list[int]) -> None:
        for attempt in (1, 2):
            if self._orders is None:
                self._start()
            assert self._orders is not None
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            try:
                await anyio.wait_writable(self._orders)
                self._orders.sendmsg([b"w"], rights, socket.MSG_NOSIGNAL)
                return
            except ConnectionError:  # it was killed; another is as good
                self.close()
                if attempt == 2:
                    raise

    def _start(self) -> None:
        """Start the zygote. Its parent is this thread, with which it would end."""
        if not sys.executable:
            raise FileNotFoundError("Python does not know its own program (sys.executable)")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._pid = os.posix_spawn(
                    sys.executable,
                    _command(),
                    _environment(),
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                        (os.POSIX_SPAWN_DUP2, null, 1),
                        (os.POSIX_SPAWN_DUP2, null, 2),
                    ],
                    setsid=True,
                    setsigmask=[],
                )
            except BaseException:
                ours.close()
                raise
            finally:
                os.close(null)
        self._pidfd = os.pidfd_open(self._pid)
        ours.setblocking(False)
        self._orders = ours

    def close(self) -> None:
        """Have the zygote end, with all workers that it has made."""
        orders, self._orders = self._orders, None
        if orders is None:
            return
        orders.close()
        with suppress(ChildProcessError):  # somebody waited for all children
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)


def _environment() -> dict[str, str]:
    """What Python needs to start, and no more: inside, a worker's can be read in /proc."""
    needed = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME")
    found = {name: os.environ[name] for name in needed if name in os.environ}
    return {**found, "PYTHONPATH": os.pathsep.join(_folders()), "PYTHONUTF8": "1"}


def _folders() -> list[str]:
    """Where this process has from what the zygote imports.

    Not all of sys.path: the folder of the program that embeds us is there too, and often one where
    a sandbox may write; what it wrote would be imported outside of it.
    """
    folders = []
    for name in _PACKAGES:
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec is None or spec.origin is None:
            continue
        path = Path(os.path.abspath(spec.origin))  # noqa: PTH100 (links may be meant)
        module = path.parent if path.stem == "__init__" else path.with_suffix("")
        if module.name == name:  # else an import hook knows where it is
            folders.append(str(module.parent))
    return list(dict.fromkeys(folders))


def _command() -> list[str]:
    return [
        sys.executable,
        "-P",
        "-m",
        "execnode.environment.local.confined.zygote",
        str(os.getpid()),
    ]


def _file_of(options: list[bytes]) -> IO[bytes]:
    """A file that holds options, to be read from its beginning."""
    file = os.fdopen(os.memfd_create("options"), "w+b")
    file.write(b"".join(option + b"\0" for option in options))
    file.seek(0)
    return file


def _refusal(failures: Sequence[Line]) -> RpcError:
    why = "; ".join(": ".join(filter(None, (line.stage, line.text))) for line in failures)
    return RpcError(INTERNAL_ERROR, f"this sandbox cannot be enforced here: {why}")
