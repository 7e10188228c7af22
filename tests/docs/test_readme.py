"""The README's examples run, and give what it shows."""

import json
import os
import re
import shlex
import subprocess
import sys
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.docs.markdown import Block, blocks
from tests.docs.serving import serving
from tests.locate import EXECNODE, ROOT

README = ROOT / "README.md"
URL = "unix:///run/user/1000/execnode/node.sock"
PROGRAMS = blocks(README, "python", "text")
ENVIRONMENT = os.environ | {"PATH": f"{EXECNODE.parent}:{os.environ['PATH']}"}

# How the Codex CLI begins, and has a command run.
CODEX = (
    {"id": 1, "method": "initialize", "params": {"clientName": "codex-environment"}},
    {"method": "initialized"},
    {
        "id": 2,
        "method": "process/start",
        "params": {
            "processId": "1",
            "argv": ["/bin/sh", "-c", "echo done"],
            "cwd": "file:///",
            "env": {},
            "tty": False,
        },
    },
)

# What differs from run to run and from machine to machine.
CHANGING = {
    r"unix://[\w./-]+": "URL",
    r"\b[0-9a-f]{8}\b": "REF",
    r"/dev/pts/\d+": "PTS",
    r" +": " ",
    r"\d+ running \d+ s": "PID running N s",
    r'"method":"\w+"': "METHOD",
}


def steady(text: str) -> str:
    for pattern, word in CHANGING.items():
        text = re.sub(pattern, word, text)
    return text


@pytest.mark.parametrize(
    ("program", "output"),
    list(zip(PROGRAMS[::2], PROGRAMS[1::2], strict=True)),
    ids=["async", "files", "sync"],
)
def test_a_python_example_prints_what_is_shown(
    program: Block, output: Block, node_url: str, tmp_path: Path
) -> None:
    code = program.text.replace(URL, node_url)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.stderr, done.stdout) == ("", output.text)


def test_the_shell_session_goes_as_shown(socket_dir: Path) -> None:
    serve, session, *_ = blocks(README, "console")
    assert serve.text == f"$ execnode serve\n{URL}\n"
    with serving(socket_dir) as url:
        session = replace(session, text=session.text.replace(URL, url))
        assert steady(_played(session, socket_dir)) == steady(session.text)


@pytest.mark.parametrize("session", blocks(README, "console")[2:4], ids=["sandbox", "rules"])
def test_a_session_without_a_node_goes_as_shown(session: Block, tmp_path: Path) -> None:
    assert _played(session, tmp_path).replace(str(tmp_path), "/home/me") == session.text


def test_what_an_agent_is_to_start_starts(tmp_path: Path) -> None:
    [configuration] = blocks(README, "json")
    server = json.loads(configuration.text)["mcpServers"]["execnode"]
    command = [server["command"], *server["args"]]
    rules = tmp_path / "project" / "my.rules"
    rules.parent.mkdir()
    rules.write_text('prefix_rule(["git", "push"], "prompt")\n')
    asked = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "agent", "version": "1"},
        },
    }
    done = subprocess.run(
        [word.replace("/home/me", str(tmp_path)) for word in command],
        env=ENVIRONMENT,
        input=json.dumps(asked) + "\n",
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["result"]["serverInfo"]["name"] == "execnode", done.stderr


def test_a_client_of_the_codex_exec_server_is_served_as_shown(tmp_path: Path) -> None:
    *_, shown = blocks(README, "console")
    command, url = shown.text.splitlines()
    assert f"CODEX_EXEC_SERVER_URL={url} codex" in blocks(README, "sh")[-1].text
    _, _, *options = shlex.split(command.removeprefix("$ "))
    assert url in options
    here = [option.replace(url, "ws://127.0.0.1:0") for option in options]
    with serving(tmp_path, *here) as bound, connect(bound) as socket:
        for message in CODEX:
            socket.send(json.dumps(message))
        told = [json.loads(socket.recv(10)) for _ in range(5)]
    assert [each["id"] for each in told if "id" in each] == [1, 2]
    chunks = [each["params"].get("chunk", "") for each in told if "method" in each]
    assert b"".join(map(b64decode, chunks)) == b"done\n"
    assert told[-1] == {"method": "process/closed", "params": {"processId": "1", "seq": 3}}


def _played(session: Block, folder: Path) -> str:
    """What a terminal would show, when the commands of a session are run in a folder."""
    commands = [line[2:] for line in session.text.splitlines() if line.startswith("$ ")]
    done = subprocess.run(
        ["bash", "-c", _script(commands)],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def _script(commands: list[str]) -> str:
    """Bash that shows each command before it runs it, as a terminal would."""
    lines = ["""show() { local code=$?; printf '$ %s\\n' "$1"; return $code; }"""]
    for command in commands:
        quoted = command.replace("'", "'\\''")
        lines += [f"show '{quoted}'", command]
    return "\n".join(lines)
