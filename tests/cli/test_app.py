"""The frame: what is imported when, help, usage errors."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import RunningNode, execnode
from tests.locate import SHELL_WORDS
from tests.locate import execnode as execnode_words

VERBS = ("serve", "run", "ps", "attach", "logs", "kill", "mcp", "policy", "doctor", "completion")

_LOADED = """
import sys
sys.argv = ["execnode", *sys.argv[1:]]
from execnode.cli import main
try:
    main()
except SystemExit as end:
    print(end.code, *sorted(sys.modules), sep="\\n", file=sys.stderr)
"""


def loaded(*args: str) -> set[str]:
    """The modules that are imported when the verb is done."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    code, *modules = done.stderr.splitlines()
    assert code == "0", done.stderr
    return set(modules)


def test_help_imports_no_event_loop_no_verb_and_nothing_to_draw_with() -> None:
    modules = loaded("--help")
    assert not modules & {"anyio", "asyncio", "trio", "msgspec", "cbor2", "rich", "json", "logging"}
    assert {name for name in modules if name.startswith("execnode.")} == {
        "execnode.cli",
        "execnode.cli.app",
        "execnode.cli.failure",
        "execnode.cli.tell",
    }


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_help_imports_no_other_verb_and_no_event_loop(verb: str) -> None:
    modules = loaded(verb, "--help")
    assert not modules & {"anyio", "asyncio", "trio", "msgspec", "cbor2", "rich", "json", "logging"}
    verbs = {name for name in modules if name.startswith("execnode.cli.verbs.")}
    assert verbs == {f"execnode.cli.verbs.{verb}"}


@pytest.mark.parametrize("verb", [["run", "--", "true"], ["ps"]])
def test_a_verb_on_a_node_elsewhere_imports_no_server(node: RunningNode, verb: list[str]) -> None:
    modules = loaded(verb[0], "--node", node.url, *verb[1:])
    assert not modules & {"trio", "rich", "execnode.embedded"}
    assert not {n for n in modules if n.startswith(("execnode.server", "execnode.engine"))}


def test_a_command_without_a_node_imports_nothing_to_draw_with() -> None:
    modules = loaded("run", "--", "true")
    assert "execnode.server.node" in modules
    assert not modules & {"rich", "asyncio"}


def test_a_node_imports_no_client(node: RunningNode) -> None:
    maps = subprocess.run(
        [sys.executable, "-c", "import sys, execnode.cli.serve; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(maps.stdout.split())
    assert not modules & {"rich", "asyncio", "execnode.embedded"}
    assert not {name for name in modules if name.startswith("execnode.client")}


def test_help_lists_every_verb_and_shows_examples() -> None:
    done = execnode("--help")
    assert done.returncode == 0
    text = done.stdout.decode()
    for verb in VERBS:
        assert re.search(rf"^  {verb} +\S", text, re.MULTILINE)
    assert "Examples:" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_ends_with_examples(verb: str) -> None:
    done = execnode(verb, "-h")
    assert done.returncode == 0
    assert done.stderr == b""
    help_, _, examples = done.stdout.decode().partition("\nExamples:\n")
    assert f"Usage: execnode {verb}" in help_
    assert re.search(rf"^  .*execnode {verb}\b", examples, re.MULTILINE)


def test_the_version_is_the_packages() -> None:
    from execnode import __version__

    assert execnode("--version").stdout.decode() == f"execnode {__version__}\n"


def test_without_a_verb_the_help_is_shown_as_a_usage_error() -> None:
    done = execnode()
    assert done.returncode == 2
    assert b"Verbs:" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["frob"], "no such command 'frob'", "see execnode --help"),
        (["run"], "missing argument", "see execnode run --help"),
        (["run", "--frob", "ls"], "no such option", "see execnode run --help"),
        (["run", "--env"], "option '--env' requires an argument", "see execnode run --help"),
        (["run", "--timeout", "soon", "ls"], "'soon' is not a time", "see execnode run --help"),
        (["run", "--retention", "x:1", "ls"], "'x:1' is not like", "see execnode run --help"),
        (["run", "--env", "=x", "ls"], "'=x' has no name", "see execnode run --help"),
        (["run", "--node", "ftp://x", "ls"], "a node is at", None),
        (["run", "--detach", "ls"], "--detach needs a node", "start one with"),
        (["serve", "--memory", "much"], "'much' is not a size", "see execnode serve --help"),
        (["serve", "--listen", "http://x"], "expected ws://", "see execnode serve --help"),
        (["serve", "--ws-issuer", "me"], "--ws-issuer goes with", "see execnode serve --help"),
        (["serve", "--listen", "wss://x:0"], "--tls-cert FILE", "see execnode serve --help"),
        (
            ["serve", "--listen", "ws://127.0.0.1:0", "--allow-origin", "https://tools.example/"],
            "an origin is SCHEME://HOST[:PORT]",
            "see execnode serve --help",
        ),
        (["serve", "--max-frame", "1K"], "--max-frame: at least 64K", "see execnode serve --help"),
        (["completion"], "missing argument '{bash|zsh|fish}'", "see execnode completion --help"),
        (["ps"], "no node was named", "execnode serve"),
        (["attach", "x"], "no node was named", "execnode serve"),
        (["kill", "x"], "no node was named", "execnode serve"),
        (["logs", "x"], "no node was named", "execnode serve"),
    ],
)
def test_wrong_usage_is_an_error_line_a_hint_and_code_2(
    args: list[str], message: str, hint: str | None
) -> None:
    done = execnode(*args)
    error, *rest = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (2, b"")
    assert error.startswith("error: ")
    assert message in error
    assert len(rest) == (hint is not None)
    if hint is not None:
        assert rest[0].startswith("hint: ")
        assert hint in rest[0]


def test_a_reader_that_leaves_is_no_error() -> None:
    program = subprocess.run(
        f"{SHELL_WORDS} completion bash | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert program.stdout in (b"0\n", b"141\n")  # it may have written all before
    assert program.stderr == b""


@pytest.mark.parametrize(
    "args",
    [
        ["completion", "bash"],
        ["sandbox", "--profile", "read-only", "--explain"],
        ["serve", "--listen", "unix://{folder}/node.sock"],
        ["ps"],
        ["run", "--detach", "true"],
        ["logs", "--follow", "{ref}"],
    ],
)
def test_a_full_disk_is_an_error_in_one_line(
    node: RunningNode, socket_dir: Path, args: list[str]
) -> None:
    ref = node.detached("echo", "kept")
    words = [word.format(folder=socket_dir, ref=ref) for word in args]
    with Path("/dev/full").open("wb") as full_disk:
        done = into(full_disk.fileno(), *words, env=node.env)
    assert (done.returncode, done.stderr) == (
        1,
        b"error: writing its output: No space left on device\n",
    )


@pytest.mark.parametrize("args", [["ps", "--all"], ["serve", "--listen", "unix://{folder}/n.sock"]])
def test_a_reader_that_has_left_is_code_141(
    node: RunningNode, socket_dir: Path, args: list[str]
) -> None:
    unread, written = os.pipe()
    os.close(unread)
    try:
        done = into(written, *(word.format(folder=socket_dir) for word in args), env=node.env)
    finally:
        os.close(written)
    assert (done.returncode, done.stderr) == (141, b"")
    assert not any(socket_dir.iterdir())


def into(stdout: int, *args: str, env: dict[str, str]) -> "subprocess.CompletedProcess[bytes]":
    """Run the command with its stdout there."""
    return subprocess.run(
        execnode_words(*args),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **env},
        timeout=60,
        check=False,
    )


def test_ctrl_c_before_anything_has_begun_is_no_traceback() -> None:
    program = """
import signal, sys

class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == "execnode.cli.app":
            signal.raise_signal(signal.SIGINT)

from execnode.cli import main
sys.meta_path.insert(0, Interrupts())
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (130, b"")
