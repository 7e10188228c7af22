"""From the request to start /bin/true until it is closed: one at a time, and 32 in flight."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contest, Entry, Work, entries
from bench.runners import CONCURRENT, RUNNERS, contenders

ONE = Work(
    "start-one",
    "true",
    contenders(
        RUNNERS,
        command=lambda _: ["/bin/true"],
        cost=lambda report: report.median,
        count=100,
        # Over TCP it waits 40 ms each time for the client's system to acknowledge the answer.
        fewer={"codex-ws": 10},
    ),
)
FLIGHT = Work(
    "start-inflight",
    "32",
    contenders(
        CONCURRENT,
        command=lambda _: ["/bin/true"],
        cost=lambda report: report.total / 256,
        count=256,
        inflight=32,
    ),
    rounds=7,
)


@entries(ONE, FLIGHT)
def test_start_to_closed(entry: Entry, contest: Contest, benchmark: BenchmarkFixture) -> None:
    contest.enter(entry, benchmark)
