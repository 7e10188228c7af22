"""How soon an answer comes: one byte through a terminal program, and a small request."""

from __future__ import annotations

from collections.abc import Callable

from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contender, Contest, Entry, Round, Work, entries
from bench.load import Generator
from bench.tools import Tools

COUNT = 1000
# Over TCP the Codex exec-server waits 40 ms each time for the client's system to acknowledge.
FEW = 10


def _pty_reference(tools: Tools) -> Round:
    program = tools.references.path("rawecho")
    return lambda: tools.references.run("echo", COUNT, program).median


def _socket_reference(tools: Tools) -> Round:
    return lambda: tools.references.run("echo", COUNT).median


def _echo(connected: Callable[[Tools], Generator], count: int = COUNT) -> Contender:
    def contender(tools: Tools) -> Round:
        generator, program = connected(tools), tools.references.path("rawecho")
        return lambda: generator.ask("echo", count, program).median

    return contender


def _status(connected: Callable[[Tools], Generator]) -> Contender:
    def contender(tools: Tools) -> Round:
        generator = connected(tools)
        return lambda: generator.ask("status", COUNT).median

    return contender


ECHO = Work(
    "pty-echo",
    "1B",
    {
        "c": _pty_reference,
        "execnode": _echo(lambda tools: tools.execnode),
        "execnode-ws": _echo(lambda tools: tools.execnode_web),
        "codex": _echo(lambda tools: tools.codex),
        "codex-ws": _echo(lambda tools: tools.codex_web, FEW),
    },
)
STATUS = Work(
    "small-request",
    "status",
    {
        "c": _socket_reference,
        "execnode": _status(lambda tools: tools.execnode),
        "execnode-ws": _status(lambda tools: tools.execnode_web),
        "codex": _status(lambda tools: tools.codex),
        "codex-ws": _status(lambda tools: tools.codex_web),
    },
)


@entries(ECHO, STATUS)
def test_answer(entry: Entry, contest: Contest, benchmark: BenchmarkFixture) -> None:
    contest.enter(entry, benchmark)
