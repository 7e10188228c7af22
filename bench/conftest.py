"""Fixtures of the benches, and the tables at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.contest import Contest, Entry
from bench.ratios import judge, load_bounds
from bench.report import show, tables
from bench.tools import Tools

_CONTEST = pytest.StashKey[Contest]()


@pytest.fixture(scope="session")
def tools() -> Iterator[Tools]:
    """What contenders run on."""
    with Tools() as tools:
        yield tools


@pytest.fixture(scope="session")
def contest(request: pytest.FixtureRequest, tools: Tools) -> Contest:
    """All measurements of this run, among the entries that were selected."""
    parameters = [
        item.callspec.params for item in request.session.items if isinstance(item, pytest.Function)
    ]
    selected = [entry for each in parameters if isinstance(entry := each.get("entry"), Entry)]
    contest = Contest(tools, selected)
    request.config.stash[_CONTEST] = contest
    return contest


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(config: pytest.Config) -> None:
    """Print costs and ratios after pytest-benchmark's own tables."""
    contest = config.stash.get(_CONTEST, None)
    if contest and contest.results:
        bounds = [bound for bound in load_bounds() if bound.work in contest.results]
        verdicts = [judge(contest.results, bound) for bound in bounds]
        print()
        show(tables(contest.results, verdicts))
