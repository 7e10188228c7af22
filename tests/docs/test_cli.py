"""docs/cli.md tells of every verb and option; no document tells of one that is not there."""

import re
from importlib import import_module
from pathlib import Path

import click
import pytest

from execnode.cli.app import app
from tests.docs.markdown import DOCUMENTS, code
from tests.locate import ROOT

VERBS: list[str] = app.list_commands(click.Context(app))
# Options of programs that are not ours.
FOREIGN = {
    "--benchmark-only",
    "--fail",
    "--header",
    "--help",
    "--pipe",
    "--sandbox",
    "--save",
    "--server",
    "--uid",
    "--wait",
    "--concurrent-requests",
    "--strict",
    "--supervise",
}


def options(verb: str) -> set[str]:
    command = import_module(f"execnode.cli.verbs.{verb}").command
    assert isinstance(command, click.Command)
    below = command.commands.values() if isinstance(command, click.Group) else ()
    params = [each for one in (command, *below) for each in one.params]
    return {name for each in params for name in (*each.opts, *each.secondary_opts)}


def section(verb: str) -> str:
    text = (ROOT / "docs" / "cli.md").read_text()
    match = re.search(rf"^## execnode {verb}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"docs/cli.md has no section on {verb}"
    return match[1]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_documented(verb: str) -> None:
    told = section(verb) + "--node --token-file"  # these two have a section of their own
    missing = {option for option in options(verb) if option.startswith("--")}
    assert {option for option in missing if option not in told} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_that_a_document_names_exists(document: Path) -> None:
    known = FOREIGN.union(*map(options, VERBS))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", code(document)))
    assert named - known == set()
