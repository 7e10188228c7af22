"""As much Markdown as our documents use: headings, fenced blocks, pipe tables, links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.locate import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BORDER = re.compile(r"(?<= )\|(?= )")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: what follows the fence, and the lines inside."""

    language: str
    text: str


@dataclass(frozen=True)
class Table:
    """A pipe table, the text of the heading above it, and its cells."""

    heading: str
    columns: list[str]
    rows: list[list[str]]


def blocks(document: Path, *languages: str) -> list[Block]:
    found = [Block(*match.groups()) for match in _FENCE.finditer(document.read_text())]
    return [block for block in found if block.language in languages]


def tables(document: Path) -> Iterator[Table]:
    heading = ""
    rows: list[list[str]] = []
    for line in [*_prose(document).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([_plain(cell) for cell in _BORDER.split(line.strip("|"))])
            continue
        if rows:
            yield Table(heading, rows[0], rows[2:])
            rows = []
        if line.startswith("#"):
            heading = _plain(line.lstrip("#"))


def anchors(document: Path) -> set[str]:
    """The names that links may give after a `#`, as the usual renderers make them."""
    lines = [line for line in _prose(document).splitlines() if line.startswith("#")]
    words = [_plain(line.lstrip("#")).lower() for line in lines]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in words}


def links(document: Path) -> list[str]:
    return _LINK.findall(_prose(document))


def code(document: Path) -> str:
    """What is set as code, inline or in blocks."""
    text = document.read_text()
    inline = re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
    return "\n".join([*inline, *(block for _, block in _FENCE.findall(text))])


def _prose(document: Path) -> str:
    return _FENCE.sub("", document.read_text())


def _plain(text: str) -> str:
    """Text without links and backticks."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "").strip(" |")
