"""docs/dialect.md tells of every accepted difference, and of nothing else."""

import re

from execnode.protocol import methods
from tests.docs.markdown import code, tables
from tests.docs.spelling import members
from tests.docs.test_messages import METHODS, NOTIFICATIONS, TYPES
from tests.interop import compare, scenario
from tests.locate import ROOT

DOCUMENT = ROOT / "docs" / "dialect.md"
# Capabilities of the dialect, so no additions.
OF_THE_DIALECT = {
    "capabilityDiscoverySandbox",
    "capabilityDiscoveryV2",
    "environmentConfigRead",
    "fileWriteStreaming",
    "fsWatchMissing",
    "httpHeaderEnvVars",
    "sandboxedFileStreaming",
}
# What the table of additions says of many at once.
WHOLE = {"all errors", "all of fs/ that take sandbox"}


def test_the_table_of_differences_is_the_one_that_is_checked() -> None:
    assert compare.rendered() in DOCUMENT.read_text(), (
        "`python -m tests.interop.play --table` prints the table for docs/dialect.md"
    )


def test_every_accepted_difference_has_its_scenario() -> None:
    names = set(scenario.names())
    assert {name for entry in compare.accepted() for name in entry.scenarios} <= names


def test_the_number_of_scenarios_is_right() -> None:
    assert f"{len(scenario.names())} recorded exchanges" in DOCUMENT.read_text()


def test_the_methods_that_are_named_exist() -> None:
    known = {value for value in vars(methods).values() if isinstance(value, str)}
    (same,) = [table for table in tables(DOCUMENT) if table.heading == "The same"]
    named = {name.strip() for row in same.rows for cell in row[1:] for name in cell.split(",")}
    assert named - {""} <= known
    assert "initialize" in code(DOCUMENT)


def test_every_addition_is_told_with_its_capability() -> None:
    (additions,) = [table for table in tables(DOCUMENT) if table.heading == "Additions"]
    named = {name.strip() for row in additions.rows for name in row[0].split(",")} - WHOLE
    assert named - {""} <= {*METHODS, *NOTIFICATIONS}
    told = {name.strip() for row in additions.rows for name in row[2].split(",")} - {""}
    assert told == {*methods.CAPABILITIES} - OF_THE_DIALECT
    structs = {*NOTIFICATIONS.values(), *TYPES.values()}
    structs |= {struct for pair in METHODS.values() for struct in pair}
    known = {name.strip("?") for struct in structs for name, _ in members(struct)}
    words = {word for row in additions.rows for word in re.findall(r"\w+", row[1])}
    assert words - {"all", "entries", "of", "result", "roots", "update"} <= known
