"""2 GB written while the client was away, then resumed: nothing lost, and memory within bounds.

The cost is the time from the new connection to `closed`, hashing included. Each time is checked:
the SHA-256 of all bytes, and that the node's memory never grew by more than MEMORY.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contender, Contest, Entry, Round, Work, entries
from bench.memory import peak, resident
from bench.tools import Tools
from bench.wire import Connection

SIZE = 2 * 2**30
MEMORY = 64 * 2**20


@functools.cache
def _digest(writer: str) -> str:
    with subprocess.Popen([writer, "bytes", str(SIZE)], stdout=subprocess.PIPE) as process:
        assert isinstance(process.stdout, io.BufferedReader)
        return hashlib.file_digest(process.stdout, "sha256").hexdigest()


def _ended(pid: int) -> None:
    """Wait until the program has written all."""
    pidfd = os.pidfd_open(pid)
    try:
        select.select([pidfd], [], [])
    finally:
        os.close(pidfd)


def _stuck(pid: int) -> None:
    """Wait until the program has filled what may be kept, and its pipe."""
    written = -1
    while written != (written := _written(pid)):
        time.sleep(0.2)


def _written(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0])


def _resume(retention: int, away_until: Callable[[int], None]) -> Contender:
    def contender(tools: Tools) -> Round:
        writer = tools.references.path("writer")

        def once() -> float:
            with tools.fresh_node() as node:
                with Connection(node.socket) as first:
                    pid = _start(first, [writer, "bytes", str(SIZE)], retention)
                    before = resident(node.pid)
                away_until(pid)
                began = time.perf_counter()
                with Connection(node.socket, resume=first.session) as second:
                    digest = _receive_all(second)
                elapsed = time.perf_counter() - began
                assert digest == _digest(writer)
                assert peak(node.pid) - before <= MEMORY
            return elapsed

        return once

    return contender


def _start(connection: Connection, argv: list[str], retention: int) -> int:
    params: dict[str, Any] = {
        "processId": "p",
        "argv": argv,
        "cwd": "file:///",
        "env": {},
        "tty": False,
        "retention": {"mode": "block", "maxBytes": retention},
    }
    pid: int = connection.request("process/start", **params)["pid"]
    return pid


def _receive_all(connection: Connection) -> str:
    """Attach from the first byte, and return the SHA-256 of stdout once it is closed."""
    digest = hashlib.sha256()
    received = 0
    connection.request("process/attach", processId="p", afterSeq=0)
    while True:
        method, params = connection.notification()
        if method == "process/output":
            assert params["offset"] == received
            received += len(params["chunk"])
            digest.update(params["chunk"])
        elif method == "process/closed":
            assert params["streams"]["stdout"]["bytes"] == received == SIZE
            return digest.hexdigest()


HELD = Work(
    "resume-held",
    "2GB",
    {"execnode": _resume(MEMORY, _stuck)},
    rounds=1,
    warmups=0,
)
SPILLED = Work(
    "resume-spilled",
    "2GB",
    {"execnode": _resume(2 * SIZE, _ended)},
    rounds=1,
    warmups=0,
)


@entries(HELD, SPILLED)
def test_resume(entry: Entry, contest: Contest, benchmark: BenchmarkFixture) -> None:
    contest.enter(entry, benchmark)
