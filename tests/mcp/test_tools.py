"""What the tools do with commands that nobody has to be asked about."""

from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.cli.programs import Program, RunningNode, alive, eventually
from tests.mcp.clients import Person, Setting, connected, shell, text

pytestmark = pytest.mark.anyio

STDIO: Setting = ("stdio", "auto")


def number_in(file: Path) -> int:
    """A process id that a command writes, once it has."""
    assert eventually(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


async def test_the_tools_are_listed(setting: Setting, folder: Path) -> None:
    async with connected(setting, folder) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools) == ["shell", "exec_command", "write_stdin"]
    for tool in tools.values():
        assert tool.description
        assert tool.input_schema["type"] == "object"
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        assert tool.annotations is not None
        assert tool.annotations.destructive_hint
    assert set(tools["shell"].input_schema["properties"]) == {
        "command",
        "workdir",
        "timeout_ms",
        "login",
    }


async def test_a_command_gives_its_output_and_exit_code(setting: Setting, folder: Path) -> None:
    async with connected(setting, folder) as client:
        result = await shell(client, "pwd; echo bad >&2; exit 3")
    assert not result.is_error
    assert result.structured_content["exit_code"] == 3
    assert result.structured_content["output"] == f"{folder}\nbad\n"
    assert text(result).startswith(f"{folder}\nbad\n[exit code 3, ")


async def test_a_command_runs_in_the_folder_that_is_named(folder: Path) -> None:
    (folder / "below").mkdir()
    async with connected(STDIO, folder) as client:
        below = await shell(client, "pwd", workdir="below")
        root = await shell(client, "pwd", workdir="/")
        missing = await shell(client, "pwd", workdir="missing")
    assert below.structured_content["output"] == f"{folder}/below\n"
    assert root.structured_content["output"] == "/\n"
    assert missing.structured_content["exit_code"] == 125
    assert "missing" in text(missing)


async def test_of_long_output_the_beginning_and_the_end_are_given(folder: Path) -> None:
    async with connected(STDIO, folder) as client:
        result = await shell(client, "seq 1000000")
    content = result.structured_content
    assert content["output"].startswith("1\n2\n3\n")
    assert content["output"].endswith("999999\n1000000\n")
    assert len(content["output"]) < 50_000
    assert f"{content['omitted_bytes']} bytes" in content["output"]


async def test_a_command_whose_time_is_over_ends_with_all_it_has_started(folder: Path) -> None:
    async with connected(STDIO, folder) as client:
        script = "echo first; sleep 60 & echo $! > pid; wait"
        result = await shell(client, script, timeout_ms=2000)
    assert result.structured_content["timed_out"] is True
    assert result.structured_content["exit_code"] == 124
    assert result.structured_content["output"] == "first\n"
    assert eventually(lambda: not alive(number_in(folder / "pid")))


async def test_a_call_that_is_cancelled_ends_its_command(setting: Setting, folder: Path) -> None:
    async with connected(setting, folder) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shell, client, "sleep 60 & echo $! > pid; wait")
            pid = await anyio.to_thread.run_sync(number_in, folder / "pid")
            assert alive(pid)
            tasks.cancel_scope.cancel()
        assert await anyio.to_thread.run_sync(eventually, lambda: not alive(pid))
        assert (await shell(client, "echo on")).structured_content["output"] == "on\n"


async def test_a_long_command_tells_that_it_goes_on(setting: Setting, folder: Path) -> None:
    told = anyio.Event()
    seen: list[tuple[float, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message))
        told.set()

    async with connected(setting, folder) as client, anyio.create_task_group() as tasks:

        async def call() -> None:
            arguments = {"command": "until [ -e end ]; do sleep 0.1; done", "login": False}
            await client.call_tool("shell", arguments, progress_callback=note)

        tasks.start_soon(call)
        await told.wait()
        (folder / "end").touch()
    assert seen[0][0] > 0
    assert seen[0][1] is not None
    assert seen[0][1].startswith("running")


async def test_a_session_on_a_terminal_is_typed_to(setting: Setting, folder: Path) -> None:
    async with connected(setting, folder) as client:
        start = {"cmd": "cat -n", "tty": True, "login": False, "yield_time_ms": 250}
        first = (await client.call_tool("exec_command", start)).structured_content
        assert first["exit_code"] is None
        wanted = {"session_id": first["session_id"], "chars": "hello\n"}
        seen = first["output"]
        while "1\thello" not in seen:
            typed = await client.call_tool("write_stdin", wanted)
            assert f"session_id {first['session_id']}" in text(typed)
            seen += typed.structured_content["output"]
            wanted["chars"] = ""
        wanted |= {"chars": "\x04", "yield_time_ms": 30_000}
        ended = await client.call_tool("write_stdin", wanted)
        assert ended.structured_content["session_id"] is None
        assert ended.structured_content["exit_code"] == 0


async def test_wrong_calls_are_told_what_is_wrong(folder: Path) -> None:
    async with connected(STDIO, folder) as client:
        unknown = await client.call_tool("write_stdin", {"session_id": 1})
        assert unknown.is_error
        assert "there is no session 1" in text(unknown)
        wrong = await shell(client, "true", timeout_ms=-1)
        assert wrong.is_error
        assert text(wrong).startswith("Wrong arguments for shell: timeout_ms: Input should be ")
        assert len(text(wrong).splitlines()) == 1
        with pytest.raises(MCPError, match="no tool nothing"):
            await client.call_tool("nothing", {})
        with pytest.raises(MCPError, match="waits for this"):
            await client.session.call_tool("shell", {"command": "true"}, request_state="x")


@pytest.mark.parametrize("setting", [("stdio", "legacy"), STDIO], ids="-".join)
async def test_what_was_started_ends_with_the_client(setting: Setting, folder: Path) -> None:
    async with connected(setting, folder) as client:
        script = "sleep 60 & echo $! > pid; wait"
        start = {"cmd": script, "login": False, "yield_time_ms": 250}
        answer = await client.call_tool("exec_command", start)
        assert answer.structured_content["session_id"] is not None
        pid = number_in(folder / "pid")
        assert alive(pid)
    assert eventually(lambda: not alive(pid))


async def test_the_tools_run_commands_on_a_node(
    setting: Setting, rules: str, folder: Path, socket_dir: Path
) -> None:
    (socket_dir / "there").mkdir()
    with RunningNode("--listen", f"unix://{socket_dir}/node.sock") as node:
        options = ["--node", node.url, "--rules", rules]
        person = Person("accept")
        async with connected(setting, folder, *options, person=person) as client:
            there = str(socket_dir / "there")
            result = await shell(client, "echo $PPID; pwd", workdir=there)
            parent, where = result.structured_content["output"].split()
            forbidden = await shell(client, "touch done && git push", workdir=there)
    assert int(parent) == node.pid
    assert where == there
    assert forbidden.structured_content["refusal"] == "forbidden"
    assert not (socket_dir / "there" / "done").exists()
    [asked] = person.asked  # there is no second gate to see what an expansion becomes
    assert "It cannot be told apart: the script has an expansion." in asked


async def test_on_a_node_a_rule_is_not_dodged_by_what_cannot_be_told_apart(
    rules: str, folder: Path, socket_dir: Path
) -> None:
    with RunningNode("--listen", f"unix://{socket_dir}/node.sock") as node:
        options = ["--node", node.url, "--rules", rules]
        async with connected(STDIO, folder, *options, person=Person("decline")) as client:
            for script in ("X=1 git push", "(git push)", "git push # so"):
                result = await shell(client, f"touch {socket_dir}/done; {script}")
                assert result.structured_content["refusal"] == "declined"
    assert not (socket_dir / "done").exists()


async def test_what_was_started_over_http_ends_with_its_session(folder: Path) -> None:
    with Program("mcp", "--listen", "http://127.0.0.1:0", cwd=folder) as program:
        url = await anyio.to_thread.run_sync(program.line)
        async with Client(url, mode="legacy") as other, Client(url, mode="legacy") as client:
            start = {"cmd": "echo $$ > pid; sleep 60", "login": False, "yield_time_ms": 250}
            answer = await client.call_tool("exec_command", start)
            session = answer.structured_content["session_id"]
            pid = number_in(folder / "pid")
            foreign = await other.call_tool("write_stdin", {"session_id": session})
            assert "there is no session" in text(foreign)
            assert alive(pid)
        assert await anyio.to_thread.run_sync(eventually, lambda: not alive(pid))
        assert program.popen.poll() is None
