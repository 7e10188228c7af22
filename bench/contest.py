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


class _Turns(NamedTuple):
    costs: Mapping[str, Sequence[float]]
    seconds: Mapping[str, Sequence[float]]
    absent: Mapping[str, str]


class Contest:
    """Measures workloads, once each, and remembers what they cost."""

    def __init__(self, tools: Tools, selected: Sequence[Entry]) -> None:
        self._tools = tools
        self._selected = selected
        self._turns: dict[str, _Turns] = {}
        self.results: Results = {}

    def enter(self, entry: Entry, benchmark: BenchmarkFixture) -> None:
        """Report one implementation to pytest-benchmark; skip it when it is not on this machine."""
        work, name = entry
        if work.name not in self._turns:
            self._turns[work.name] = self._measure(work)
        turns = self._turns[work.name]
        if name in turns.absent:
            benchmark.skipped = True
            pytest.skip(turns.absent[name])
        costs = Costs(work.unit, turns.costs[name])
        self.results.setdefault(work.name, {})[name] = costs
        benchmark.group = f"{work.name} {work.size}"
        benchmark.extra_info.update(work=work.name, implementation=name, **costs.as_json())
        replay = iter(turns.seconds[name])
        benchmark.pedantic(lambda: _clock.advance(next(replay)), rounds=work.rounds)  # type: ignore[no-untyped-call]

    def _measure(self, work: Work) -> _Turns:
        names = [entry.implementation for entry in self._selected if entry.work is work]
        absent = {name: reason for name in names if (reason := why_absent(name))}
        rounds = {name: work.contenders[name](self._tools) for name in names if name not in absent}
        costs: dict[str, list[float]] = {name: [] for name in rounds}
        seconds: dict[str, list[float]] = {name: [] for name in rounds}
        for turn in range(work.warmups + work.rounds):
            for name in list(rounds) if turn % 2 else reversed(rounds):
                begun = time.perf_counter()
                cost = rounds[name]()
                elapsed = time.perf_counter() - begun
                if turn >= work.warmups:
                    costs[name].append(cost)
                    seconds[name].append(cost if work.unit == "s" else elapsed)
        return _Turns(costs, seconds, absent)


class _Clock:
    now = 0.0

    def advance(self, seconds: float) -> None:
        self.now += seconds


_clock = _Clock()


def replayed_clock() -> float:
    """The time that pytest-benchmark sees: it moves only by what was measured."""
    return _clock.now
