"""The one place where results become ratios and ratios are held against bounds.toml.

A cost is seconds or bytes: less is better. Each round of a workload measured every implementation
once, so a ratio is formed within each round, and the median of the rounds is what counts.
"""

from __future__ import annotations

import json
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

BOUNDS = Path(__file__).with_name("bounds.toml")


@dataclass(frozen=True)
class Costs:
    """What one implementation cost in each round of one workload, in `unit` ("s" or "B")."""

    unit: str
    rounds: Sequence[float]

    @property
    def median(self) -> float:
        """The median round."""
        return statistics.median(self.rounds)

    def as_json(self) -> dict[str, Any]:
        """As it is saved beside pytest-benchmark's own numbers."""
        return {"unit": self.unit, "costs": list(self.rounds)}


Results = dict[str, dict[str, Costs]]
"""Costs by workload and implementation."""


def load_results(path: Path) -> Results:
    """Read what `pytest bench --benchmark-json=PATH` saved.

    Raises:
        FileNotFoundError: nothing was saved there.
    """
    results: Results = {}
    for saved in json.loads(path.read_bytes())["benchmarks"]:
        info = saved["extra_info"]
        costs = Costs(info["unit"], info["costs"])
        results.setdefault(info["work"], {})[info["implementation"]] = costs
    return results


@dataclass(frozen=True)
class Bound:
    """One line of bounds.toml: how `work` of `ours` must stand to that of `against`.

    Attributes:
        title: the work in words.
        limit: of the ratio.
        faster: if so, the ratio is theirs / ours (how many times faster) and must be at least
            `limit`; if not, it is ours / theirs and must be at most `limit`.
        noise: how much worse than `limit` a run may come out by chance, as a fraction of it.
    """

    work: str
    title: str
    ours: str
    against: str
    limit: float
    faster: bool
    noise: float


def load_bounds(path: Path = BOUNDS) -> list[Bound]:
    """Read the bounds, in the order of the file."""
    bounds = []
    for line in tomllib.loads(path.read_text())["bound"]:
        faster = "at_least" in line
        limit = line.pop("at_least" if faster else "at_most")
        bounds.append(Bound(limit=limit, faster=faster, **line))
    return bounds


class Standing(Enum):
    """How a measured ratio stands to its bound."""

    HOLDS = "holds"
    WITHIN_NOISE = "within noise"
    WORSE = "worse"
    PEER_ABSENT = "no peer"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Verdict:
    """A bound, and how what was measured stands to it.

    Attributes:
        ratios: those of the rounds, sorted; empty when something was not measured.
    """

    bound: Bound
    ratios: Sequence[float]
    standing: Standing

    @property
    def median(self) -> float:
        """The ratio that counts."""
        return statistics.median(self.ratios)


def judge(results: Mapping[str, Mapping[str, Costs]], bound: Bound) -> Verdict:
    """Hold one workload against one bound."""
    work = results.get(bound.work, {})
    if bound.ours not in work:
        return Verdict(bound, [], Standing.NOT_MEASURED)
    if bound.against not in work:
        return Verdict(bound, [], Standing.PEER_ABSENT)
    pairs = zip(work[bound.ours].rounds, work[bound.against].rounds, strict=True)
    ratios = sorted(theirs / ours if bound.faster else ours / theirs for ours, theirs in pairs)
    median = statistics.median(ratios)
    # How far the ratio is on the wrong side of the bound, as a fraction of it.
    excess = (bound.limit - median if bound.faster else median - bound.limit) / bound.limit
    if excess <= 0:
        return Verdict(bound, ratios, Standing.HOLDS)
    standing = Standing.WITHIN_NOISE if excess <= bound.noise else Standing.WORSE
    return Verdict(bound, ratios, standing)
