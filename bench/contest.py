"""Workloads, who competes in them, and the turns they take.

The implementations of one workload are measured in turns (A B C, C B A, A B C, ...), so that
whatever else the machine does falls on all of them alike, and ratios are formed within a round
(ratios.py). pytest-benchmark wants one implementation after the other; so all are measured when the
first is wanted, and each test then replays its own rounds to pytest-benchmark through a clock that
moves by what was measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.ratios import Costs, Results
from bench.tools import Tools, why_absent

Round = Callable[[], float]
"""Does the work once, checks what came of it, and returns its cost: seconds, or bytes."""

Contender = Callable[[Tools], Round]
"""Prepares an implementation."""


@dataclass(frozen=True, eq=False)
class Work:
    """One workload.

    Attributes:
        name, size: as they stand in test ids and bounds.toml.
        contenders: by name of the implementation.
        rounds: how many count.
        warmups: how many are done before, and forgotten.
        unit: of a cost, "s" or "B".
    """

    name: str
    size: str
    contenders: Mapping[str, Contender]
    rounds: int = 9
    warmups: int = 1
    unit: str = "s"


class Entry(NamedTuple):
    """One implementation in one workload."""

    work: Work
    implementation: str


Test = Callable[[Entry, "Contest", BenchmarkFixture], None]


def entries(*works: Work) -> Callable[[Test], Test]:
    """Make a test of every contender of `works`; ids say workload, size, implementation."""
    cases = [
        pytest.param(Entry(work, name), id=f"{work.name}-{work.size}-{name}")
        for work in works
        for name in work.contenders
    ]

    def decorate(test: Test) -> Test:
        timed: Test = pytest.mark.benchmark(timer=replayed_clock)(test)
        # The first test of a workload measures all its contenders.
        patient: Test = pytest.mark.timeout(600)(timed)
        return pytest.mark.parametrize("entry", cases)(patient)

    return decorate


class Contest:
    """Measures workloads, once each, and remembers what they cost."""

    def __init__(self, tools: Tools, selected: Sequence[Entry]) -> None:
        self._tools = tools
        self._selected = selected
        self._players: dict[str, dict[str, _Player]] = {}
        self.results: Results = {}

    def enter(self, entry: Entry, benchmark: BenchmarkFixture) -> None:
        """Report one implementation to pytest-benchmark; skip it when it is not on this machine.

        Raises what it raised when it was measured.
        """
        work, name = entry
        if work.name not in self._players:
            self._players[work.name] = self._measure(work)
        player = self._players[work.name][name]
        if player.absent:
            benchmark.skipped = True
            pytest.skip(player.absent)
        if player.failure:
            raise player.failure
        costs = Costs(work.unit, player.costs)
        self.results.setdefault(work.name, {})[name] = costs
        benchmark.group = f"{work.name} {work.size}"
        benchmark.extra_info.update(work=work.name, implementation=name, **costs.as_json())
        replay = iter(player.seconds)
        benchmark.pedantic(lambda: _clock.advance(next(replay)), rounds=work.rounds)  # type: ignore[no-untyped-call]

    def _measure(self, work: Work) -> dict[str, _Player]:
        names = [entry.implementation for entry in self._selected if entry.work is work]
        players = [_Player(work, name) for name in names]
        for turn in range(work.warmups + work.rounds):
            for player in players if turn % 2 else reversed(players):
                player.take_turn(self._tools, counts=turn >= work.warmups)
        return dict(zip(names, players, strict=True))


class _Player:
    """A contender at one workload: what its turns cost, or why it takes none."""

    def __init__(self, work: Work, name: str) -> None:
        self._work = work
        self._prepare = work.contenders[name]
        self._round: Round | None = None
        self.absent = why_absent(name)
        self.failure: Exception | None = None
        self.costs: list[float] = []
        self.seconds: list[float] = []

    def take_turn(self, tools: Tools, *, counts: bool) -> None:
        """Do the work once. A failure takes no turn from the others."""
        if self.absent or self.failure:
            return
        try:
            self._round = self._round or self._prepare(tools)
            begun = time.perf_counter()
            cost = self._round()
            elapsed = time.perf_counter() - begun
        except Exception as failure:
            self.failure = failure
        else:
            if counts:
                self.costs.append(cost)
                self.seconds.append(cost if self._work.unit == "s" else elapsed)


class _Clock:
    now = 0.0

    def advance(self, seconds: float) -> None:
        self.now += seconds


_clock = _Clock()


def replayed_clock() -> float:
    """The time that pytest-benchmark sees: it moves only by what was measured."""
    return _clock.now
