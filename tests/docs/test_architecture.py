"""docs/architecture.md names files that are there."""

import re

import pytest

from tests.docs.markdown import code
from tests.locate import ROOT

DOCUMENT = ROOT / "docs" / "architecture.md"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\b\w+\.(?:c|py)\b", code(DOCUMENT)))))
def test_a_file_that_is_named_exists(name: str) -> None:
    assert list((ROOT / "src").rglob(name))
