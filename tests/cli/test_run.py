"""`execnode run` with pipes."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.programs import (
    PATIENCE,
    Program,
    RunningNode,
    alive,
    eventually,
    execnode,
    from_removed_folder,
    lines,
)
from tests.locate import SHELL_WORDS
from tests.locate import execnode as execnode_words


@pytest.fixture(params=["here", "on a node"])
def where(request: pytest.FixtureRequest) -> list[str]:
    """Options for both places where a command can run."""
    if request.param == "here":
        return []
    node: RunningNode = request.getfixturevalue("node")
    return ["--node", node.url]


# ---- output and exit codes -----------------------------------------------------------------------


def test_stdout_stderr_and_the_exit_code_pass_through(where: list[str]) -> None:
    done = execnode("run", *where, "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        (["true"], 0, None),
        (["sh", "-c", "exit 255"], 255, None),
        (["sh", "-c", "kill -KILL $$"], 137, None),
        (["sh", "-c", "kill -USR1 $$"], 138, None),
        (["no-such-program"], 127, "no-such-program: execve: No such file or directory"),
        (["./no/such"], 127, "./no/such: execve: No such file or directory"),
        (["/etc/passwd"], 126, "/etc/passwd: execve: Permission denied"),
        (["/etc"], 126, "/etc: execve: "),
        (["--cwd", "/no/such", "--", "true"], 125, "/no/such: chdir: No such file or directory"),
        (["--timeout", "0.1", "sleep", "100"], 124, None),
        (["--timeout", "9d", "true"], 0, None),
    ],
)
def test_exit_codes_are_those_of_a_shell(
    node: RunningNode, command: list[str], code: int, error: str | None
) -> None:
    done = node.run("run", *command)
    assert (done.returncode, done.stdout) == (code, b"")
    if error is not None:
        assert done.stderr.decode().startswith(f"error: {error}")


def test_a_time_that_is_over_is_told(node: RunningNode) -> None:
    done = node.run("run", "--timeout", "100ms", "sh", "-c", "echo began; sleep 100")
    assert (done.returncode, done.stdout) == (124, b"began\n")
    assert b"--timeout" in done.stderr


def test_a_grace_lets_the_command_end_by_itself(node: RunningNode) -> None:
    script = "trap 'echo goodbye; exit 9' TERM; echo hello; while :; do sleep 0.01; done"
    done = node.run("run", "--timeout", "0.2", "--grace", "10", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (124, b"hello\ngoodbye\n")


def test_a_command_line_typed_as_one_word_gets_a_hint() -> None:
    done = execnode("run", "echo hello")
    assert done.returncode == 127
    assert b"hint: give the program and its arguments apart" in done.stderr


def test_options_after_the_command_are_the_commands(where: list[str]) -> None:
    done = execnode("run", *where, "echo", "--tty", "--", "--json", "-h")
    assert done.stdout == b"--tty -- --json -h\n"


def test_output_arrives_while_the_command_runs(
    program: type[Program], where: list[str], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = program("run", *where, "--", "sh", "-c", f"echo first; cat {fifo}")
    assert running.line() == "first"
    fifo.write_text("second\n")
    assert running.line() == "second"
    assert running.ends() == 0


def test_much_output_arrives_whole_through_a_small_retention(node: RunningNode) -> None:
    script = "import os; [os.write(1, bytes([n % 251]) * 40000) for n in range(200)]"
    command = [sys.executable, "-c", script]
    done = node.run("run", "--retention", "block:64K", "--", *command)
    expected = b"".join(bytes([n % 251]) * 40000 for n in range(200))
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(expected).digest()


# ---- what it is run with -------------------------------------------------------------------------


def test_stdin_is_passed_on_byte_by_byte(where: list[str]) -> None:
    data = bytes(range(256)) * 8192
    done = execnode("run", *where, "cat", input=data)
    assert done.returncode == 0
    assert done.stdout == data


def test_stdin_can_be_kept_back(node: RunningNode) -> None:
    done = node.run("run", "--no-stdin", "cat", input=b"ignored")
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_standard_descriptor_that_is_closed_hurts_nobody(node: RunningNode, closed: int) -> None:
    redirection = ["<&-", ">&-", "2>&-"][closed]
    command = f"exec {redirection} {SHELL_WORDS} run sh -c 'cat; echo o; echo e >&2'"
    done = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        env={**os.environ, **node.env},
        timeout=PATIENCE,
        input=b"",
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout == (b"" if closed == 1 else b"o\n")
    assert done.stderr == (b"" if closed == 2 else b"e\n")


def test_a_program_that_reads_no_input_ends_all_the_same(
    program: type[Program], node: RunningNode
) -> None:
    running = program("run", "--node", node.url, "--", "sh", "-c", "exec <&-; echo done")
    assert running.popen.stdin is not None
    with suppress(BrokenPipeError):  # once it is gone
        while True:
            running.popen.stdin.write(bytes(65536))
    assert running.line() == "done"
    assert running.ends() == 0


def test_the_environment_is_the_nodes_with_additions(node: RunningNode) -> None:
    done = execnode(
        *["run", "-e", "A=1", "--env", "HERE", "-e", "EMPTY=", "--", "env"],
        env={**node.env, "HERE": "there"},
    )
    variables = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert (variables["A"], variables["HERE"], variables["EMPTY"]) == ("1", "there", "")
    assert "PATH" in variables


def test_a_cleared_environment_has_only_the_additions(where: list[str]) -> None:
    done = execnode("run", *where, "--clear-env", "-e", "A=1", "--", "/usr/bin/env")
    assert done.stdout == b"A=1\n"


def test_a_relative_folder_begins_at_the_nodes_own(where: list[str], tmp_path: Path) -> None:
    assert execnode("run", *where, "--cwd", "/usr", "pwd").stdout == b"/usr\n"
    (tmp_path / "deep").mkdir()
    done = execnode("run", "--cwd", "deep", "pwd", cwd=tmp_path, env=_PATHS)
    assert done.stdout.decode() == f"{tmp_path}/deep\n"


@pytest.mark.parametrize("sandbox", [(), ("--sandbox", "workspace-write")])
def test_no_other_folder_takes_the_place_of_one_that_was_removed(sandbox: tuple[str, ...]) -> None:
    for folder in ((), ("--cwd", "below")):
        done = from_removed_folder("run", *sandbox, *folder, "pwd")
        error, hint = done.stderr.decode().splitlines()
        assert (done.returncode, done.stdout) == (125, b"")
        assert error == "error: the node's working folder was removed"
        assert hint == "hint: name another with --cwd"
    assert from_removed_folder("run", *sandbox, "--cwd", "/usr", "pwd").stdout == b"/usr\n"


_PATHS = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_arguments_and_output_need_not_be_utf8(where: list[str]) -> None:
    done = execnode(b"run", *where, b"--", b"printf", b"%s", b"caf\xe9\xff")
    assert done.stdout == b"caf\xe9\xff"


# ---- limits --------------------------------------------------------------------------------------


def test_each_process_has_its_limits(where: list[str]) -> None:
    done = execnode(
        *["run", *where, "--rlimit", "nofile=17:19", "--rlimit", "core=0"],
        *["--", "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c"],
    )
    assert (done.returncode, done.stdout) == (0, b"17\n19\n0\n")


def test_a_limit_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    with RunningNode("--no-cgroups", "--listen", f"unix://{tmp_path}/sock") as node:
        done = node.run("run", "--limit", "pids=50", "--limit", "memory=512M", "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (125, b"")
        assert b"limits.pids cannot be had on this node" in done.stderr
        assert b"hint: --limit NAME=VALUE,optional" in done.stderr
        optional = ["--limit", "pids=50,optional", "--limit", "memory=512M,optional"]
        done = node.run("run", *optional, "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (0, b"ran\n")
        assert done.stderr == b"execnode: the node cannot limit pids, memory (--limit)\n"


def test_the_last_of_a_limits_values_holds(where: list[str]) -> None:
    limits = ["--limit", "pids=1", "--limit", "pids=100,optional"]
    done = execnode("run", *where, *limits, "--", "sh", "-c", "true & wait; echo ran")
    assert (done.returncode, done.stdout) == (0, b"ran\n")


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--limit", "pids=0", "--limit pids: 0 is out of range"),
        ("--limit", "cpu=0", "--limit cpu: 0.0 is out of range"),
        ("--limit", "disk=1G", "'disk=1G' is not like memory=512M, pids=100 or cpu=1.5"),
        ("--rlimit", "nofile", "'nofile' is not like nofile=256, as=1G or cpu=10:20"),
    ],
)
def test_wrong_limits_are_refused(option: str, value: str, error: str) -> None:
    done = execnode("run", option, value, "--", "true")
    assert (done.returncode, done.stdout) == (2, b"")
    assert error in done.stderr.decode()


def test_a_limit_that_the_system_does_not_know_is_refused(where: list[str]) -> None:
    done = execnode("run", *where, "--rlimit", "nonsense=1", "--", "true")
    assert done.returncode == 125
    assert b"unknown resource limit `nonsense`, expected one of as, core" in done.stderr


# ---- signals -------------------------------------------------------------------------------------


def interruptible(where: list[str]) -> list[str]:
    script = (
        "trap 'echo INT; exit 5' INT; trap 'echo TERM; exit 6' TERM; trap 'echo HUP; exit 7' HUP"
    )
    return ["run", *where, "--", "sh", "-c", f"{script}; echo ready; while :; do sleep 0.01; done"]


@pytest.mark.parametrize(
    ("number", "name", "code"),
    [(signal.SIGINT, "INT", 5), (signal.SIGTERM, "TERM", 6), (signal.SIGHUP, "HUP", 7)],
)
def test_a_signal_goes_to_the_command(
    program: type[Program], where: list[str], number: int, name: str, code: int
) -> None:
    running = program(*interruptible(where))
    assert running.line() == "ready"
    running.signal(number)
    assert running.line() == name
    assert running.ends() == code


def test_a_command_that_dies_of_the_signal_says_so(
    program: type[Program], node: RunningNode
) -> None:
    running = program("run", "--node", node.url, "--", "sh", "-c", "echo ready; exec sleep 100")
    running.line()
    running.signal(signal.SIGINT)
    assert running.ends() == 130


def test_a_second_ctrl_c_ends_the_whole_tree(program: type[Program], where: list[str]) -> None:
    ignores = "(trap '' INT TERM; exec sleep 100) & echo $!"
    script = f"trap 'echo INT' INT; {ignores}; echo $$; while :; do wait; done"
    running = program("run", *where, "--", "sh", "-c", script)
    pids = [int(running.line()), int(running.line())]
    running.signal(signal.SIGINT)
    assert running.line() == "INT"
    running.signal(signal.SIGINT)
    assert running.popen.stderr is not None
    assert b"ending it" in running.popen.stderr.readline()
    running.signal(signal.SIGINT)  # and a third does not wait for its grace
    assert running.ends() in (137, 143)
    assert eventually(lambda: not any(map(alive, pids)))


def test_ctrl_c_ends_what_an_ended_command_left_behind(
    program: type[Program], where: list[str]
) -> None:
    running = program("run", *where, "--", "sh", "-c", "sleep 100 & echo $!; exit 4")
    pid = int(running.line())
    while alive(pid):  # the first may come before the shell's end is known
        running.signal(signal.SIGINT)
        time.sleep(0.2)
    assert running.ends() in (4, 130)


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["plain", "json"])
def test_ctrl_c_works_while_nobody_reads_the_output(
    program: type[Program], node: RunningNode, form: list[str], tmp_path: Path
) -> None:
    script = f"echo $$ >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec yes"
    running = program("run", *form, "--", "sh", "-c", script, env=node.env)
    assert eventually(lambda: full(running))
    running.signal(signal.SIGINT)
    pid = int((tmp_path / "pid").read_text())
    assert eventually(lambda: not alive(pid))
    assert running.popen.stdout is not None
    output = running.popen.stdout.read()  # and nothing of it is lost
    if form:
        *events, end = lines(output)
        output = "".join(each["text"] for each in events[1:]).encode()
        assert len(output) == end["streams"]["stdout"]["bytes"]
    assert set(output) == set(b"y\n")
    assert running.ends() == 130


def full(running: Program) -> bool:
    """Whether its stdout's pipe takes no more; small writes fill it with few bytes."""
    assert running.popen.stdout is not None
    fionread = fcntl.ioctl(running.popen.stdout, 0x541B, bytes(4))
    return int.from_bytes(fionread, sys.byteorder) >= 16384


def test_when_the_reader_leaves_the_command_is_ended(
    program: type[Program], where: list[str]
) -> None:
    running = program("run", *where, "--", "sh", "-c", "echo $$; exec yes")
    pid = int(running.line())
    assert running.popen.stdout is not None
    running.popen.stdout.close()
    assert running.ends() == 141
    assert eventually(lambda: not alive(pid))
    assert running.errors() == ""


def test_a_full_disk_is_an_error(node: RunningNode) -> None:
    with Path("/dev/full").open("wb") as full_disk:
        done = subprocess.run(
            execnode_words("run", "--", "yes"),
            stdin=subprocess.DEVNULL,
            stdout=full_disk,
            stderr=subprocess.PIPE,
            env={**os.environ, **node.env},
            timeout=PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        255,
        b"error: writing its output: No space left on device\n",
    )


def test_a_pipe_that_somebody_made_non_blocking_gets_everything(node: RunningNode) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with subprocess.Popen(
        execnode_words("run", "--", "head", "-c", "1000000", "/dev/zero"),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        env={**os.environ, **node.env},
    ) as running:
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            assert len(pipe.read()) == 1000000
        assert running.wait(PATIENCE) == 0


# ---- for scripts ---------------------------------------------------------------------------------


def test_json_tells_everything_in_lines(where: list[str]) -> None:
    script = r"echo out; sleep 0.1; printf '\377' >&2; exit 3"
    done = execnode("run", *where, "--json", "--", "sh", "-c", script)
    assert done.returncode == 3
    started, *output, ended = lines(done.stdout)
    assert set(started) == {"event", "ref", "pid"}
    assert started["event"] == "started"
    assert output == [
        {"event": "output", "stream": "stdout", "offset": 0, "text": "out\n"},
        {"event": "output", "stream": "stderr", "offset": 0, "base64": "/w=="},
    ]
    assert [ended[name] for name in ("event", "exitCode", "reason", "signal")] == [
        *("ended", 3, "exit", None)
    ]
    assert ended["streams"]["stdout"]["bytes"] == 4
    assert ended["streams"]["stdout"]["digest"].startswith("crc32c:")


def test_json_of_a_command_that_cannot_start_has_no_events() -> None:
    done = execnode("run", "--json", "no-such-program")
    assert (done.returncode, done.stdout) == (127, b"")


def test_dropped_output_is_told(node: RunningNode) -> None:
    script = "import os; os.write(1, bytes(3000000))"
    command = ["--retention", "drop-oldest:4K", "--", sys.executable, "-c", script]
    done = node.run("run", "--json", *command)
    events = lines(done.stdout)
    shown = sum(len(e["text"]) for e in events if e["event"] == "output")
    missing = sum(e["bytes"]["stdout"] for e in events if e["event"] == "gap")
    assert shown + missing == events[-1]["streams"]["stdout"]["bytes"] == 3000000


# ---- where it is run -----------------------------------------------------------------------------


def test_no_node_at_the_url_is_an_error_with_a_hint(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/none.sock"
    done = execnode("run", "--node", url, "true")
    assert done.returncode == 125
    error, hint = done.stderr.decode().splitlines()
    assert error == f"error: no node at {url}: No such file or directory"
    assert hint == f"hint: is it running? to start it: execnode serve --listen {url}"


def test_a_node_can_be_a_program(tmp_path: Path) -> None:
    serve = f"stdio:{SHELL_WORDS} serve --listen stdio --encoding cbor"
    done = execnode("run", "--node", serve, "cat", input=b"through two pipes\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"through two pipes\n", b"")


def test_an_empty_url_means_here() -> None:
    done = execnode("run", "--node", "", "echo", "here", env={"EXECNODE_NODE": "unix:///nowhere"})
    assert done.stdout == b"here\n"


def test_a_node_that_goes_away_is_told(program: type[Program], tmp_path: Path) -> None:
    serve = f"exec {SHELL_WORDS} serve --listen stdio --encoding cbor"
    script = f"echo $$ >{tmp_path}/pid; {serve}"
    (tmp_path / "serve").write_text(script)
    running = program(
        "run",
        "--node",
        f"stdio:sh {tmp_path}/serve",
        "--",
        "sh",
        "-c",
        "echo ready; exec sleep 100",
    )
    assert running.line() == "ready"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert running.ends() == 255
    assert running.errors().startswith("error: ")


def test_ctrl_c_while_connecting_ends_it(program: type[Program], tmp_path: Path) -> None:
    running = program("run", "--node", "stdio:sh -c 'exec cat >/dev/null'", "true")
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    assert eventually(lambda: children.read_text())
    running.signal(signal.SIGINT)
    assert running.ends() == 130
    assert running.errors().strip() == ""


# ---- sandbox -------------------------------------------------------------------------------------


def test_a_command_in_a_sandbox(where: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="xs-", dir="/var/tmp") as folder:
        work = Path(folder).resolve()
        command = ["--cwd", str(work), "--", "sh", "-c", "echo x > f && echo done"]
        done = execnode("run", *where, "--sandbox", "read-only", *command)
        assert done.returncode == 2
        assert f"its sandbox does not let it write {work}/f (--sandbox)" in done.stderr.decode()
        done = execnode("run", *where, "--sandbox", "workspace-write", *command)
        assert (done.returncode, done.stdout) == (0, b"done\n")
        profile = work / "profile.json"
        files = {"type": "unrestricted"}
        permissions = {"type": "managed", "file_system": files, "network": "restricted"}
        told = {"permissions": permissions, "windowsSandboxLevel": "disabled"}
        profile.write_text(json.dumps(told))
        done = execnode("run", *where, "--sandbox", str(profile), *command)
        assert (done.returncode, done.stdout) == (0, b"done\n")
        for text, message in (
            ("{", "no JSON"),
            ("{}", "missing field `permissions`"),
            ('{"permissions": {"type": "x"}}', "unknown variant `x`"),
        ):
            profile.write_text(text)
            done = execnode("run", *where, "--sandbox", str(profile), *command)
            assert (done.returncode, message in done.stderr.decode()) == (2, True)
        done = execnode("run", *where, "--sandbox", str(work / "none"), *command)
        assert (done.returncode, b"No such file" in done.stderr) == (2, True)
