"""The C programs of reference/: compile them, run them, drive the load generator."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

SOURCES = Path(__file__).with_name("reference")
PROGRAMS = {
    "spawn": ["spawn.c"],
    "relay": ["relay.c"],
    "echo": ["echo.c"],
    "client": ["client.c", "channel.c", "web.c", "cbor.c", "json.c"],
    "writer": ["writer.c"],
    "rawecho": ["rawecho.c"],
}
LINE_BYTES = 64  # as in writer.c
COMPILE = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror"]


@dataclass(frozen=True)
class Report:
    """What a workload took: nanoseconds for all of it and for each step, bytes received."""

    total_ns: int
    bytes: int
    each_ns: Sequence[int]

    @property
    def median(self) -> float:
        """The median step, in seconds."""
        return statistics.median(self.each_ns) / 1e9

    @property
    def total(self) -> float:
        """The whole workload, in seconds."""
        return self.total_ns / 1e9


class References:
    """The reference programs, compiled into a folder of this session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name, sources in PROGRAMS.items():
            paths = [SOURCES / source for source in sources]
            subprocess.run([*COMPILE, "-o", folder / name, *paths], check=True)

    def path(self, name: str) -> str:
        """The path of one program."""
        return str(self._folder / name)

    def run(self, name: str, *arguments: str | int) -> Report:
        """Run one program to its end and return its report."""
        command = [self.path(name), *map(str, arguments)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return Report(**json.loads(done.stdout))


class Generator:
    """A running load generator (reference/client.c), connected to one server.

    Attributes:
        server: process id of the server, as given or as started by the generator.
    """

    def __init__(
        self, command: Sequence[str], *, server: int = 0, env: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.server: int = self._answer()["pid"] or server

    def ask(self, *words: str | int) -> Report:
        """Have one workload done; the words are those of the head comment of client.c."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return Report(**self._answer())

    def run(self, count: int, inflight: int, argv: Sequence[str]) -> Report:
        """Start `argv` `count` times with `inflight` at once, each until it is closed."""
        return self.ask("run", count, inflight, *argv)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator failed with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
