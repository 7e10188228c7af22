"""docs/dependencies.md gives a reason for every dependency."""

import re
import tomllib

from tests.docs.markdown import tables
from tests.locate import ROOT


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    reasons = {
        table.heading: {row[0] for row in table.rows}
        for table in tables(ROOT / "docs" / "dependencies.md")
    }
    build = names(project["build-system"]["requires"])
    assert reasons == {
        "At run time": names(project["project"]["dependencies"]),
        "To build": build,
        "To develop": names(project["dependency-groups"]["dev"]) - build,
    }
