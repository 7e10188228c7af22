"""process/start: what a child is given, and how a start that fails says so."""

import errno
import os
import resource
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Launch
from tests.server.running import NodeProcess, gone
from tests.server.wire import PATH, Json, Refused, Wire, eventually, resumed, starting

MALFORMED = 0  # no message at all

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def failure(error: Refused) -> tuple[int, str, str, int]:
    assert isinstance(error.data, dict)
    assert error.data["name"] == errno.errorcode[error.data["errno"]]
    assert error.message == f"{os.strerror(error.data['errno'])} (os error {error.data['errno']})"
    return error.code, error.data["stage"], error.data["name"], error.data["errno"]


def fails(wire: Wire, argv: list[Any] | str, **params: object) -> Refused:
    name = f"failing {len(wire.seen)}"
    error = wire.refused("process/start", **starting(argv, name, **params))
    # Nothing is left of it: the name is free.
    assert wire.run(["true"], name).exit_code == 0
    return error


# --- what a child gets ---------------------------------------------------------------------------


def test_a_start_is_answered_before_the_first_notification(wire: Wire) -> None:
    for i in range(50):
        request = wire.call("process/start", **starting("echo x", f"p{i}"))
        message = wire.step()
        assert message["id"] == request
        wire.ended(f"p{i}")
    result = wire.answers[1 + 1]["result"]
    assert set(result) == {"processId", "sandboxType", "pid", "ref", "maxBytes"}
    assert result["sandboxType"] == "none"
    assert result["processId"] == "p0"


def test_the_records_of_a_process_come_in_order_to_the_last(wire: Wire) -> None:
    seen = wire.run("for i in 1 2 3; do echo out$i; echo err$i >&2; done; exit 5")
    assert seen.stdout == b"out1\nout2\nout3\n"
    assert seen.stderr == b"err1\nerr2\nerr3\n"
    assert seen.exited == {
        "processId": "p",
        "seq": seen.seq - 1,
        "exitCode": 5,
        "sandboxDenied": False,
        "reason": "exit",
    }
    assert seen.closed is not None
    assert {name: each["bytes"] for name, each in seen.closed["streams"].items()} == {
        "stdout": 15,
        "stderr": 15,
    }


def test_a_child_has_nothing_but_what_it_was_given(wire: Wire) -> None:
    seen = wire.run(["/usr/bin/env", "-0"], env={"A": "1", "Ü": "é"})
    assert sorted(seen.stdout.decode().split("\0")) == ["", "A=1", "Ü=é"]
    script = "pwd; printf '%s.' \"$@\"; cat; umask"
    seen = wire.run(["/bin/sh", "-c", script, "sh", "a b", "ü", ""], "q", cwd="file:///proc/")
    assert seen.stdout.decode() == "/proc\na b.ü..0022\n"
    script = "import os; print(os.getpid() == os.getpgid(0) == os.getsid(0))"
    assert wire.run([sys.executable, "-S", "-c", script], "r").stdout == b"True\n"


def test_descriptors_of_the_node_do_not_reach_a_child(wire: Wire) -> None:
    assert wire.run(["ls", "/proc/self/fd"]).stdout == b"0\n1\n2\n3\n"  # 3 is the folder


def test_arg0_is_what_the_program_sees(wire: Wire) -> None:
    argv = ["/bin/sh", "-c", "cat /proc/$$/cmdline"]
    assert wire.run(argv, arg0="-login").stdout.startswith(b"-login\0-c\0")
    assert wire.run(argv, "q", arg0=None).stdout.startswith(b"/bin/sh\0")


def test_a_program_is_looked_up_in_the_childs_path(wire: Wire, tmp_path: Path) -> None:
    program = tmp_path / "greet"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    assert wire.run(["greet"], env={"PATH": f"/nowhere:{tmp_path}"}).stdout == b"hello\n"
    assert failure(fails(wire, ["greet"]))[1:3] == ("execve", "ENOENT")
    # Without a PATH of its own, that of the node counts.
    assert wire.run(["true"], "q", env={}).exit_code == 0


def test_bytes_that_are_not_utf8_go_in_and_out(wire: Wire, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)  # noqa: PTH102 - bytes
    uri = tmp_path.as_uri() + "/%FF"
    script = b'pwd; printf %s "$1" "$X\xfe"'
    seen = wire.run(
        ["/bin/sh", "-c", script, "sh", b"\xe9"],
        cwd=uri,
        env={b"X": b"\xfd", "PATH": PATH},
    )
    assert seen.stdout == folder + b"\n\xe9\xfd\xfe"
    listed = next(each for each in wire.processes() if each["processId"] == "p")
    assert listed["argv"] == ["/bin/sh", "-c", script, "sh", b"\xe9"]
    assert listed["cwd"] == uri


def test_a_variable_of_the_node_that_is_not_utf8_passes_to_a_child(launch: Launch) -> None:
    node = launch(env={b"ODD\xff": b"\xfe\x80", b"SHELL": b"/bin/\xff", b"PLAIN": b"1"})
    policy = {
        "inherit": "all",
        "ignoreDefaultExcludes": True,
        "exclude": [],
        "set": {},
        "includeOnly": [],
    }
    with node.connect() as wire:
        seen = wire.run(["/usr/bin/env", "-0"], env={}, envPolicy=policy)
        assert b"ODD\xff=\xfe\x80" in seen.stdout.split(b"\0")
        assert b"PLAIN=1" in seen.stdout.split(b"\0")


def test_a_shell_whose_name_is_not_utf8_does_not_keep_clients_out(
    launch: Launch, tmp_path: Path
) -> None:
    shell = os.fsencode(tmp_path) + b"/\xffsh"
    os.symlink("/bin/sh", shell)  # noqa: PTH211 - bytes
    node = launch(env={b"SHELL": shell, b"HOME": b"/\xff", b"TMPDIR": b"/tmp/"})
    with Wire.to(node.url) as wire:
        info = wire.handshake()["environmentInfo"]
        assert info["shell"]["path"] == "/bin/sh"
        assert info["userHomeDir"] == "file:///%FF"


def test_a_terminal_has_the_size_that_was_asked_for(wire: Wire) -> None:
    script = "stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo terminal"
    assert wire.run(script, tty=True).pty == b"24 80\r\nterminal\r\n"
    seen = wire.run(script, "q", tty=True, size={"rows": 7, "cols": 200})
    assert seen.pty == b"7 200\r\nterminal\r\n"
    assert seen.closed is not None
    assert set(seen.closed["streams"]) == {"pty"}


def test_a_terminal_can_be_resized(wire: Wire) -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done"
    wire.start(script, tty=True)
    wire.says(b"ready")
    assert wire.request("process/resize", processId="p", size={"rows": 5, "cols": 6}) == {}
    assert wire.ended().pty.endswith(b"5 6\r\n")
    assert wire.request("process/resize", processId="p", size={"rows": 5, "cols": 6}) == {}
    wire.run(["true"], "pipes")
    assert wire.refused("process/resize", processId="pipes", size={"rows": 1, "cols": 1}).code == (
        -32600
    )
    bad: list[Json] = [{"rows": 0, "cols": 1}, {"rows": 1, "cols": 65536}, {"rows": 1}, {}]
    for size in bad:
        assert wire.refused("process/resize", processId="p", size=size).code == -32602


def test_resource_limits_are_set(wire: Wire) -> None:
    limits = {"rlimits": {"nofile": 77, "core": [0, 0], "fsize": [1000, 2000]}}
    seen = wire.run("ulimit -n; ulimit -Sf; ulimit -Hf; ulimit -c", limits=limits)
    assert seen.stdout.split()[0] == b"77"
    assert seen.stdout.split()[3] == b"0"
    for bad in (
        {"nosuch": 1},
        {"nofile": -1},
        {"nofile": [5, 4]},
        {"nofile": [1]},
        {"nofile": "1"},
    ):
        params = starting(["true"], "f", limits={"rlimits": bad})
        assert wire.refused("process/start", **params).code == -32602


# --- what is wrong with the request --------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"argv": []}, -32602),
        ({"argv": "true"}, -32602),
        ({"argv": [1]}, -32602),
        ({"argv": [None]}, -32602),
        ({"argv": ["true", {}]}, -32602),
        ({"argv": [""]}, -32603),
        ({"argv": ["true", "a\0b"]}, -32603),
        ({"argv": ["tr\0ue"]}, -32603),
        ({"arg0": "a\0b"}, -32603),
        ({"arg0": 5}, -32602),
        ({"env": {"A": "a\0b"}}, -32603),
        ({"env": {"A\0B": "a"}}, -32603),
        ({"env": {"A=B": "a"}}, -32602),
        ({"env": {"": "a"}}, -32602),
        ({"env": {"A": 1}}, -32602),
        ({"env": {1: "A"}}, MALFORMED),
        ({"env": []}, -32602),
        ({"env": None}, -32602),
        ({"cwd": "tmp"}, -32602),
        ({"cwd": ""}, -32602),
        ({"cwd": "file:///a%00b"}, -32602),
        ({"cwd": "http://x/"}, -32602),
        ({"cwd": "file://elsewhere/"}, -32602),
        ({"cwd": "file:///a?b"}, -32602),
        ({"cwd": 5}, -32602),
        ({"tty": "yes"}, -32602),
        ({"tty": None}, -32602),
        ({"tty": 1}, -32602),
        ({"pipeStdin": None}, -32602),
        ({"processId": None}, -32602),
        ({"processId": 1}, -32602),
        ({"processId": b"p"}, -32602),
        ({"processId": "x" * 4097}, -32602),
        ({"size": {"rows": 0, "cols": 80}}, -32602),
        ({"size": {"rows": 24, "cols": 2**64 - 1}}, -32602),
        ({"timeoutMs": -1}, -32602),
        ({"timeoutMs": 2**64 - 1}, -32602),
        ({"timeoutMs": 1.0}, -32602),
        ({"graceMs": "1"}, -32602),
        ({"digest": "md5"}, -32602),
        ({"retention": {"mode": "keep"}}, -32602),
        ({"retention": {"mode": "block", "maxBytes": -5}}, -32602),
        ({"retention": {"mode": "block", "maxBytes": 2**63 - 1}}, -32600),
        ({"sandbox": {"permissions": {"type": "managed"}}}, -32602),
        ({"sandbox": {}}, -32602),
        ({"enforceManagedNetwork": True}, -32603),
        ({"networkProxy": {}}, -32603),
        ({"envPolicy": {"inherit": "all"}}, -32602),
        ({"shellSnapshot": {"scopeId": "", "shell": {"name": "sh", "path": "/bin/sh"}}}, -32602),
    ],
    ids=str,
)
def test_a_request_that_cannot_be_met_is_refused(wire: Wire, change: Json, code: int) -> None:
    params = {**starting(["true"], "f"), **change}
    wire.send({"id": 1, "method": "process/start", "params": params})
    message = wire.receive()
    assert message["error"]["code"] == (-32600 if code == MALFORMED else code)
    assert message["id"] == (-1 if code == MALFORMED else 1)
    assert wire.processes() == []


@pytest.mark.parametrize("missing", ["processId", "argv", "cwd", "env", "tty"])
def test_a_missing_member_is_named(wire: Wire, missing: str) -> None:
    params = starting(["true"])
    del params[missing]
    error = wire.refused("process/start", **params)
    assert (error.code, error.message) == (-32602, f"missing field `{missing}`")


def test_a_name_that_is_taken_is_refused_also_when_its_process_has_ended(wire: Wire) -> None:
    wire.run(["true"])
    error = wire.refused("process/start", **starting(["true"]))
    assert (error.code, error.message) == (-32600, "process p already exists")


@pytest.mark.parametrize("name", ["", "ü", "a b", "x" * 4096, "\0", "€" * 1000])
def test_any_text_is_a_name(wire: Wire, name: str) -> None:
    wire.start("cat", name, pipeStdin=True)
    write = {"processId": name, "chunk": b"hi"}
    assert wire.request("process/write", **write) == {"status": "accepted"}
    assert wire.says(b"hi", name)
    assert wire.request("process/terminate", processId=name)["running"] is True
    assert wire.ended(name).exit_code == 137


# --- what the system refuses ---------------------------------------------------------------------


def test_a_program_or_folder_that_is_not_there(wire: Wire, tmp_path: Path) -> None:
    error = fails(wire, ["/no/such"])
    assert failure(error) == (-32603, "execve", "ENOENT", errno.ENOENT)
    assert error.data["path"] == "/no/such"
    error = fails(wire, ["true"], cwd="file:///no/such/folder")
    assert failure(error) == (-32603, "chdir", "ENOENT", errno.ENOENT)
    assert error.data["path"] == "/no/such/folder"
    folder = tmp_path / "gone"
    folder.mkdir()
    assert wire.run(["true"], "before", cwd=folder.as_uri()).exit_code == 0
    folder.rmdir()
    assert failure(fails(wire, ["true"], cwd=folder.as_uri()))[1:3] == ("chdir", "ENOENT")
    file = tmp_path / "file"
    file.touch()
    assert failure(fails(wire, ["true"], cwd=file.as_uri()))[1:3] == ("chdir", "ENOTDIR")
    assert failure(fails(wire, [f"{file}/x"]))[1:3] == ("execve", "ENOTDIR")


def test_a_path_that_is_not_utf8_can_be_told_in_an_error(wire: Wire) -> None:
    error = fails(wire, [b"/no/\xff"])
    assert failure(error)[1:3] == ("execve", "ENOENT")
    assert error.data["path"] == "/no/\\xff"
    error = fails(wire, ["true"], cwd="file:///no/%FE")
    assert error.data["path"] == "/no/\\xfe"


def test_a_file_that_is_no_program(wire: Wire, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo hi\n")
    assert failure(fails(wire, [str(plain)]))[1:3] == ("execve", "EACCES")
    plain.chmod(0o755)
    assert failure(fails(wire, [str(plain)]))[1:3] == ("execve", "ENOEXEC")
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert failure(fails(wire, [str(script)]))[1:3] == ("execve", "ENOENT")
    assert failure(fails(wire, [str(tmp_path)]))[1:3] == ("execve", "EACCES")


def test_a_program_that_is_being_written(wire: Wire, tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    busy.write_bytes(Path("/bin/true").read_bytes())
    busy.chmod(0o755)
    with busy.open("ab"):
        assert failure(fails(wire, [str(busy)]))[1:3] == ("execve", "ETXTBSY")
    assert wire.run([str(busy)], "later").exit_code == 0


def test_arguments_or_variables_that_are_too_long(wire: Wire) -> None:
    assert failure(fails(wire, ["true", "x" * 200_000]))[1:3] == ("execve", "E2BIG")
    assert failure(fails(wire, ["true", *["x" * 100_000] * 50]))[1:3] == ("execve", "E2BIG")
    assert failure(fails(wire, ["true"], env={"X": "x" * 200_000}))[1:3] == ("execve", "E2BIG")


def test_failed_starts_leave_nothing_open(launch: Launch) -> None:
    node = launch()
    with node.connect() as wire:
        wire.run(["true"], "first")
        fails(wire, ["/no/such"])
        assert eventually(lambda: not node.children())
        before = node.descriptors()
        for _ in range(300):
            wire.call("process/start", **starting(["/no/such"], "f"))
            wire.call("process/start", **starting(["true"], "f", cwd="file:///no/such"))
        last = wire.call("environment/status")
        wire.answer(last)
        assert node.descriptors() == before
        assert node.children() == set()
    node.check()


def test_a_node_without_descriptors_says_so_and_recovers(launch: Launch) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    node = launch(prepare=few)
    with node.connect() as wire:
        ids = [wire.call("process/start", **starting(["sleep", "9"], f"p{i}")) for i in range(64)]
        refusals = []
        for request_id in ids:
            try:
                wire.answer(request_id)
            except Refused as error:
                refusals.append(failure(error))
        assert {(code, name) for code, _, name, _ in refusals} == {(-32603, "EMFILE")}
        assert len(wire.processes()) > 3
        # What it has still works, and when something ends there is room again.
        assert wire.request("process/terminate", processId="p0")["running"] is True
        wire.ended("p0")
        wire.request("process/terminate", processId="p1")
        wire.ended("p1")
        assert wire.run(["echo", "again"], "again").stdout == b"again\n"
    node.check()


@root_only
def test_a_node_that_may_not_fork_says_so_and_recovers(launch: Launch) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (3, 3))  # the node, its guardian and one more

    node = launch(uid=100_000 + os.getpid(), prepare=few)  # all processes of a user count
    with node.connect() as wire:
        assert wire.run(["true"], "first").exit_code == 0
        wire.start(["sleep", "1000"], "running")
        for _ in range(3):
            error = wire.refused("process/start", **starting(["true"], "f"))
            assert failure(error) == (-32603, "clone", "EAGAIN", errno.EAGAIN)
        assert wire.request("process/terminate", processId="running")["running"] is True
        assert wire.ended("running").exit_code == 137
        assert wire.run(["echo", "again"], "f").stdout == b"again\n"
    node.check()


def test_starts_and_their_errors_do_not_disturb_each_other(wire: Wire) -> None:
    starts = [starting(["/no/such"] if i % 3 else "echo $$", f"p{i}") for i in range(60)]
    ids = [wire.call("process/start", **params) for params in starts]
    for i, request_id in enumerate(ids):
        if i % 3:
            with pytest.raises(Refused, match="No such file"):
                wire.answer(request_id)
        else:
            pid = wire.answer(request_id)["pid"]
            assert wire.ended(f"p{i}").stdout == b"%d\n" % pid


def test_a_link_that_is_lost_in_the_middle_of_a_start_leaves_a_process_to_come_back_to(
    node: NodeProcess,
) -> None:
    with ExitStack() as stack:
        wire = stack.enter_context(node.connect())
        wire.call("process/start", **starting("echo on; exec sleep 1000"))
        wire.close()
        again = stack.enter_context(resumed(node.url, wire.session))
        assert eventually(lambda: len(again.processes()) == 1)
        again.attach()
        again.says(b"on")
        pid = again.processes()[0]["pid"]
        assert again.request("process/terminate", processId="p")["running"] is True
        assert again.ended().exit_code == 128 + signal.SIGKILL
        assert gone(pid)
