"""docs/sandbox.md: its examples run, and its tables tell what the tests and the helper tell."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from execnode.engine.programs import HELPER
from tests.docs.markdown import blocks, tables
from tests.locate import ROOT
from tests.sandbox.profiles import PROFILES

DOCUMENT = ROOT / "docs" / "sandbox.md"
EXAMPLES = [line for block in blocks(DOCUMENT, "sh") for line in block.text.splitlines()]
COLUMNS = ["ws/file", "ws/.git/config", "outside/file", "/tmp"]


@pytest.fixture(scope="module")
def workspace() -> Iterator[Path]:
    """A folder that is not in /tmp, with both commands in PATH."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        commands = Path(folder, "bin")
        commands.mkdir()
        (commands / "execnode-linux-sandbox").symlink_to(HELPER)
        execnode = commands / "execnode"
        execnode.write_text(f'#!/bin/sh\nexec {sys.executable} -m execnode "$@"\n')
        execnode.chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, workspace: Path) -> None:
    path = f"{workspace}/bin:/usr/local/bin:/usr/bin:/bin"
    (workspace / "made").write_text("made\n")
    done = subprocess.run(
        ["sh", "-c", example],
        cwd=workspace, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or "cat" not in example or "!" in example


def word(rights: str) -> str:
    """What the page says of the rights that the table of the tests has."""
    if "w" in rights:
        return "write"
    return {"r": "read", "-": "denied", "0": "invisible"}[rights[:1]]


def test_what_a_profile_allows_is_what_is_tried() -> None:
    [told] = [table for table in tables(DOCUMENT) if table.columns[0] == "profile"]
    cases = {case.name: case for case in PROFILES}
    assert len(told.rows) > 10
    for name, *cells, network in told.rows:
        tried = cases[name].places()
        assert cells == [word(tried[path]) if path in tried else "" for path in COLUMNS], name
        assert network == ("yes" if cases[name].online else "no"), name


def test_every_protection_is_told() -> None:
    [told] = [table for table in tables(DOCUMENT) if table.columns == ["name", "what helps"]]
    source = (ROOT / "src/engine/_seccomp/plan.c").read_text()
    assert [row[0] for row in told.rows] == re.findall(r'\[PROTECT_\w+\] = \{"([\w-]+)"', source)
