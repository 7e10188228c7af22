"""Bytes from programs to a client: one that writes 1 GB, and 200 that write lines."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contest, Entry, Work, entries
from bench.load import LINE_BYTES
from bench.runners import CONCURRENT, STREAMS, contenders

GIGABYTE = 1_000_000_000
PROCESSES = 200
LINES = 1000
# Over WebSocket the Codex exec-server answers no more when 150 requests come at once.
TOGETHER = {name: runner for name, runner in CONCURRENT.items() if name != "codex-ws"}

ONE = Work(
    "output-one",
    "1GB",
    contenders(
        STREAMS,
        command=lambda tools: [tools.references.path("writer"), "bytes", str(GIGABYTE)],
        cost=lambda report: report.total,
        size=GIGABYTE,
    ),
    rounds=3,
    warmups=0,  # the slowest takes long, and its first second is a small part of it
)
MANY = Work(
    "output-many",
    "200x1000",
    contenders(
        TOGETHER,
        command=lambda tools: [tools.references.path("writer"), "lines", str(LINES)],
        cost=lambda report: report.total,
        count=PROCESSES,
        inflight=PROCESSES,
        size=PROCESSES * LINES * LINE_BYTES,
    ),
    rounds=5,
)


@entries(ONE, MANY)
def test_output(entry: Entry, contest: Contest, benchmark: BenchmarkFixture) -> None:
    contest.enter(entry, benchmark)
