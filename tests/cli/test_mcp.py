"""`execnode mcp` as a command: what it refuses, where it listens, how it ends."""

import re
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.programs import Program, alive, eventually, execnode, from_removed_folder

HELLO = (
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",'
    '"capabilities":{},"clientInfo":{"name":"test","version":"1"}}}'
)


def ask(url: str, **headers: str) -> int:
    """The status of a first request."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    kinds = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection.request("POST", parts.path, HELLO, {**kinds, **headers})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture
def web() -> Iterator[str]:
    with Program("mcp", "--listen", "http://127.0.0.1:0") as program:
        yield program.line()


def test_it_prints_where_it_listens(web: str) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/mcp", web)
    assert ask(web) == 200


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}],
    ids=["host", "origin"],
)
def test_a_foreign_web_page_does_not_get_in(web: str, headers: dict[str, str]) -> None:
    assert ask(web, **headers) in (403, 421)


def test_with_a_token_only_those_get_in_who_show_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    place = ("--listen", "http://0.0.0.0:0/here", "--allow-host", "machine.example")
    with Program("mcp", *place, "--auth-token-file", str(file)) as program:
        port = urlsplit(program.line()).port
        url = f"http://127.0.0.1:{port}/here"
        assert file.stat().st_mode & 0o777 == 0o600
        token = file.read_text().strip()
        assert ask(url) == 401
        assert ask(url, Authorization="Bearer wrong") == 401
        assert ask(url, Connection="Upgrade", Upgrade="websocket") == 401
        assert ask(url, Authorization=f"Bearer {token}") == 200
        named = {"Host": f"machine.example:{port}", "Authorization": f"Bearer {token}"}
        assert ask(url, **named) == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "http://10.0.0.5:1"], "give --auth-token-file"),
        (["--listen", "http://0.0.0.0:1", "--auth-token-file", "/t"], "with --allow-host"),
        (["--listen", "ftp://127.0.0.1:1"], "not like http://"),
        (["--listen", "http://127.0.0.1"], "has no port"),
        (["--listen", "http://127.0.0.1:99999"], "--listen http://127.0.0.1:99999: Port out of"),
        (["--allow-host", "x"], "for --listen"),
        (["--bash", "/bin/bash"], "no --rules to ask about"),
        (["--execve", "/w", "--node", "unix:///x", "--rules", "/r"], "does not go with --node"),
        (["--bash", "/b", "--node", "unix:///x", "--rules", "/r"], "does not go with --node"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str], words: str) -> None:
    done = execnode("mcp", *options)
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert done.stdout == b""


def test_rules_and_nodes_that_are_not_there_are_told(tmp_path: Path) -> None:
    done = execnode("mcp", "--rules", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert "No such file" in done.stderr.decode()
    done = execnode("mcp", "--node", f"unix://{tmp_path}/none")
    assert (done.returncode, done.stdout) == (1, b"")
    assert "no node at" in done.stderr.decode()


def test_a_working_folder_that_was_removed_is_told() -> None:
    done = from_removed_folder("mcp", "--sandbox", "workspace-write")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: the working folder: No such file or directory\n"


@pytest.mark.parametrize("option", ["--bash", "--execve"])
def test_a_program_that_is_none_is_told_before_anything_is_run(option: str, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("")
    done = execnode("mcp", "--rules", str(tmp_path / "rules"), option, str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, b"")
    said = f"error: {option} {tmp_path}/none: there is no program that can be executed\n"
    assert done.stderr.decode() == said


def test_it_ends_when_its_standard_input_does() -> None:
    done = execnode("mcp", input=HELLO.encode())  # without a new line, as some end
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 1
    assert b'"protocolVersion"' in done.stdout


def test_it_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "requests"
    file.write_text(HELLO + "\n")
    with file.open("rb") as stdin:
        done = execnode("mcp", stdin=stdin)
    assert done.returncode == 0
    assert b'"protocolVersion"' in done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("listen", [(), ("--listen", "http://127.0.0.1:0")], ids=["stdio", "http"])
def test_a_signal_ends_it_and_what_it_has_started(
    number: int, listen: tuple[str, ...], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    script = f"sleep 60 & echo $! > {pid}; wait"
    call = (
        '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"shell","arguments":'
        f'{{"command":"{script}","login":false}}}}}}'
    )
    begun = '{"jsonrpc":"2.0","method":"notifications/initialized"}'
    with Program("mcp", *listen) as program:
        if listen:
            assert ask(program.line()) == 200
        else:
            assert program.popen.stdin is not None
            program.popen.stdin.write(f"{HELLO}\n{begun}\n{call}\n".encode())
            assert eventually(lambda: pid.exists() and pid.read_text().endswith("\n"))
            assert alive(int(pid.read_text()))
        program.signal(number)
        assert program.ends() == 0
    if not listen:
        assert eventually(lambda: not alive(int(pid.read_text())))
