import errno
import gc
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from execnode.engine import Engine, SpawnError
from execnode.engine._pty import Sandbox
from execnode.engine.lineage import children
from tests.engine.pump import ENV, Peer, Pump, apart, descriptors, output, py, readable, sh

SHOW = """
import json, os, sys
json.dump({each: eval(each) for each in sys.argv[1:]}, sys.stdout)
"""

FATAL = sorted(
    set(signal.valid_signals())
    - {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}  # these stop
    - {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}  # these do nothing
)


def shown(pump: Pump, *expressions: str, **options: Any) -> dict[str, Any]:
    """Evaluate expressions in a child."""
    process = pump.run(py(SHOW, *expressions), **options)
    assert process.exit_code == 0, output(process, "stderr")
    result: dict[str, Any] = json.loads(output(process, "pty" if process.tty else "stdout"))
    return result


def refused(pump: Pump, argv: list[bytes], **options: Any) -> tuple[str, int]:
    """Give the stage and errno of a start that must fail."""
    before, siblings = descriptors(), children(os.getpid())
    with pytest.raises(SpawnError) as failure:
        pump.start(argv, **options)
    assert failure.value.errno is not None
    assert str(failure.value) == f"{failure.value.stage}: {os.strerror(failure.value.errno)}"
    assert descriptors() == before
    assert pump.engine.processes == 0
    assert children(os.getpid()) == siblings
    return failure.value.stage, failure.value.errno


@contextmanager
def handled(number: int, action: Any) -> Iterator[None]:
    before = signal.signal(number, action)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def opened_folder(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# --- what the program gets ------------------------------------------------------------------------


def test_the_program_sees_argv_and_not_its_path(pump: Pump) -> None:
    argv = [b"another name", b"-c", b'echo "$0|$1|$#"', b"zero", b"", b"\xff"]
    process = pump.run(argv, paths=[b"/bin/sh"])
    assert output(process) == b"zero||2\n"
    process = pump.run([b"-odd", b"/proc/self/cmdline"], paths=[b"/bin/cat"])
    assert output(process) == b"-odd\0/proc/self/cmdline\0"


def test_the_environment_is_exactly_the_one_given(pump: Pump) -> None:
    env = [b"A=1", b"BYTES=\xff\xfe=\x80", b"EMPTY=", b"TWICE=1", b"TWICE=2", b"no equals sign"]
    process = pump.run([b"/bin/cat", b"/proc/self/environ"], env=env)
    assert output(process) == b"\0".join(env) + b"\0"


def test_an_empty_environment_is_empty(pump: Pump) -> None:
    process = pump.run([b"/bin/cat", b"/proc/self/environ"], env=[])
    assert (output(process), process.exit_code) == (b"", 0)


def test_the_working_directory_may_have_any_name(pump: Pump, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff name")
    folder.mkdir()
    process = pump.run([b"/bin/pwd"], cwd=os.fsencode(folder))
    assert output(process) == os.fsencode(folder) + b"\n"


@pytest.mark.parametrize("size", [None, (24, 80)])
def test_a_program_leads_a_session_and_a_group_of_its_own(
    pump: Pump, size: tuple[int, int] | None
) -> None:
    process = pump.start(py(SHOW, "os.getpid()", "os.getsid(0)", "os.getpgid(0)"), size=size)
    pid = process.pid
    pump.until_ended(process)
    stream = "pty" if size else "stdout"
    ids = json.loads(output(process, stream))
    assert set(ids.values()) == {pid}
    assert pid != os.getpid()


@pytest.mark.parametrize("size", [None, (24, 80)])
@pytest.mark.parametrize("stdin", [False, True])
def test_no_descriptor_above_2_is_inherited(
    pump: Pump, size: tuple[int, int] | None, stdin: bool
) -> None:
    inherited = os.dup2(0, 200, inheritable=True)
    try:
        found = shown(pump, "os.listdir('/proc/self/fd')", size=size, stdin=stdin)
    finally:
        os.close(inherited)
    # The one that lists the folder comes on top.
    assert found["os.listdir('/proc/self/fd')"] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("size", [None, (24, 80)])
def test_inherited_descriptors_become_3_and_on(pump: Pump, size: tuple[int, int] | None) -> None:
    with opened_folder("/proc") as proc, opened_folder("/") as root:
        found = shown(
            pump,
            *(f"os.readlink('/proc/self/fd/{number}')" for number in (3, 4)),
            "os.get_inheritable(3)",
            "os.listdir('/proc/self/fd')",
            inherit=[proc, root],
            size=size,
        )
        assert not os.get_inheritable(proc)
    assert list(found.values()) == ["/proc", "/", True, ["0", "1", "2", "3", "4", "5"]]


def test_a_confined_program_inherits_too_although_its_ruleset_was_in_the_way(pump: Pump) -> None:
    sandbox = Sandbox([(b"/", "read")])
    with opened_folder("/proc") as proc:
        taken = [proc] * 64  # all numbers up to 66, the ruleset's among them
        numbers = range(3, 3 + len(taken))
        found = shown(
            pump,
            *(f"os.readlink('/proc/self/fd/{number}')" for number in numbers),
            "len(os.listdir('/proc/self/fd'))",
            "os.access('/tmp', os.W_OK)",
            inherit=taken,
            sandbox=sandbox,
        )
        process = pump.run(sh("echo > /tmp/execnode-confined-heir"), sandbox=sandbox)
        assert process.exit_code != 0
    assert [*found.values()][: len(taken)] == ["/proc"] * len(taken)
    assert found["len(os.listdir('/proc/self/fd'))"] == 3 + len(taken) + 1


def test_what_cannot_be_inherited_is_refused(pump: Pump) -> None:
    assert refused(pump, [b"/bin/true"], inherit=[0, 9999]) == ("inherit", errno.EBADF)
    assert refused(pump, [b"/bin/true"], inherit=[-1]) == ("inherit", errno.EBADF)
    assert refused(pump, [b"/bin/true"], inherit=[0] * 65) == ("inherit", errno.EINVAL)


def test_signals_are_as_a_login_leaves_them(pump: Pump) -> None:
    with (
        handled(signal.SIGUSR1, signal.SIG_IGN),
        handled(signal.SIGUSR2, lambda *_: None),
        handled(signal.SIGPIPE, signal.SIG_IGN),
    ):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
        try:
            process = pump.run([b"/bin/cat", b"/proc/self/status"])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    status = dict(line.split(b":\t", 1) for line in output(process).splitlines())
    assert [status[name] for name in (b"SigBlk", b"SigIgn", b"SigCgt")] == [b"0" * 16] * 3


def test_limits_are_set_before_the_program_runs(pump: Pump) -> None:
    limits = {
        resource.RLIMIT_NOFILE: (100, 200),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_STACK: (8 << 20, 2**64 - 1),
        resource.RLIMIT_CPU: (-1, -1),
    }
    script = "{n: resource.getrlimit(n) for n in map(int, sys.argv[1:])}"
    argv = py(f"import json, resource, sys; print(json.dumps({script}))", *map(str, limits))
    process = pump.run(argv, rlimits=limits)
    assert json.loads(output(process)) == {
        str(resource.RLIMIT_NOFILE): [100, 200],
        str(resource.RLIMIT_CORE): [0, 0],
        str(resource.RLIMIT_STACK): [8 << 20, -1],
        str(resource.RLIMIT_CPU): [-1, -1],
    }


def test_standard_input_is_empty_unless_asked_for(pump: Pump) -> None:
    process = pump.run(sh("readlink /proc/self/fd/0; wc -c"))
    assert output(process) == b"/dev/null\n0\n"
    assert not process.input_open
    process = pump.start(sh("readlink /proc/self/fd/0; wc -c"), stdin=True)
    assert process.input_open
    assert process.close_input()
    pump.until_ended(process)
    kind, count = output(process).split()
    assert (kind[:5], count) == (b"pipe:", b"0")


# --- which program --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with programs that can and cannot be run."""
    (tmp_path / "good").write_text("#!/bin/sh\necho good\n")
    (tmp_path / "good").chmod(0o755)
    (tmp_path / "forbidden").write_text("#!/bin/sh\necho forbidden\n")
    (tmp_path / "noexec").write_bytes(b"\x7f not a program")
    (tmp_path / "noexec").chmod(0o755)
    (tmp_path / "noreader").write_text("#!/no/such/interpreter\n")
    (tmp_path / "noreader").chmod(0o755)
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def paths(folder: Path, *names: str) -> list[bytes]:
    return [os.fsencode(folder / name) for name in names]


def test_the_first_program_that_runs_is_taken(pump: Pump, folder: Path) -> None:
    candidates = paths(folder, "missing", "good/below-a-file", "forbidden", "good", "noexec")
    assert output(pump.run([b"x"], paths=candidates)) == b"good\n"


@pytest.mark.parametrize(
    ("names", "number"),
    [
        ([], errno.ENOENT),
        (["missing"], errno.ENOENT),
        (["missing", "good/below"], errno.ENOTDIR),
        (["forbidden"], errno.EACCES),
        (["forbidden", "missing"], errno.EACCES),
        (["missing", "forbidden", "good/below"], errno.EACCES),
        (["."], errno.EACCES),
        (["noexec"], errno.ENOEXEC),
        (["noexec", "good"], errno.ENOEXEC),
        (["noreader"], errno.ENOENT),
        (["loop"], errno.ELOOP),
    ],
)
def test_a_program_that_cannot_be_run_says_why(
    pump: Pump, folder: Path, names: list[str], number: int
) -> None:
    assert refused(pump, [b"x"], paths=paths(folder, *names)) == ("execve", number)


def test_a_program_that_is_being_written_is_busy(pump: Pump, folder: Path) -> None:
    program = folder / "copy"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    with program.open("r+b"):
        assert refused(pump, [os.fsencode(program)]) == ("execve", errno.ETXTBSY)


def test_too_many_arguments_are_refused_by_the_kernel(pump: Pump) -> None:
    large = b"x" * (128 << 10)
    assert refused(pump, [b"/bin/true", large]) == ("execve", errno.E2BIG)
    assert refused(pump, [b"/bin/true"], env=[b"X=" + large]) == ("execve", errno.E2BIG)
    assert refused(pump, [b"/bin/true", *[large[:-1]] * 60]) == ("execve", errno.E2BIG)


@pytest.mark.parametrize(
    ("name", "number"),
    [("missing", errno.ENOENT), ("good", errno.ENOTDIR), ("loop", errno.ELOOP)],
)
def test_a_working_directory_that_is_none_says_so(
    pump: Pump, folder: Path, name: str, number: int
) -> None:
    assert refused(pump, sh("true"), cwd=os.fsencode(folder / name)) == ("chdir", number)


def test_a_limit_that_cannot_be_set_says_so(pump: Pump) -> None:
    too_low = {resource.RLIMIT_NOFILE: (2, 1)}
    assert refused(pump, sh("true"), rlimits=too_low) == ("setrlimit", errno.EINVAL)
    assert refused(pump, sh("true"), rlimits={99: (1, 1)}) == ("setrlimit", errno.EINVAL)


def test_a_cgroup_that_is_none_says_so(pump: Pump) -> None:
    with Path("/dev/null").open() as file:
        stage, _ = refused(pump, sh("true"), cgroup_fd=file.fileno())
    assert stage == "clone"


@pytest.mark.parametrize(
    "wrong",
    [
        {"argv": [b"sh", b"a\0b"]},
        {"env": [b"A=\0"]},
        {"paths": [b"/bin/sh\0x"]},
        {"cwd": b"/\0tmp"},
        {"argv": [b"sh", "text"]},
        {"argv": [b"sh", None]},
        {"env": [bytearray(b"A=1")]},
        {"rlimits": dict.fromkeys(range(17), (1, 1))},
    ],
)
def test_what_no_program_could_get_is_refused(pump: Pump, wrong: dict[str, Any]) -> None:
    argv = wrong.pop("argv", [b"/bin/sh"])
    with pytest.raises(ValueError, match=r"NUL|limits"):
        pump.start(argv, paths=wrong.pop("paths", [b"/bin/sh"]), **wrong)
    assert pump.engine.processes == 0


@pytest.mark.parametrize("size", [(65536, 1), (1, -1), (1,), (1, 2, 3), ("a", 1)])
def test_a_size_that_no_terminal_has_is_refused(pump: Pump, size: Any) -> None:
    before = descriptors()
    with pytest.raises((OverflowError, ValueError, TypeError)):
        pump.start(sh("true"), size=size)
    assert descriptors() == before


def test_starts_fail_clearly_when_descriptors_run_out() -> None:
    script = """
        import os, resource, errno
        from execnode.engine import SpawnError
        from tests.engine.pump import opened, sh

        with opened() as pump:
            used = len(os.listdir("/proc/self/fd")) - 1
            stages = set()
            for free in range(12):
                for size in (None, (24, 80)):
                    for stdin in (False, True):
                        resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, 20000))
                        try:
                            process = pump.start(sh("exit 3"), size=size, stdin=stdin)
                        except SpawnError as error:
                            assert error.errno == errno.EMFILE, error
                            stages.add(error.stage)
                        else:
                            pump.until_ended(process)
                            assert process.exit_code == 3
                            process.close()
                            stages.add("fine")
                        resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
                        assert len(os.listdir("/proc/self/fd")) - 1 == used
            print(*sorted(stages))
    """
    assert apart(script).split() == ["clone", "fine", "pipe", "pty"]


def test_an_engine_that_cannot_be_made_leaves_nothing() -> None:
    script = """
        import os, resource, errno
        from execnode.engine import Engine

        used = len(os.listdir("/proc/self/fd")) - 1
        for free in range(5):
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, 20000))
            try:
                Engine(memory_limit=1 << 20, spill_dir="/tmp").close()
                print("fine", end=" ")
            except OSError as error:
                assert error.errno == errno.EMFILE
                print("full", end=" ")
            resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
            assert len(os.listdir("/proc/self/fd")) - 1 == used
    """
    assert apart(script).split() == ["full", "full", "full", "fine", "fine"]


def test_ten_thousand_failed_starts_leave_nothing(pump: Pump) -> None:
    before, siblings = descriptors(), children(os.getpid())
    for size in (None, (24, 80)):
        for _ in range(5000):
            try:
                pump.engine.spawn([b"/missing"], [b"x"], [], b"/", size=size)
            except SpawnError:
                continue
            pytest.fail("a program that is not there was started")
    assert descriptors() == before
    assert pump.engine.processes == 0
    assert not readable(pump.engine)
    assert children(os.getpid()) == siblings


# --- how it ended ---------------------------------------------------------------------------------


def test_every_exit_code_comes_back(pump: Pump) -> None:
    processes = [pump.start(sh(f"exit {code}")) for code in range(256)]
    pump.until_ended(*processes)
    assert [process.exit_code for process in processes] == list(range(256))
    assert {process.exit_signal for process in processes} == {None}


@pytest.mark.parametrize("number", FATAL, ids=lambda number: f"{number}")
def test_every_fatal_signal_comes_back(pump: Pump, number: int) -> None:
    process = pump.start([b"/bin/sleep", b"100"], rlimits={resource.RLIMIT_CORE: (0, 0)})
    process.signal(number)
    pump.until_ended(process)
    assert (process.exit_code, process.exit_signal) == (None, number)


def test_stopping_is_not_exiting(pump: Pump) -> None:
    process = pump.start(sh("kill -STOP $$; exit 9"))
    stat = Path(f"/proc/{process.pid}/stat")
    pump.until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", look=0.01)
    pump.until_idle()
    assert not process.exited
    process.signal(signal.SIGCONT)
    pump.until_ended(process)
    assert process.exit_code == 9


def test_a_signal_reaches_the_whole_group_and_nobody_after_the_end(pump: Pump) -> None:
    process = pump.start(sh("sleep 100 & sleep 100 & echo ready; wait"))
    pump.until(lambda: output(process))
    process.signal(signal.SIGTERM)
    pump.until_ended(process)  # all three had the pipe
    assert process.exit_signal == signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        process.signal(signal.SIGTERM)


def test_a_signal_that_is_none_is_an_error(pump: Pump) -> None:
    process = pump.start([b"/bin/sleep", b"100"])
    with pytest.raises(OSError, match="Invalid argument"):
        process.signal(1000)
    process.signal(signal.SIGKILL)
    pump.until_ended(process)


def test_a_status_that_the_host_throws_away_is_lost(pump: Pump) -> None:
    with handled(signal.SIGCHLD, signal.SIG_IGN):
        process = pump.run(sh("echo still here; exit 3"))
    assert output(process) == b"still here\n"
    assert process.exited
    assert (process.exit_code, process.exit_signal) == (None, None)


def test_a_status_that_somebody_else_took_is_lost(pump: Pump) -> None:
    process = pump.start(sh("exit 3"))
    assert os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]) == 3
    pump.until_ended(process)
    assert (process.exit_code, process.exit_signal) == (None, None)


def test_a_process_that_was_closed_cannot_be_used(pump: Pump) -> None:
    process = pump.run(sh("true"))
    process.close()
    process.close()
    for use in (lambda: process.pid, lambda: process.write(b""), lambda: process.read(0, 1)):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_an_engine_that_was_closed_cannot_be_used() -> None:
    engine = Engine(memory_limit=1 << 20)
    engine.close()
    engine.close()
    for use in (engine.fileno, engine.poll, engine.wake):
        with pytest.raises(ValueError, match="closed"):
            use()
    with pytest.raises(ValueError, match="closed"):
        engine.spawn([b"/bin/true"], [b"true"], ENV, b"/")


def test_an_engine_that_was_dropped_leaves_nothing() -> None:
    gc.collect()
    before = descriptors()
    pump = Pump(Engine(memory_limit=1 << 20))
    process = pump.run(sh("exit 4"))
    process.owner = pump  # a cycle, as callers make them
    peer = Peer(pump)
    peer.channel.owner = pump
    peer.attach(process)
    peer.socket.close()
    del process, pump, peer
    gc.collect()
    assert descriptors() == before
