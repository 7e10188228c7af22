"""docs/client.md: its examples print what they show, and it tells of all that there is."""

import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from execnode import client
from execnode.client import blocking
from execnode.client.http import HttpOptions
from execnode.client.options import Options, StartOptions
from tests.docs.markdown import Block, blocks, code, tables
from tests.locate import ROOT
from tests.web import Web, answer

DOCUMENT = ROOT / "docs" / "client.md"
EXAMPLES = blocks(DOCUMENT, "python", "text")
TABLES = {table.columns[0]: table for table in tables(DOCUMENT)}
NODE = "unix:///run/user/1000/execnode/node.sock"
SITE = "http://127.0.0.1:8000"


def program(example: Block) -> str:
    """A whole program: most examples are what stands inside the `async with` of the first."""
    if "async" not in example.text and "await" not in example.text:
        return example.text
    first = EXAMPLES[0].text
    if example is EXAMPLES[0]:
        return first
    head, tail = first.split("        print(", 1)
    return head + textwrap.indent(example.text, " " * 8) + tail.partition("\n")[2]


@pytest.mark.parametrize(
    ("example", "output"), list(zip(EXAMPLES[::2], EXAMPLES[1::2], strict=True))
)
def test_an_example_prints_what_is_shown(
    example: Block, output: Block, node_url: str, tmp_path: Path
) -> None:
    with Web({"/": answer(body=b"a page")}) as web:
        text = program(example).replace(NODE, node_url).replace(SITE, web.url)
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True
        )
    assert (done.stderr, done.stdout) == ("", output.text)


def told(column: str, cell: int = 0) -> set[str]:
    return {name for row in TABLES[column].rows for name in row[cell].split(", ")}


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_public_name_is_told() -> None:
    text = code(DOCUMENT)
    assert [name for name in client.__all__ if name not in text] == []


def test_every_option_is_told() -> None:
    options = [table for table in tables(DOCUMENT) if table.columns[0] == "option"]
    connecting, both, starting = (
        {name for row in table.rows for name in row[0].split(", ")} for table in options
    )
    assert connecting == {*inspect.signature(client.connect).parameters} - {"target"}
    assert both == {*Options.__annotations__}
    assert starting == {*StartOptions.__annotations__} - {*Options.__annotations__}
    assert all(f"`{name}`" in DOCUMENT.read_text() for name in HttpOptions.__annotations__)


def test_every_part_of_processes_and_files_is_told() -> None:
    assert told("part of a Process") == names(client.Process) | {
        *("args", "pid", "ref", "sandbox", "unlimited")
    }
    assert told("part of Files") == names(client.Files)


def test_every_error_is_told_with_what_it_is() -> None:
    errors = {
        name: kind
        for name, kind in vars(client).items()
        if name in client.__all__ and isinstance(kind, type) and issubclass(kind, Exception)
    }
    rows = {row[0]: row[1].split(",")[0] for row in TABLES["execnode.client"].rows}
    assert set(rows) == set(errors)
    for name, base in rows.items():
        assert base.rpartition(".")[2] in {each.__name__ for each in errors[name].__mro__[1:]}


def test_what_is_said_of_the_facade_without_async_is_there() -> None:
    assert "timeout" in inspect.signature(blocking.Process.wait).parameters
    assert all(hasattr(each, "close") for each in (blocking.Process, blocking.File))
