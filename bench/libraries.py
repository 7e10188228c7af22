"""The same work by Python libraries: those that need no node, and our own client."""

from __future__ import annotations

import asyncio
import io
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter_ns

import trio

from bench.load import Report
from execnode.client import Node, Output, connect

_CHUNK = 1 << 20

Command = Callable[[Sequence[str]], Awaitable[int]]
"""Runs a command to its end, raises if it failed, and returns how many bytes it wrote to stdout."""


class _Steps:
    """The steps of one workload: hands out turns, keeps times."""

    def __init__(self, count: int) -> None:
        self.turns = iter(range(count))
        self._begun = perf_counter_ns()
        self._each: list[int] = []
        self._bytes = 0

    def done(self, begun: int, received: int) -> None:
        self._each.append(perf_counter_ns() - begun)
        self._bytes += received

    async def work(self, command: Command, argv: Sequence[str]) -> None:
        for _ in self.turns:
            begun = perf_counter_ns()
            self.done(begun, await command(argv))

    def report(self) -> Report:
        return Report(perf_counter_ns() - self._begun, self._bytes, self._each)


def run_subprocess(count: int, inflight: int, argv: Sequence[str]) -> Report:
    """`subprocess.run`, with a thread for each command in flight."""
    steps = _Steps(count)

    def one(_: int) -> None:
        begun = perf_counter_ns()
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        steps.done(begun, len(done.stdout))

    if inflight == 1:
        for turn in steps.turns:
            one(turn)
    else:
        with ThreadPoolExecutor(inflight) as pool:
            list(pool.map(one, steps.turns))
    return steps.report()


def stream_subprocess(argv: Sequence[str]) -> Report:
    """`subprocess.Popen`, its output read as it comes and not kept."""
    steps = _Steps(1)
    buffer = bytearray(_CHUNK)
    begun = perf_counter_ns()
    received = 0
    with subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0) as process:
        assert isinstance(process.stdout, io.FileIO)
        while got := process.stdout.readinto(buffer):
            received += got
    assert process.returncode == 0
    steps.done(begun, received)
    return steps.report()


def run_asyncio(count: int, inflight: int, argv: Sequence[str]) -> Report:
    """`asyncio.create_subprocess_exec` and `communicate`."""
    return asyncio.run(_in_asyncio(count, inflight, _asyncio_command, argv))


def stream_asyncio(argv: Sequence[str]) -> Report:
    """`asyncio.create_subprocess_exec`, its output read as it comes and not kept."""
    return asyncio.run(_in_asyncio(1, 1, _asyncio_stream, argv))


async def _in_asyncio(count: int, inflight: int, command: Command, argv: Sequence[str]) -> Report:
    steps = _Steps(count)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(inflight):
            tasks.create_task(steps.work(command, argv))
    return steps.report()


async def _asyncio_command(argv: Sequence[str]) -> int:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    return len(stdout)


async def _asyncio_stream(argv: Sequence[str]) -> int:
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    received = 0
    while chunk := await process.stdout.read(_CHUNK):
        received += len(chunk)
    assert await process.wait() == 0
    return received


def run_trio(count: int, inflight: int, argv: Sequence[str]) -> Report:
    """`trio.run_process`, capturing both streams."""
    return trio.run(_in_trio, count, inflight, _trio_command, argv)


def stream_trio(argv: Sequence[str]) -> Report:
    """`trio.lowlevel.open_process`, its output read as it comes and not kept."""
    return trio.run(_in_trio, 1, 1, _trio_stream, argv)


def run_client(url: str, count: int, inflight: int, argv: Sequence[str]) -> Report:
    """`Node.run` of our client, connected once."""

    async def main() -> Report:
        async with connect(url) as node:
            return await _in_trio(count, inflight, partial(_client_command, node), argv)

    return trio.run(main)


def stream_client(url: str, argv: Sequence[str]) -> Report:
    """`Node.start` of our client, its output read as it comes and not kept."""

    async def main() -> Report:
        async with connect(url) as node:
            return await _in_trio(1, 1, partial(_client_stream, node), argv)

    return trio.run(main)


async def _in_trio(count: int, inflight: int, command: Command, argv: Sequence[str]) -> Report:
    steps = _Steps(count)
    async with trio.open_nursery() as nursery:
        for _ in range(inflight):
            nursery.start_soon(steps.work, command, argv)
    return steps.report()


async def _trio_command(argv: Sequence[str]) -> int:
    done = await trio.run_process(argv, capture_stdout=True, capture_stderr=True)
    return len(done.stdout)


async def _trio_stream(argv: Sequence[str]) -> int:
    process = await trio.lowlevel.open_process(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    received = 0
    async with process.stdout:
        async for chunk in process.stdout:
            received += len(chunk)
    assert await process.wait() == 0
    return received


async def _client_command(node: Node, argv: Sequence[str]) -> int:
    done = await node.run(argv, check=True)
    return len(done.stdout)


async def _client_stream(node: Node, argv: Sequence[str]) -> int:
    received = 0
    async with await node.start(argv) as process:
        async for output in process:
            assert isinstance(output, Output)
            received += len(output.data)
        assert await process.wait() == 0
    return received
