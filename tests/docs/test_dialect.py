"""docs/dialect.md tells of every accepted difference, and of nothing else."""

from execnode.protocol import methods
from tests.docs.markdown import ROOT, code, tables
from tests.interop import compare, scenario

DOCUMENT = ROOT / "docs" / "dialect.md"


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
