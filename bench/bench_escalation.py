"""What it costs to ask before an exec: a command of a shell, with and without the question."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import trio
from pytest_benchmark.fixture import BenchmarkFixture

from bench.contest import Contender, Contest, Entry, Work, entries
from execnode.environment.local.runner import LocalRunner
from execnode.environment.services import Environment
from execnode.escalation import Action, Escalate, EscalationServer, Run

COUNT = 100
STEADY = 10_000
PACE = 50  # execs a second that must hold


class Always:
    """Decides without thinking."""

    def __init__(self, action: Action) -> None:
        self._action = action

    async def determine_action(self, file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        return self._action


async def _shell(action: Action, script: str) -> list[float]:
    """Run a script whose every line of output is a time of its clock; how long each step took."""
    async with (
        Environment.local() as environment,
        EscalationServer.open(Always(action), environment) as server,
    ):
        assert isinstance(environment.exec, LocalRunner)
        env = {name.decode(): value.decode() for name, value in server.env.items()}
        before = _descriptors()
        process = await environment.exec.start(
            ["/bin/bash", "-c", script], inherit=[server.fd], extra_env=env
        )
        written = b""
        async with process:
            async for item in process:
                written += item.data  # type: ignore[union-attr]
            assert await process.wait() == 0
        assert _descriptors() <= before + 2  # the process that is remembered for a while
    times = [float(line) for line in written.split()]
    return [after - before for before, after in pairwise(times)]


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _each(command: str, action: Action) -> Contender:
    """The whole time of COUNT commands, divided."""
    script = f"""
    {command}; echo $EPOCHREALTIME
    for ((i = 0; i < {COUNT}; i++)); do {command}; done; echo $EPOCHREALTIME
    """

    def once() -> float:
        return trio.run(_shell, action, script)[0] / COUNT

    return lambda _: once


WRAPPED = '"$EXEC_WRAPPER" /bin/true true'
EXEC = Work(
    "escalation-exec",
    "true",
    {
        "execnode-run": _each(WRAPPED, Run()),
        "execnode-escalate": _each(WRAPPED, Escalate()),
        "shell": _each("/bin/true", Run()),
    },
)


def _steady(action: Action) -> Contender:
    """STEADY commands one after the other; what one costs in the slowest COUNT of them."""
    script = f"""
    for ((i = 0; i <= {STEADY}; i++)); do
        ((i % {COUNT})) || echo $EPOCHREALTIME
        {WRAPPED}
    done
    """

    def once() -> float:
        slowest = max(trio.run(_shell, action, script)) / COUNT
        assert slowest <= 1 / PACE
        return slowest

    return lambda _: once


HOLD = Work("escalation-steady", f"{STEADY}", {"execnode-run": _steady(Run())}, rounds=1, warmups=0)


@entries(EXEC, HOLD)
def test_what_a_question_costs(entry: Entry, contest: Contest, benchmark: BenchmarkFixture) -> None:
    contest.enter(entry, benchmark)
