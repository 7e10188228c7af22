"""docs/mcp.md: its example prints what is shown, and its tables are those of the code."""

import json
import os
import subprocess
import sys
from pathlib import Path

from execnode.mcp.tools import TOOLS
from tests.docs.markdown import blocks, tables
from tests.locate import EXECNODE, ROOT

DOCUMENT = ROOT / "docs" / "mcp.md"


def test_the_example_prints_what_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    rules, client = blocks(DOCUMENT, "python")
    (folder / "my.rules").write_text(rules.text)
    (folder / "client.py").write_text(client.text)
    [session] = blocks(DOCUMENT, "console")
    command, _, shown = session.text.partition("\n")
    assert command == "$ python client.py"
    done = subprocess.run(
        [sys.executable, "client.py"],
        cwd=folder,
        env={**os.environ, "PATH": f"{EXECNODE.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert (done.stderr, done.stdout) == ("", shown.replace("/home/me/work", str(folder)))


def test_the_configurations_are_json() -> None:
    configurations = [json.loads(block.text) for block in blocks(DOCUMENT, "json")]
    assert [list(each["mcpServers"]) for each in configurations] == [["execnode"]] * 2


def test_the_table_of_tools_is_that_of_the_code() -> None:
    [table] = (each for each in tables(DOCUMENT) if each.columns[0] == "tool")
    told = {name: takes.split(", ") for name, takes, _ in table.rows}
    assert told == {tool.name: list(tool.input_schema["properties"]) for tool in TOOLS}
