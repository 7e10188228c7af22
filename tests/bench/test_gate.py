"""The bench gate: what passes, what fails, what it says about what is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.ratios import Bound, Costs, Standing, judge, load_bounds

FASTER = Bound("w", "work", "ours", "theirs", limit=4, faster=True, noise=0.1)
CHEAPER = Bound("w", "work", "ours", "theirs", limit=0.5, faster=False, noise=0.1)


def results(ours: list[float], theirs: list[float]) -> dict[str, dict[str, Costs]]:
    return {"w": {"ours": Costs("s", ours), "theirs": Costs("s", theirs)}}


@pytest.mark.parametrize(
    ("bound", "ours", "theirs", "standing"),
    [
        (FASTER, 1.0, 4.0, Standing.HOLDS),
        (FASTER, 1.0, 3.7, Standing.WITHIN_NOISE),
        (FASTER, 1.0, 3.5, Standing.WORSE),
        (CHEAPER, 1.0, 2.0, Standing.HOLDS),
        (CHEAPER, 1.08, 2.0, Standing.WITHIN_NOISE),
        (CHEAPER, 1.2, 2.0, Standing.WORSE),
    ],
)
def test_a_ratio_stands_to_its_bound(
    bound: Bound, ours: float, theirs: float, standing: Standing
) -> None:
    assert judge(results([ours], [theirs]), bound).standing is standing


def test_ratios_are_formed_within_rounds() -> None:
    slow_moment_for_both = judge(results([1, 100, 1], [4, 400, 4]), FASTER)
    assert slow_moment_for_both.ratios == [4, 4, 4]


def test_an_absent_peer_is_told_from_work_not_measured() -> None:
    ours = {"w": {"ours": Costs("s", [1])}}
    theirs = {"w": {"theirs": Costs("s", [1])}}
    assert judge(ours, FASTER).standing is Standing.PEER_ABSENT
    assert judge(theirs, FASTER).standing is Standing.NOT_MEASURED
    assert judge({}, FASTER).standing is Standing.NOT_MEASURED


def saved(path: Path, factor: float) -> Path:
    """Results in which every ratio is its bound, made better by `factor`."""
    costs: dict[tuple[str, str], float] = {}
    for bound in load_bounds():
        ours, theirs = (bound.work, bound.ours), (bound.work, bound.against)
        ratio = bound.limit * factor if bound.faster else factor / bound.limit
        if theirs in costs:
            costs.setdefault(ours, costs[theirs] / ratio)
        costs.setdefault(theirs, costs.setdefault(ours, 1.0) * ratio)
    benchmarks = [
        {"extra_info": {"work": work, "implementation": name, "unit": "s", "costs": [cost]}}
        for (work, name), cost in costs.items()
    ]
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return path


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (0.96, 0), (0.5, 1)])
def test_the_gate_fails_by_exit_status(tmp_path: Path, factor: float, status: int) -> None:
    path = saved(tmp_path / "bench.json", factor)
    done = subprocess.run([sys.executable, "-m", "bench.gate", path], check=False)
    assert done.returncode == status


def test_the_gate_says_when_nothing_was_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.gate", str(tmp_path / "none.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "hint: `make bench`" in done.stderr
