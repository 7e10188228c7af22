"""Whole files to a client, and small ones in a sandbox."""

from __future__ import annotations

from collections.abc import Callable

from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contender, Contest, Entry, Round, Work, entries
from bench.load import Generator
from bench.tools import FILE_BYTES, Tools

COUNT = 10


def _read(connected: Callable[[Tools], Generator]) -> Contender:
    def contender(tools: Tools) -> Round:
        generator, path = connected(tools), tools.file

        def once() -> float:
            report = generator.ask("read", COUNT, str(path))
            assert report.bytes == COUNT * FILE_BYTES
            return report.median

        return once

    return contender


READ = Work(
    "read-file",
    "10MB",
    {
        "execnode-ws": _read(lambda tools: tools.execnode_web),
        "codex-ws": _read(lambda tools: tools.codex_web),
    },
    rounds=5,
)


def _confined(connected: Callable[[Tools], Generator], verb: str, count: int) -> Contender:
    """Requests to a process in the sandbox that is there already, as far as there is one."""

    def contender(tools: Tools) -> Round:
        generator, folder = connected(tools), str(tools.small_files)
        generator.ask("confined", 1, verb, folder)
        return lambda: generator.ask("confined", count, verb, folder).median

    return contender


def _confined_work(verb: str) -> Work:
    return Work(
        f"confined-{verb}",
        "1B",
        {
            "execnode-ws": _confined(lambda tools: tools.execnode_web, verb, 200),
            "codex-ws": _confined(lambda tools: tools.codex_web, verb, 5),
        },
        rounds=5,
    )


CONFINED_READ = _confined_work("read")
CONFINED_WRITE = _confined_work("write")


@entries(READ, CONFINED_READ, CONFINED_WRITE)
def test_read(entry: Entry, contest: Contest, benchmark: BenchmarkFixture) -> None:
    contest.enter(entry, benchmark)
