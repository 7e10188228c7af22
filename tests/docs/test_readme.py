"""The README's examples run, and give what it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, Block, blocks
from tests.docs.serving import EXECNODE, serving

README = ROOT / "README.md"
URL = "unix:///run/user/1000/execnode/node.sock"
PROGRAMS = blocks(README, "python", "text")

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
    ids=["async", "sync"],
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
    serve, session = blocks(README, "console")
    assert serve.text == f"$ execnode serve\n{URL}\n"
    commands = [line[2:] for line in session.text.splitlines() if line.startswith("$ ")]
    with serving(socket_dir) as url:
        done = subprocess.run(
            ["bash", "-c", _script(commands).replace(URL, url)],
            cwd=socket_dir,
            env=os.environ | {"PATH": f"{EXECNODE.parent}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    assert steady(done.stdout) == steady(session.text)


def _script(commands: list[str]) -> str:
    """Bash that shows each command before it runs it, as a terminal would."""
    lines = ["""show() { local code=$?; printf '$ %s\\n' "$1"; return $code; }"""]
    for command in commands:
        quoted = command.replace("'", "'\\''")
        lines += [f"show '{quoted}'", command]
    return "\n".join(lines)
