"""`execnode serve`."""

import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.programs import PATIENCE, Person, Program, RunningNode, alive, eventually, execnode


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- where it listens ----------------------------------------------------------------------------


def test_by_default_it_listens_in_the_runtime_folder_of_the_user(socket_dir: Path) -> None:
    with RunningNode(env={"XDG_RUNTIME_DIR": str(socket_dir)}) as node:
        assert node.url == f"unix://{socket_dir}/execnode/node.sock"
        assert mode(socket_dir / "execnode") == 0o700
        assert mode(socket_dir / "execnode" / "node.sock") == 0o600
        assert node.run("run", "echo", "hi").stdout == b"hi\n"
        hint = execnode("ps", env={"XDG_RUNTIME_DIR": str(socket_dir)}).stderr.decode()
        assert f"export EXECNODE_NODE={node.url}" in hint


@pytest.mark.parametrize("variable", ["XDG_STATE_HOME", "HOME"])
def test_without_one_it_listens_in_the_state_folder(socket_dir: Path, variable: str) -> None:
    with RunningNode(env={variable: str(socket_dir)}) as node:
        state = socket_dir if variable == "XDG_STATE_HOME" else socket_dir / ".local" / "state"
        assert node.url == f"unix://{state}/execnode/node.sock"
        assert mode(state / "execnode") == 0o700


def test_a_folder_that_others_can_enter_is_refused(socket_dir: Path) -> None:
    folder = socket_dir / "execnode"
    folder.mkdir()
    folder.chmod(0o755)
    done = execnode("serve", env={"XDG_RUNTIME_DIR": str(socket_dir)})
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"error: {folder} is open to others\nhint: chmod 700 {folder}\n"
    )


def test_every_url_is_a_line_in_order(program: type[Program], socket_dir: Path) -> None:
    urls = ["tcp://127.0.0.1:0", f"unix://{socket_dir}/a.sock", f"unix://{socket_dir}/b.sock"]
    token = socket_dir / "token"
    options = [word for url in urls for word in ("--listen", url)]
    node = program("serve", *options, "--token-file", str(token), stdin=subprocess.DEVNULL)
    assert re.fullmatch(r"tcp://127\.0\.0\.1:\d+", node.line())
    assert [node.line(), node.line()] == urls[1:]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("unix:///no/such/folder/node.sock", "No such file or directory; make its folder first"),
        ("tcp://192.0.2.1:1", "Cannot assign requested address"),
    ],
)
def test_what_cannot_be_bound_is_one_line(url: str, why: str) -> None:
    done = execnode("serve", "--listen", url, "--auth", "none")
    assert (done.returncode, done.stdout) == (1, b"")
    errors = [line for line in done.stderr.decode().splitlines() if "warning" not in line]
    assert len(errors) == 1
    assert errors[0] == f"error: {url}: {why}"


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}"
        done = execnode("serve", "--listen", url, "--auth", "none")
    assert done.returncode == 1
    said = f"error: {url}: Address already in use; choose another port, or 0 for any that is free"
    assert done.stderr.decode().splitlines()[-1] == said


@pytest.mark.parametrize(
    ("cert", "key", "why"),
    [
        ("none", "text", "{folder}/none: No such file or directory"),
        ("text", "none", "{folder}/none: No such file or directory"),
        ("text", "text", "no certificate and its key in {folder}/text and {folder}/text"),
    ],
)
def test_a_certificate_that_is_none_is_told(tmp_path: Path, cert: str, key: str, why: str) -> None:
    (tmp_path / "text").write_text("nothing of the kind")
    files = ["--tls-cert", f"{tmp_path}/{cert}", "--tls-key", f"{tmp_path}/{key}"]
    done = execnode("serve", "--listen", "wss://127.0.0.1:0", "--auth", "none", *files)
    assert done.returncode == 1
    assert f"error: {why.format(folder=tmp_path)}" in done.stderr.decode().splitlines()


def test_two_nodes_do_not_share_a_socket(node: RunningNode) -> None:
    done = execnode("serve", "--listen", node.url)
    assert done.returncode == 1
    assert done.stderr.decode() == f"error: {node.url}: another node listens there already\n"


def test_what_was_bound_before_the_failure_is_taken_back(socket_dir: Path) -> None:
    good = socket_dir / "good.sock"
    done = execnode("serve", "--listen", f"unix://{good}", "--listen", "unix:///no/such/x.sock")
    assert done.returncode == 1
    assert not good.exists()


# ---- tokens --------------------------------------------------------------------------------------


def test_a_token_is_made_and_asked_for(socket_dir: Path) -> None:
    token = socket_dir / "token"
    with RunningNode("--listen", "tcp://127.0.0.1:0", "--token-file", str(token)) as node:
        assert mode(token) == 0o600
        assert len(token.read_text().strip()) >= 40
        assert node.run("run", "--token-file", str(token), "echo", "in").stdout == b"in\n"
        env = {**node.env, "EXECNODE_TOKEN_FILE": str(token)}
        assert execnode("run", "echo", "in", env=env).stdout == b"in\n"

        done = node.run("run", "echo", "in")
        assert (done.returncode, done.stdout) == (125, b"")
        assert b"hint: give its token with --token-file" in done.stderr
        wrong = socket_dir / "wrong"
        wrong.write_text("wrong")
        assert node.run("ps", "--token-file", str(wrong)).returncode == 1
        done = node.run("ps", "--token-file", str(socket_dir / "none"))
        assert done.stderr.decode().startswith(f"error: --token-file {socket_dir}/none: No such")


def test_a_token_that_is_there_is_used(socket_dir: Path) -> None:
    token = socket_dir / "token"
    token.write_text("open sesame\n")
    token.chmod(0o600)
    with RunningNode("--listen", "tcp://127.0.0.1:0", "--token-file", str(token)) as node:
        assert node.run("run", "--token-file", str(token), "echo", "in").stdout == b"in\n"
    assert token.read_text() == "open sesame\n"
    assert os.listdir(socket_dir) == ["token"]  # noqa: PTH208 (names are all that is wanted)


@pytest.mark.parametrize(("bits", "text"), [(0o644, "secret"), (0o600, ""), (0o600, " \n")])
def test_a_token_file_that_is_no_secret_is_refused(socket_dir: Path, bits: int, text: str) -> None:
    token = socket_dir / "token"
    token.write_text(text)
    token.chmod(bits)
    done = execnode("serve", "--listen", "tcp://127.0.0.1:0", "--token-file", str(token))
    assert (done.returncode, done.stdout) == (1, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith(f"error: {token} ")
    assert hint.startswith("hint: ")


def test_without_a_file_named_the_token_is_the_users_and_told(socket_dir: Path) -> None:
    env = {"XDG_STATE_HOME": str(socket_dir)}
    with RunningNode("--listen", "tcp://127.0.0.1:0", env=env) as node:
        token = socket_dir / "execnode" / "token"
        assert mode(token) == 0o600
        assert node.run("run", "--token-file", str(token), "echo", "in").stdout == b"in\n"
        node.signal(signal.SIGTERM)
        assert node.ends() == 0
        assert f"need the token in {token}" in node.errors()


def test_letting_everybody_in_has_to_be_said_and_is_repeated(socket_dir: Path) -> None:
    with RunningNode("--listen", "tcp://127.0.0.1:0", "--auth", "none") as node:
        assert node.run("run", "echo", "in").stdout == b"in\n"
        node.signal(signal.SIGTERM)
        assert node.ends() == 0
        assert "warning: --auth none: everybody who can connect" in node.errors()


# ---- stdio ---------------------------------------------------------------------------------------


def test_a_stdio_node_ends_with_its_input(program: type[Program]) -> None:
    node = program("serve", "--listen", "stdio", "--encoding", "cbor")
    assert node.popen.stdin is not None
    node.popen.stdin.close()
    assert node.ends() == 0
    assert node.popen.stdout is not None
    assert node.popen.stdout.read() == b""


def test_urls_beside_stdio_are_told_on_stderr(program: type[Program], socket_dir: Path) -> None:
    url = f"unix://{socket_dir}/node.sock"
    node = program("serve", "--listen", "stdio", "--listen", url, "--encoding", "cbor")
    assert node.popen.stderr is not None
    assert node.popen.stderr.readline().decode() == f"{url}\n"
    assert execnode("run", "--node", url, "echo", "hi").stdout == b"hi\n"


# ---- its settings --------------------------------------------------------------------------------


def test_limits_are_kept_and_name_their_options(socket_dir: Path) -> None:
    options = ["--max-processes", "1", "--max-retention", "64K", "--max-frame", "64K"]
    with RunningNode("--listen", f"unix://{socket_dir}/node.sock", *options) as node:
        done = node.run("run", "--retention", "1G", "true")
        assert done.returncode == 125
        assert b"--max-retention" in done.stderr
        done = node.run("run", "--env", f"BIG={'x' * 100_000}", "true")
        assert done.returncode == 125
        assert b"--max-frame" in done.stderr


def test_finished_processes_are_kept_as_long_as_told(socket_dir: Path) -> None:
    options = ["--keep-finished", "0.05", "--session-ttl", "0.05", "--max-session-ttl", "0.05"]
    with RunningNode("--listen", f"unix://{socket_dir}/node.sock", *options) as node:
        ref = node.detached("--", "echo", "hi")
        assert eventually(lambda: ref.encode() not in node.run("ps", "--all").stdout)


def test_a_client_that_is_away_too_long_loses_its_processes(socket_dir: Path) -> None:
    with RunningNode(
        "--listen", f"unix://{socket_dir}/node.sock", "--max-session-ttl", "200ms"
    ) as node:
        done = node.run("run", "--detach", "--json", "--", "sleep", "1000")
        pid = int(re.search(rb'"pid":(\d+)', done.stdout)[1])  # type: ignore[index]
        assert eventually(lambda: not alive(pid))


def test_output_can_go_to_another_folder(socket_dir: Path) -> None:
    done = execnode("serve", "--spill-dir", str(socket_dir / "none"))
    assert done.returncode == 2
    spill = socket_dir / "spill"
    spill.mkdir()
    listen = ["--listen", f"unix://{socket_dir}/node.sock"]
    with RunningNode(*listen, "--spill-dir", str(spill), "--memory", "1M") as node:
        ref = node.detached("--retention", "8M", "--", "head", "-c", "6M", "/dev/zero")
        assert eventually(lambda: node.process(ref).closed)
        assert len(node.run("logs", ref).stdout) == 6 << 20


# ---- its end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_with_its_processes(socket_dir: Path, number: signal.Signals) -> None:
    with RunningNode("--listen", f"unix://{socket_dir}/node.sock") as node:
        done = node.run("run", "--detach", "--json", "--", "sleep", "1000")
        pid = int(re.search(rb'"pid":(\d+)', done.stdout)[1])  # type: ignore[index]
        node.signal(number)
        assert node.ends() == 0
        assert not alive(pid)
        assert not list(socket_dir.iterdir())
        assert node.errors() == ""


def test_it_leaves_its_processes_alone_if_told(socket_dir: Path) -> None:
    listen = ["--listen", f"unix://{socket_dir}/node.sock"]
    with RunningNode(*listen, "--keep-children") as node:
        done = node.run("run", "--detach", "--json", "--", "sleep", "1000")
        pid = int(re.search(rb'"pid":(\d+)', done.stdout)[1])  # type: ignore[index]
        try:
            node.signal(signal.SIGTERM)
            assert node.ends() == 0
            assert alive(pid)
        finally:
            os.kill(pid, signal.SIGKILL)


def test_nothing_survives_a_killed_node(socket_dir: Path) -> None:
    with RunningNode("--listen", f"unix://{socket_dir}/node.sock") as node:
        done = node.run("run", "--detach", "--json", "--", "sleep", "1000")
        pid = int(re.search(rb'"pid":(\d+)', done.stdout)[1])  # type: ignore[index]
        node.signal(signal.SIGKILL)
        assert eventually(lambda: not alive(pid))


def test_somebody_at_a_terminal_is_told_how_to_go_on(
    person: type[Person], socket_dir: Path
) -> None:
    url = f"unix://{socket_dir}/node.sock"
    someone = person("serve", "--listen", url)
    someone.sees(f"{url}\r\n")
    someone.sees("Ctrl-C ends it")
    someone.sees(f"export EXECNODE_NODE={url}")
    someone.type("\x03")
    assert someone.ends() == 0


def test_logging_goes_to_stderr(socket_dir: Path) -> None:
    listen = ["--listen", f"unix://{socket_dir}/node.sock"]
    with RunningNode(*listen, "--log-level", "info") as node:
        node.signal(signal.SIGTERM)
        assert node.popen.wait(PATIENCE) == 0
        assert "shutting down" in node.errors()
