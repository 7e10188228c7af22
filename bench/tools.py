"""What contenders run on: references, a node, peers; each started when first asked for."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from bench import peers
from bench.load import Generator, References

EXECNODE = Path(sys.executable).with_name("execnode")
FILE_BYTES = 10_000_000
_ANY_PORT = "ws://127.0.0.1:0"
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def why_absent(implementation: str) -> str | None:
    """What to do about an implementation that is not on this machine; None when it is."""
    if implementation.startswith("execnode") and not EXECNODE.exists():
        return "execnode is not installed here: `make setup` does it"
    if implementation.startswith("codex") and not peers.codex():
        return "the Codex exec-server is not here: `make peers` fetches it"
    if implementation.startswith("bwrap") and not bwrap():
        return "bwrap is not installed here: it is in the package bubblewrap"
    return None


def bwrap() -> Path | None:
    """The launcher of the bubblewrap project, or None when it is not on PATH."""
    found = shutil.which("bwrap")
    return Path(found) if found else None


class Node(NamedTuple):
    """A node of ours: its process and where it listens."""

    pid: int
    socket: Path

    @property
    def url(self) -> str:
        """Its address for a client."""
        return f"unix://{self.socket}"


def _codex_env() -> dict[str, str]:
    return {**os.environ, "CODEX_HOME": str(peers.codex_home())}


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _server(
    command: Sequence[str], env: Mapping[str, str] | None = None
) -> Iterator[tuple[int, str]]:
    """Run a server that prints its URL when clients can connect: its process id, and the URL.

    It ends with the bench, however that ends.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=env, preexec_fn=_end_with_parent
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError(f"{command[0]} did not start")
            yield process.pid, url
        finally:
            process.terminate()


class Tools:
    """Everything that is started once a session; closed in reverse order at its end."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @cached_property
    def references(self) -> References:
        """The C programs, compiled now."""
        return References(Path(self._stack.enter_context(tempfile.TemporaryDirectory())))

    def workspace(self) -> Path:
        """A new folder that is not in /tmp."""
        folder = tempfile.TemporaryDirectory(prefix="execnode-bench-", dir="/var/tmp")
        return Path(self._stack.enter_context(folder))

    @cached_property
    def node(self) -> Node:
        """The node that most benches share."""
        return self._stack.enter_context(self.fresh_node())

    @cached_property
    def execnode(self) -> Generator:
        """A load generator connected to `node`."""
        return self._stack.enter_context(self._connect(self.node))

    @cached_property
    def codex(self) -> Generator:
        """A load generator that runs a Codex exec-server."""
        return self._stack.enter_context(self.fresh_codex())

    @cached_property
    def codex_concurrent(self) -> Generator:
        """The same with its concurrency switched on, which is off by default."""
        return self._stack.enter_context(self.fresh_codex("--concurrent-requests", "32"))

    @cached_property
    def execnode_web(self) -> Generator:
        """A load generator connected to a node of its own over WebSocket, in JSON."""
        command = [str(EXECNODE), "serve", "--listen", _ANY_PORT, "--auth", "none"]
        return self._connect_web(_server(command))

    @cached_property
    def codex_web(self) -> Generator:
        """A load generator connected to a Codex exec-server over WebSocket."""
        command = [str(peers.codex()), "exec-server", "--listen", _ANY_PORT]
        return self._connect_web(_server(command, _codex_env()))

    @cached_property
    def file(self) -> Path:
        """A file of FILE_BYTES bytes, just written, so that it is in the page cache."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        path = Path(folder) / "file"
        path.write_bytes(random.Random(FILE_BYTES).randbytes(FILE_BYTES))
        return path

    @cached_property
    def small_files(self) -> Path:
        """A folder with a small file in it, and one that a profile hides."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        for name in ("file", "hidden"):
            (folder / name).write_bytes(b"x")
        for name in (".git", ".agents", ".codex", ".aws"):
            (folder / name).mkdir()
        return folder

    @contextmanager
    def fresh_node(self) -> Iterator[Node]:
        """A node that has done nothing yet."""
        with tempfile.TemporaryDirectory(prefix="execnode-bench-") as folder:
            socket = Path(folder) / "node.sock"
            command = [str(EXECNODE), "serve", "--listen", f"unix://{socket}"]
            with _server(command) as (pid, _):
                yield Node(pid, socket)

    @contextmanager
    def fresh_execnode(self) -> Iterator[Generator]:
        """A load generator connected to a node that has done nothing yet."""
        with self.fresh_node() as node, self._connect(node) as generator:
            yield generator

    def _connect(self, node: Node) -> Generator:
        command = [self.references.path("client"), "unix", str(node.socket)]
        return Generator(command, server=node.pid)

    def _connect_web(self, server: AbstractContextManager[tuple[int, str]]) -> Generator:
        pid, url = self._stack.enter_context(server)
        command = [self.references.path("client"), "web", url]
        return self._stack.enter_context(Generator(command, server=pid))

    def fresh_codex(self, *options: str) -> Generator:
        """A load generator with a Codex exec-server that has done nothing yet."""
        serve = [str(peers.codex()), "exec-server", "--listen", "stdio", *options]
        return Generator([self.references.path("client"), "stdio", *serve], env=_codex_env())
