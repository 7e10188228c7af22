"""Memory of a server that waits: with 200 sleeping processes, for each, for each connection.

The costs are in bytes; the times that pytest-benchmark shows are those of whole rounds, with
servers started anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contender, Contest, Entry, Round, Work, entries
from bench.load import Generator
from bench.memory import resident
from bench.tools import Tools
from bench.wire import Connection

COUNT = 200
SERVERS: dict[str, Callable[[Tools], AbstractContextManager[Generator]]] = {
    "execnode": Tools.fresh_execnode,
    "codex": Tools.fresh_codex,
}


def _sleepers(
    fresh: Callable[[Tools], AbstractContextManager[Generator]],
    cost: Callable[[int, int], float],
) -> Contender:
    """Compare a server's memory without and with sleeping processes by `cost`."""

    def contender(tools: Tools) -> Round:
        def once() -> float:
            with fresh(tools) as generator:
                # What a first start brings in is not the price of a process.
                generator.run(1, 1, ["/bin/true"])
                without = resident(generator.server)
                generator.ask("hold", COUNT, "/bin/sleep", 1000)
                with_all = resident(generator.server, without="sleep")
                generator.ask("drop")
            return cost(without, with_all)

        return once

    return contender


def _connections(tools: Tools) -> Round:
    def once() -> float:
        with tools.fresh_node() as node, ExitStack() as stack:
            stack.enter_context(Connection(node.socket))
            before = resident(node.pid)
            for _ in range(COUNT):
                stack.enter_context(Connection(node.socket))
            return (resident(node.pid) - before) / COUNT

    return once


SERVER = Work(
    "idle-memory",
    "200",
    {name: _sleepers(fresh, lambda _, held: held) for name, fresh in SERVERS.items()},
    rounds=3,
    warmups=0,
    unit="B",
)
PROCESS = Work(
    "idle-process",
    "1of200",
    {
        name: _sleepers(fresh, lambda before, held: (held - before) / COUNT)
        for name, fresh in SERVERS.items()
    },
    rounds=3,
    warmups=0,
    unit="B",
)
CONNECTION = Work(
    "idle-connection", "1of200", {"execnode": _connections}, rounds=3, warmups=0, unit="B"
)


@entries(SERVER, PROCESS, CONNECTION)
def test_memory(entry: Entry, contest: Contest, benchmark: BenchmarkFixture) -> None:
    contest.enter(entry, benchmark)
