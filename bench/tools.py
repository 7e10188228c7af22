"""What contenders run on: references, a node, peers; each started when first asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from bench import peers
from bench.load import Generator, References

EXECNODE = Path(sys.executable).with_name("execnode")


def why_absent(implementation: str) -> str | None:
    """What to do about an implementation that is not on this machine; None when it is."""
    if implementation.startswith("execnode") and not EXECNODE.exists():
        return "execnode is not installed here: `make setup` does it"
    if implementation.startswith("codex") and not peers.codex():
        return "the Codex exec-server is not here: `make peers` fetches it"
    return None


class Node(NamedTuple):
    """A node of ours: its process and where it listens."""

    pid: int
    socket: Path

    @property
    def url(self) -> str:
        """Its address for a client."""
        return f"unix://{self.socket}"


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

    @contextmanager
    def fresh_node(self) -> Iterator[Node]:
        """A node that has done nothing yet."""
        with tempfile.TemporaryDirectory(prefix="execnode-bench-") as folder:
            socket = Path(folder) / "node.sock"
            command = [str(EXECNODE), "serve", "--listen", f"unix://{socket}"]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                try:
                    assert process.stdout is not None
                    if not process.stdout.readline():
                        raise RuntimeError("the node did not start")
                    yield Node(process.pid, socket)
                finally:
                    process.terminate()

    @contextmanager
    def fresh_execnode(self) -> Iterator[Generator]:
        """A load generator connected to a node that has done nothing yet."""
        with self.fresh_node() as node, self._connect(node) as generator:
            yield generator

    def _connect(self, node: Node) -> Generator:
        command = [self.references.path("client"), "unix", str(node.socket)]
        return Generator(command, server=node.pid)

    def fresh_codex(self, *options: str) -> Generator:
        """A load generator with a Codex exec-server that has done nothing yet."""
        serve = [str(peers.codex()), "exec-server", "--listen", "stdio", *options]
        env = {**os.environ, "CODEX_HOME": str(peers.codex_home())}
        return Generator([self.references.path("client"), "stdio", *serve], env=env)
