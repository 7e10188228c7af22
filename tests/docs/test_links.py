"""What the documents point to is there."""

from pathlib import Path

import pytest

from tests.docs.markdown import DOCUMENTS, anchors, links
from tests.locate import ROOT


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_between_documents_resolve(document: Path) -> None:
    for link in links(document):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_document_is_reached_from_the_readme(document: Path) -> None:
    readme = ROOT / "README.md"
    reached = {(ROOT / link.partition("#")[0]).resolve() for link in links(readme)}
    assert document == readme or document in reached
