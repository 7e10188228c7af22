"""The MCP inspector lists the tools and calls them."""

from pathlib import Path
from typing import Any

from tests.interop.inspector import inspect

RULES = 'prefix_rule(pattern=["git", "status"], decision="prompt")'


def call(folder: Path, options: list[str], tool: str, *arguments: str) -> Any:
    words = [word for each in arguments for word in ("--tool-arg", each)]
    return inspect(options, "tools/call", ["--tool-name", tool, *words], folder)


def test_it_lists_the_tools(tmp_path: Path) -> None:
    tools = inspect([], "tools/list", [], tmp_path)["tools"]
    assert [tool["name"] for tool in tools] == ["shell", "exec_command", "write_stdin"]


def test_it_runs_a_command(tmp_path: Path) -> None:
    result = call(tmp_path, [], "shell", "command=echo hello; pwd; exit 3", "login=false")
    assert result["structuredContent"]["output"] == f"hello\n{tmp_path}\n"
    assert result["structuredContent"]["exit_code"] == 3


def test_it_starts_a_command_that_runs_on(tmp_path: Path) -> None:
    arguments = ("cmd=cat", "tty=true", "login=false", "yield_time_ms=250")
    result = call(tmp_path, [], "exec_command", *arguments)
    assert isinstance(result["structuredContent"]["session_id"], int)


def test_since_it_cannot_ask_the_default_decides(tmp_path: Path) -> None:
    rules = tmp_path / "my.rules"
    rules.write_text(RULES)
    command = ("command=git status; touch done", "login=false")
    declined = call(tmp_path, ["--rules", str(rules)], "shell", *command)
    assert declined["isError"]
    assert declined["structuredContent"]["exit_code"] == 1
    assert not (tmp_path / "done").exists()
    allow = ["--rules", str(rules), "--without-elicitation", "allow"]
    accepted = call(tmp_path, allow, "shell", *command)
    assert accepted["structuredContent"]["exit_code"] == 0
    assert (tmp_path / "done").exists()
