"""Commands in a sandbox, and what leaves it."""

from pathlib import Path

import pytest

from tests.cli.programs import RunningNode
from tests.mcp.clients import Person, Setting, connected, names, shell, text

pytestmark = pytest.mark.anyio

STDIO: Setting = ("stdio", "auto")
RULES = """
prefix_rule(pattern=["git", "init"], decision="prompt")
prefix_rule(pattern=["mkdir"], decision="allow")
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    file = tmp_path / "my.rules"
    file.write_text(RULES)
    return str(file)


async def test_a_command_stays_inside_and_is_told_so(folder: Path) -> None:
    async with connected(STDIO, folder, "--sandbox", "read-only") as client:
        result = await shell(client, "touch done")
    assert names(folder) == []
    assert result.structured_content["exit_code"] == 1
    assert "sandbox" in text(result)


async def test_what_is_accepted_runs_outside_and_its_neighbours_inside(
    folder: Path, rules: str
) -> None:
    person = Person("accept")
    options = ["--sandbox", "read-only", "--rules", rules]
    async with connected(STDIO, folder, *options, person=person) as client:
        await shell(client, "git init -q; touch done; mkdir made")
        assert names(folder) == [".git", "made"]
        await shell(client, "for each in 1; do mkdir again; touch done; done")
    assert names(folder) == [".git", "again", "made"]
    assert len(person.asked) == 1
    assert "outside the sandbox" in person.asked[0]


async def test_a_shell_that_runs_outside_leaves_no_place_for_what_it_would_have_run(
    folder: Path, tmp_path: Path
) -> None:
    """Outside nobody asks; so what its script was accepted for is still asked about inside."""
    rules = tmp_path / "shells.rules"
    rules.write_text(RULES + 'prefix_rule(pattern=["bash"], decision="prompt")')
    (folder / "again").write_text("#!/bin/sh\ngit init -q\n")
    (folder / "again").chmod(0o755)
    person = Person("accept")
    options = ["--sandbox", "read-only", "--rules", str(rules)]
    async with connected(STDIO, folder, *options, person=person) as client:
        await shell(client, "bash -c 'git init -q'; ./again")
    assert names(folder) == [".git", "again"]
    assert len(person.asked) == 2
    assert "/git init -q" in person.asked[1]


async def test_what_is_declined_does_not_run_inside_either(folder: Path, rules: str) -> None:
    options = ["--sandbox", "workspace-write", "--rules", rules]
    async with connected(STDIO, folder, *options, person=Person("decline")) as client:
        await shell(client, "for each in 1; do git init -q; touch done; done")
    assert names(folder) == ["done"]


async def test_on_a_node_a_command_leaves_the_sandbox_as_a_whole_or_not(
    folder: Path, rules: str, socket_dir: Path
) -> None:
    with RunningNode("--listen", f"unix://{socket_dir}/node.sock") as node:
        options = ["--node", node.url, "--sandbox", "read-only", "--rules", rules]
        async with connected(STDIO, folder, *options, person=Person("accept")) as client:
            await shell(client, "mkdir made && git init -q", workdir=str(folder))
            assert names(folder) == [".git", "made"]
            await shell(client, "mkdir again && touch done", workdir=str(folder))
    assert names(folder) == [".git", "made"]
