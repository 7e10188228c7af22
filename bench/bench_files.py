"""Whole files from the page cache to a client: fs/readFile."""

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


@entries(READ)
def test_read(entry: Entry, contest: Contest, benchmark: BenchmarkFixture) -> None:
    contest.enter(entry, benchmark)
