"""The exec service by itself: no sessions, no wire."""

import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from execnode.engine.tree import Place
from execnode.environment.local.exec import ExecSettings, LocalExec
from execnode.environment.local.info import environment_info, user_shell
from execnode.environment.local.process import LocalProcess
from execnode.environment.local.runner import LocalRunner
from execnode.environment.local.start import ExecLimits, prepare, put_in_place
from execnode.environment.services import Environment
from execnode.protocol.errors import RpcError
from execnode.protocol.processes import EnvironmentPolicy, Limits, Retention, StartParams
from execnode.protocol.text import OsMap, OsText, OsTexts

PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def starting(script: str, **more: Any) -> StartParams:
    argv = OsTexts(["/bin/sh", "-c", script])
    return replace(StartParams("p", argv, "file:///", OsMap(PATH), False), **more)


@asynccontextmanager
async def service(**limits: Any) -> AsyncIterator[LocalExec]:
    settings = ExecSettings(limits=ExecLimits(**limits), adopt=False, guard=False)
    with trio.fail_after(20):
        async with LocalExec.open(settings) as execs:
            yield execs


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nothing announces."""
    with trio.fail_after(15):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.002)


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def output(process: LocalProcess) -> bytes:
    return b"".join(chunk.chunk for chunk in process.read(0, None).chunks)


@pytest.mark.trio
async def test_a_process_is_known_until_its_time_is_over() -> None:
    async with service(keep_seconds=0.05) as execs:
        process = execs.start(starting("echo hello; exit 3"), b"/bin/sh")
        assert execs.find(process.ref) is process
        assert list(execs.all()) == [process]
        await process.wait_closed()
        assert output(process) == b"hello\n"
        assert (process.exit_code, process.reason) == (3, "exit")
        await until(lambda: execs.find(process.ref) is None)
        assert list(execs.all()) == []
        assert execs.engine.processes == 0


@pytest.mark.trio
async def test_descriptors_are_handed_to_a_program_of_this_machine() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        async with Environment.local() as environment:
            assert isinstance(environment.exec, LocalRunner)
            script = ["/bin/sh", "-c", "echo hello >&3"]
            process = await environment.exec.start(script, inherit=[theirs.fileno()])
            assert await process.wait() == 0
        assert ours.recv(100) == b"hello\n"
        assert theirs.fileno() >= 0


@pytest.mark.trio
async def test_names_are_those_of_one_process_each() -> None:
    async with service() as execs:
        processes = [execs.start(starting("exit 0"), b"/bin/sh") for _ in range(50)]
        assert len({process.ref for process in processes}) == 50
        for process in processes:
            await process.wait_closed()


@pytest.mark.trio
async def test_waiting_for_what_has_happened_takes_no_time() -> None:
    async with service() as execs:
        process = execs.start(starting("exit 0"), b"/bin/sh")
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(process.wait)
                nursery.start_soon(process.wait_closed)
        await process.wait()
        await process.wait_closed()
        assert process.has_exited
        assert process.closed


@pytest.mark.trio
async def test_leaving_the_service_ends_its_processes() -> None:
    async with service() as execs:
        processes = [execs.start(starting("sleep 9 & sleep 9"), b"/bin/sh") for _ in range(3)]
    # Not even as a zombie.
    assert not [process for process in processes if exists(process.pid)]


@pytest.mark.trio
async def test_ending_everything_leaves_time_to_end_well() -> None:
    async with service() as execs:
        script = "trap 'echo bye; exit 5' TERM; echo on; while :; do :; done"
        polite = execs.start(starting(script), b"/bin/sh")
        deaf = execs.start(starting(script.replace("echo bye; exit 5", "")), b"/bin/sh")
        for process in (polite, deaf):
            await process.read_waiting(0, None, 10_000)
        await execs.end_all(100)
        assert (polite.exit_code, deaf.exit_code) == (5, 128 + signal.SIGKILL)
        assert output(polite) == b"on\nbye\n"
        assert (polite.closed, deaf.closed) == (True, True)
        assert (polite.reason, deaf.reason) == ("exit", "killed")
        await execs.end_all(100)  # nothing is left to do


@pytest.mark.trio
async def test_a_flood_of_output_leaves_other_tasks_their_turns() -> None:
    async with service() as execs:
        retention = Retention("drop-oldest", 65536)
        flood = starting("exec cat /dev/zero", retention=retention)
        processes = [execs.start(flood, b"/bin/sh") for _ in range(3)]
        longest, last = 0.0, trio.current_time()
        until_when = last + 0.3
        while last < until_when:
            await trio.sleep(0.001)
            now = trio.current_time()
            longest, last = max(longest, now - last), now
        assert longest < 0.15
        assert min(process.process.totals()["stdout"] for process in processes) > 1 << 20
        execs.abandon(processes)
        await until(lambda: execs.engine.processes == 0)


class Clumsy:
    """An owner of engine objects that cannot handle anything."""

    def __init__(self) -> None:
        self.events = 0

    def dispatch(self, _event: tuple[Any, ...]) -> None:
        self.events += 1
        raise RuntimeError("clumsy")


@pytest.mark.trio
async def test_a_mistake_with_one_event_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with service() as execs:
        engine, clumsy = execs.engine, Clumsy()
        victim = engine.spawn([b"/bin/true"], [b"true"], [], b"/")
        victim.owner = clumsy
        process = execs.start(starting("echo hello"), b"/bin/sh")
        await process.wait_closed()
        await until(lambda: clumsy.events == 2)  # exited, ended
        assert output(process) == b"hello\n"
        victim.close()
    assert "could not be handled" in caplog.text


@pytest.mark.trio
async def test_a_service_that_is_ending_starts_nothing() -> None:
    async with service() as execs:
        execs.accepting = False
        with pytest.raises(RpcError, match="shutting down"):
            execs.start(starting("exit 0"), b"/bin/sh")


# --- from parameters to a spawn ------------------------------------------------------------------


def prepared(**more: Any) -> Any:
    params = starting("true", **more)
    return prepare(params, ExecLimits(retention=5000, max_retention=9000), b"/bin/zsh")


def test_a_program_with_a_slash_is_taken_as_it_is() -> None:
    assert prepared().paths == [b"/bin/sh"]
    assert prepared(argv=OsTexts(["./x", "y"])).paths == [b"./x"]


def test_a_program_without_one_is_looked_for_as_execvp_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv = OsTexts(["x"])
    assert prepared(argv=argv, env=OsMap({"PATH": "/a:/b"})).paths == [b"/a/x", b"/b/x"]
    # An empty part is the working folder.
    assert prepared(argv=argv, env=OsMap({"PATH": ":/b:"})).paths == [b"./x", b"/b/x", b"./x"]
    monkeypatch.setenv("PATH", "/node")
    assert prepared(argv=argv, env=OsMap({})).paths == [b"/node/x"]
    monkeypatch.delenv("PATH")
    assert b"/bin/x" in prepared(argv=argv, env=OsMap({})).paths


def test_arg0_replaces_what_the_program_sees_and_not_what_is_run() -> None:
    request = prepared(arg0=OsText("-sh"))
    assert (request.argv[0], request.paths, request.program) == (b"-sh", [b"/bin/sh"], b"/bin/sh")


def test_the_environment_is_the_clients_unless_it_asks_for_the_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANG", "de")
    monkeypatch.setenv("ODD", "\udcff")
    assert prepared().env == [b"PATH=/usr/local/bin:/usr/bin:/bin"]
    none = OsTexts([])
    policy = EnvironmentPolicy("all", True, none, OsMap({"SET": "1"}), none)
    request = prepared(env_policy=policy)
    assert {b"LANG=de", b"ODD=\xff", b"SET=1"} <= set(request.env)
    assert b"PATH=/usr/local/bin:/usr/bin:/bin" in request.env
    # Only a terminal is told the shell.
    assert prepared(tty=True).env[-1] == b"SHELL=/bin/zsh"


def test_a_terminal_has_a_size_and_no_pipe() -> None:
    options = prepared(tty=True, pipe_stdin=True).options
    assert options["size"] == (24, 80)
    assert "stdin" not in options
    assert prepared(pipe_stdin=True).options["stdin"] is True
    assert "size" not in prepared().options


def test_what_is_kept_is_the_nodes_choice_unless_the_client_has_one() -> None:
    assert prepared().options["retention"] == 5000
    assert "drop_oldest" not in prepared().options
    options = prepared(retention=Retention("drop-oldest")).options
    assert (options["retention"], options["drop_oldest"]) == (5000, True)
    assert prepared(retention=Retention("block", 9000)).options["retention"] == 9000
    with pytest.raises(RpcError, match="--max-retention"):
        prepared(retention=Retention("block", 9001))


def test_a_mark_of_lineage_goes_with_the_limit_that_was_asked_for() -> None:
    mark = (1 << 60, 1 << 61)
    place = Place("lineage", 1 << 60, mark)
    options: dict[str, Any] = {}
    put_in_place(options, place)
    assert options["rlimits"] == {resource.RLIMIT_RTTIME: mark}
    options = {"rlimits": {resource.RLIMIT_RTTIME: (500, 600), resource.RLIMIT_CORE: (0, 0)}}
    put_in_place(options, place)
    assert options["rlimits"] == {
        resource.RLIMIT_RTTIME: (500, 1 << 61),
        resource.RLIMIT_CORE: (0, 0),
    }


# --- what the machine says of itself -------------------------------------------------------------


def test_the_shell_is_the_users_or_the_one_that_is_always_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SHELL", "/bin/sh")
    assert user_shell() == "/bin/sh"
    monkeypatch.setenv("SHELL", str(tmp_path / "none"))
    assert user_shell() == "/bin/sh"
    odd = os.fsencode(tmp_path) + b"/\xff"
    os.symlink("/bin/sh", odd)  # noqa: PTH211 - bytes
    monkeypatch.setenv("SHELL", os.fsdecode(odd))
    assert user_shell() == "/bin/sh"
    monkeypatch.delenv("SHELL")
    assert os.access(user_shell(), os.X_OK)


def test_a_folder_that_is_gone_is_told_as_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert environment_info().cwd == folder.as_uri()
    folder.rmdir()
    monkeypatch.setenv("TMPDIR", "relative")
    monkeypatch.setenv("HOME", "/h\udcff")
    info = environment_info()
    assert info.cwd is None
    assert info.temporary_directories == []
    assert info.temp_dir == "file:///tmp"
    assert info.user_home_dir == "file:///h%FF"


@pytest.mark.trio
async def test_a_process_tells_which_optional_limits_it_lacks() -> None:
    settings = ExecSettings(adopt=False, cgroups=False)
    limits = Limits(pids=50, cpu=0.5, optional=["pids", "cpu"])
    with trio.fail_after(20):
        async with Environment.local(settings) as here:
            async with await here.exec.start(["true"], limits=limits) as process:
                assert sorted(process.unlimited) == ["cpu", "pids"]
            async with await here.exec.start(["true"]) as process:
                assert process.unlimited == ()
