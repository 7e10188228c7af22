"""Hold what happened against what was recorded, and against the differences that are accepted.

differences.toml lists where execnode differs from the real server on purpose. Each entry names
scenarios, paths of the summary (story.py) as shell patterns, what execnode has there, and the
reason. Without `found` anything may be there.

    [[difference]]
    scenarios = ["35-http-endpoints"]
    paths = ["http.3.status"]
    found = 200
    reason = "..."

docs/dialect.md shows the same table; `rendered` makes it.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.interop.scenario import Json, Scenario, recording
from tests.interop.story import Summary, summarise

TABLE = Path(__file__).parent / "differences.toml"
_ABSENT = "(nothing)"


@dataclass(frozen=True)
class Difference:
    """One path at which a run and its recording differ."""

    scenario: str
    path: str
    recorded: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.path}\n    recorded {self.recorded!r:.400}\n    found    {self.found!r:.400}"


@dataclass(frozen=True)
class Accepted:
    """An entry of the table."""

    scenarios: list[str]
    paths: list[str]
    reason: str
    found: Any = None

    def covers(self, difference: Difference) -> bool:
        """Whether the difference is one that this entry speaks of."""
        return (
            difference.scenario in self.scenarios
            and any(fnmatchcase(difference.path, pattern) for pattern in self.paths)
            and self.found in (None, difference.found)
        )

    def unused(self, found: list[Difference], played: set[str]) -> list[str]:
        """What it names and does not differ, if all its scenarios were played.

        found: the differences of all that was played.
        """
        if not played.issuperset(self.scenarios):
            return []
        mine = [each for each in found if self.covers(each)]
        silent = [name for name in self.scenarios if all(d.scenario != name for d in mine)]
        silent += [p for p in self.paths if not any(fnmatchcase(d.path, p) for d in mine)]
        return silent


def accepted() -> list[Accepted]:
    """The table."""
    return [Accepted(**each) for each in tomllib.loads(TABLE.read_text())["difference"]]


def differences(scenario: Scenario, transcript: list[Json]) -> list[Difference]:
    """Where a transcript differs from the recording of its scenario."""
    recorded = _told(recording(scenario.name), scenario)
    found = _told(transcript, scenario)
    return [
        Difference(scenario.name, path, recorded.get(path, _ABSENT), found.get(path, _ABSENT))
        for path in sorted(recorded.keys() | found.keys())
        if recorded.get(path, _ABSENT) != found.get(path, _ABSENT)
    ]


def _told(transcript: list[Json], scenario: Scenario) -> Summary:
    """The summary without what differs from run to run."""
    ignored = [*scenario.ignore]
    if "--concurrent-requests" in scenario.server_args:
        ignored.append("*.order")
    return {
        path: value
        for path, value in summarise(transcript).items()
        if not any(fnmatchcase(path, each) or path.startswith(f"{each}.") for each in ignored)
    }


def rendered() -> str:
    """The table as it stands in docs/dialect.md."""
    heads = ["scenario", "where", "execnode", "why that is right"]
    rows = [heads, ["---"] * len(heads)]
    for each in accepted():
        paths = ", ".join(f"`{path}`" for path in each.paths)
        found = "" if each.found is None else f"`{json.dumps(each.found)}`"
        rows.append([", ".join(each.scenarios), paths, found, each.reason])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
