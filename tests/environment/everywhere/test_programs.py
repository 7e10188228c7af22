"""The exec service, the same in every environment."""

import hashlib
import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest

from execnode.client import (
    CalledProcessError,
    Gap,
    Output,
    Retention,
    RpcError,
    StartError,
    TimeoutExpired,
)
from execnode.environment.services import Environment, Process
from execnode.protocol.presets import Sandbox
from execnode.protocol.processes import EnvironmentPolicy, Limits
from execnode.protocol.sandbox import SandboxReport
from execnode.protocol.text import OsMap, OsTexts
from tests.environment.everywhere.places import Open

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


async def text(process: Process, until: bytes) -> bytes:
    """What it writes, until that has come."""
    seen = b""
    while until not in seen:
        item = await process.__anext__()
        assert isinstance(item, Output)
        seen += item.data
    return seen


async def collect(process: Process) -> dict[str, bytes]:
    """All its output by stream; every piece has to go on where the stream was."""
    streams: dict[str, bytes] = {}
    seq = 0
    async for item in process:
        assert isinstance(item, Output)
        assert item.seq > seq
        seq = item.seq
        assert item.offset == len(streams.get(item.stream, b""))
        streams[item.stream] = streams.get(item.stream, b"") + item.data
    return streams


async def gone(pid: int) -> None:
    """Return when there is no such process."""
    with anyio.fail_after(10):
        while await anyio.Path(f"/proc/{pid}").exists():  # noqa: ASYNC110 (nothing announces it)
            await anyio.sleep(0.01)


async def test_it_says_what_it_is(place: Open) -> None:
    async with place() as here:
        assert here.info.platform_os == "linux"
        assert here.info.shell.path.startswith("/")
        assert (await here.exec.run(["pwd", "-P"])).stdout == os.fsencode(here.exec.cwd) + b"\n"


async def test_output_error_and_exit_code(place: Open) -> None:
    async with place() as here:
        done = await here.exec.run(sh("echo out; echo err >&2; exit 3"))
        assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)
        assert done.reason == "exit"
        assert (await here.exec.run(["cat"], input=b"\0\xff" * 1000)).stdout == b"\0\xff" * 1000
        assert (await here.exec.run(["cat"], input="ä", encoding="utf-8")).stdout == "ä"
        with pytest.raises(CalledProcessError) as caught:
            await here.exec.run(sh("echo no >&2; exit 9"), check=True)
        assert (caught.value.returncode, caught.value.stderr) == (9, b"no\n")


async def test_every_way_to_end(place: Open) -> None:
    async with place() as here:
        for code in (0, 1, 127, 255):
            assert (await here.exec.run(sh(f"exit {code}"))).returncode == code
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
            process = await here.exec.start(sh(f"kill -{int(number)} $$"))
            assert await process.wait() == 128 + number
            assert (process.reason, process.signal_name) == ("signal", number.name)


async def test_what_is_known_of_a_process(place: Open) -> None:
    async with place() as here:
        async with await here.exec.start(sh("echo $$; read line; echo err >&2"), stdin=True) as cat:
            assert (cat.returncode, cat.reason, cat.signal_name, cat.totals) == (
                None,
                None,
                None,
                {},
            )
            assert int(await text(cat, b"\n")) == cat.pid
            await cat.write(b"\n")
            assert b"err" in await text(cat, b"\n")
            assert await cat.wait() == 0
        assert (cat.returncode, cat.reason, cat.sandbox_denied) == (0, "exit", False)


async def test_totals_and_digests(place: Open) -> None:
    data = bytes(range(256)) * 4096
    async with place() as here:
        process = await here.exec.start(["cat"], stdin=True, digest="sha256")
        async with anyio.create_task_group() as tasks:

            async def feed() -> None:
                await process.write(data)
                await process.close_stdin()

            tasks.start_soon(feed)
            streams = await collect(process)
        assert streams == {"stdout": data}
        assert process.totals["stdout"].bytes == len(data)
        assert process.totals["stdout"].digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
        process = await here.exec.start(sh("printf 123456789"))
        assert await collect(process) == {"stdout": b"123456789"}
        assert process.totals["stdout"].digest == "crc32c:e3069283"


async def test_much_output_is_whole(place: Open) -> None:
    with anyio.fail_after(50):
        async with place() as here:
            process = await here.exec.start(sh("seq 1000000; seq 100000 >&2"), digest="sha256")
            streams = await collect(process)
            for stream, count in (("stdout", 1_000_000), ("stderr", 100_000)):
                assert streams[stream] == b"".join(b"%d\n" % n for n in range(1, count + 1))


async def test_a_terminal(place: Open) -> None:
    async with (
        place() as here,
        await here.exec.start(
            ["bash", "--norc", "-i"], tty=True, size=(10, 40), extra_env={"PS1": "> "}
        ) as shell,
    ):
        await shell.write(b"stty size\n")
        assert b"10 40" in await text(shell, b"10 40")
        await shell.resize(20, 50)
        await shell.write(b"stty size\n")
        await text(shell, b"20 50")
        await shell.write(b"sh -c 'echo $((40 + 2)); exec sleep 100'\n")
        await text(shell, b"42\r\n")
        await shell.write(b"\x03")
        await text(shell, b"> ")
        await shell.write(b"exit 4\n")
        assert await shell.wait() == 4
        with pytest.raises(RpcError, match="terminal"):
            await shell.close_stdin()


async def test_no_terminal_has_no_size(place: Open) -> None:
    async with place() as here, await here.exec.start(["cat"], stdin=True) as cat:
        with pytest.raises(RpcError, match="no terminal"):
            await cat.resize(1, 1)


async def test_input_that_nobody_reads(place: Open) -> None:
    async with place() as here:
        process = await here.exec.start(sh("exec <&-; echo closed; sleep 100"), stdin=True)
        async with process:
            await text(process, b"closed")
            with pytest.raises(BrokenPipeError, match="failed to write to process stdin"):
                await process.write(b"x" * MIB)
        process = await here.exec.start(["true"])
        with pytest.raises(BrokenPipeError, match="2: true: stdinClosed"):
            await process.write(b"x")


async def test_a_thousand_small_writes_stay_in_order(place: Open) -> None:
    async with place() as here:
        process = await here.exec.start(["cat"], stdin=True)
        async with process, anyio.create_task_group() as tasks:

            async def feed() -> None:
                for number in range(1000):
                    await process.write(b"%d\n" % number)
                await process.close_stdin()

            tasks.start_soon(feed)
            streams = await collect(process)
        assert streams["stdout"] == b"".join(b"%d\n" % number for number in range(1000))


async def test_signals(place: Open) -> None:
    async with place() as here:
        script = "trap 'echo got' USR1; trap 'exit 7' INT; echo ready; while :; do sleep 0.01; done"
        async with await here.exec.start(sh(script)) as process:
            await text(process, b"ready")
            await process.signal("USR1")
            await text(process, b"got")
            with pytest.raises(RpcError, match="NOSUCH"):
                await process.signal("NOSUCH")
            await process.signal("SIGINT")
            assert await process.wait() == 7
            await process.signal("INT")  # for nobody


async def test_terminate(place: Open) -> None:
    async with place() as here:
        async with await here.exec.start(sh("trap 'exit 5' TERM; echo r; sleep 100 & wait")) as one:
            await text(one, b"r")
            assert (await one.terminate(5.0)).running
            assert await one.wait() == 5
            assert one.reason == "exit"  # its own decision
            assert not (await one.terminate()).running
        async with await here.exec.start(["sleep", "100"]) as two:
            await two.terminate()
            assert await two.wait() == 137
            assert (two.reason, two.signal_name) == ("killed", "SIGKILL")


async def test_time_runs_out(place: Open) -> None:
    async with place() as here:
        process = await here.exec.start(["sleep", "100"], timeout=0.2)
        assert await process.wait() == 137
        assert process.reason == "timeout"
        with pytest.raises(TimeoutExpired) as caught:
            await here.exec.run(sh("echo first; exec sleep 100"), timeout=0.3)
        assert caught.value.stdout == b"first\n"


@pytest.mark.parametrize(
    ("argv", "options", "kind", "stage", "name"),
    [
        (["/no/such"], {}, FileNotFoundError, "execve", "/no/such"),
        (["no-such-program"], {}, FileNotFoundError, "execve", "no-such-program"),
        (["/etc/passwd"], {}, PermissionError, "execve", "/etc/passwd"),
        (["true"], {"cwd": "/no/folder"}, FileNotFoundError, "chdir", "/no/folder"),
        (["true"], {"cwd": "/etc/passwd"}, NotADirectoryError, "chdir", "/etc/passwd"),
        (["true"], {"tty": True, "cwd": "/no"}, FileNotFoundError, "chdir", "/no"),
    ],
)
async def test_starts_that_fail(
    place: Open, argv: list[str], options: Any, kind: type[OSError], stage: str, name: str
) -> None:
    async with place() as here:
        with pytest.raises(StartError) as caught:
            await here.exec.start(argv, **options)
        error = caught.value
        assert isinstance(error, kind)
        assert (error.stage, error.filename) == (stage, name)
        assert error.strerror == f"{stage}: {os.strerror(error.errno or 0)}"
        assert (await here.exec.run(["echo", "on"])).stdout == b"on\n"


async def test_starts_that_are_refused(place: Open) -> None:
    async with place() as here:
        with pytest.raises(RpcError, match="nul byte found in provided data"):
            await here.exec.start(["echo", "a\0b"])
        with pytest.raises(RpcError, match="unknown resource limit `nonsense`"):
            await here.exec.start(["true"], rlimits={"nonsense": 1})
        with pytest.raises(RpcError, match="missing program"):
            await here.exec.start([""])
        with pytest.raises(ValueError, match="absolute"):
            await here.exec.start(["true"], cwd="relative")
        with pytest.raises(ValueError, match="argv"):
            await here.exec.start([])


async def test_folder_name_and_limits(place: Open, tmp_path: Path) -> None:
    async with place() as here:
        assert (await here.exec.run(["pwd"], cwd=tmp_path)).stdout == b"%s\n" % bytes(tmp_path)
        process = await here.exec.start(["cat", "/proc/self/cmdline"], arg0="other")
        assert (await collect(process))["stdout"] == b"other\0/proc/self/cmdline\0"
        done = await here.exec.run(sh("ulimit -n; ulimit -Hn"), rlimits={"nofile": (17, 19)})
        assert done.stdout == b"17\n19\n"


async def test_environments(place: Open) -> None:
    async with place() as here:
        done = await here.exec.run(["/usr/bin/env"], env={"A": "1"}, extra_env={"B": "ä"})
        assert set(done.stdout.decode().split("\n")) == {"A=1", "B=ä", ""}
        policy = EnvironmentPolicy(
            "none", True, OsTexts(), OsMap({"X": "1", "Y": "2"}), OsTexts(["X"])
        )
        done = await here.exec.run(["/usr/bin/env"], env_policy=policy, extra_env={"Z": "3"})
        assert set(done.stdout.split()) == {b"X=1", b"Z=3"}
        policy = EnvironmentPolicy("core", False, OsTexts(["PA*"]), OsMap(), OsTexts())
        done = await here.exec.run(["/usr/bin/env"], env_policy=policy)
        names = {line.partition(b"=")[0] for line in done.stdout.splitlines()}
        assert b"HOME" in names
        assert b"PATH" not in names
        with pytest.raises(ValueError, match="both"):
            await here.exec.run(["true"], env={}, env_policy=policy)


async def test_processes_never_see_each_others_events(place: Open) -> None:
    async def work(here: Environment, number: int) -> None:
        script = f"for i in $(seq 50); do echo {number}; echo {number} >&2; done; exit {number}"
        process = await here.exec.start(sh(script))
        streams = await collect(process)
        assert streams == {"stdout": b"%d\n" % number * 50, "stderr": b"%d\n" % number * 50}
        assert process.returncode == number

    with anyio.fail_after(50):
        async with place() as here, anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(work, here, number)


async def test_a_process_that_nobody_reads_holds_up_no_other(place: Open) -> None:
    with anyio.fail_after(50):
        async with place() as here, await here.exec.start(["yes"]) as silent:
            for _ in range(3):
                done = await here.exec.run(["head", "-c", str(3 * MIB), "/dev/zero"])
                assert len(done.stdout) == 3 * MIB
            assert silent.returncode is None


async def test_the_oldest_output_goes_where_that_was_asked_for(place: Open) -> None:
    with anyio.fail_after(50):
        async with place() as here:
            script = f"head -c {20 * MIB} /dev/zero"
            process = await here.exec.start(sh(script), retention=Retention("drop-oldest", MIB))
            await process.wait()
            seen = lost = 0
            async for item in process:
                if isinstance(item, Gap):
                    lost += item.bytes["stdout"]
                else:
                    assert item.offset == seen + lost
                    seen += len(item.data)
            assert seen + lost == 20 * MIB


async def test_skipping_to_the_end(place: Open) -> None:
    with anyio.fail_after(20):
        async with place() as here:
            script = "seq 20000; echo; read x; echo end"
            async with await here.exec.start(sh(script), stdin=True) as process:
                first = await process.__anext__()
                assert isinstance(first, Output)
                await process.skip_to_end()
                await process.write(b"\n")
                rest = [item async for item in process]
                sizes = [
                    len(item.data) if isinstance(item, Output) else item.bytes["stdout"]
                    for item in rest
                ]
                total = len(b"".join(b"%d\n" % n for n in range(1, 20001))) + 5
                assert len(first.data) + sum(sizes) == total
                last = rest[-1]
                assert isinstance(last, Output)
                assert last.data.endswith(b"end\n")


async def test_reading_apart(place: Open) -> None:
    async with place() as here:
        process = await here.exec.start(sh("echo one; read x; exit 3"), stdin=True)
        async with process:
            told = await process.read(wait=10)
            assert [chunk.chunk for chunk in told.chunks] == [b"one\n"]
            assert (told.exited, told.exit_code, told.next_seq) == (False, None, 2)
            await process.write(b"\n")
            await process.wait()
            async for _ in process:
                pass
            told = await process.read(after_seq=1)
            assert (told.chunks, told.exited, told.exit_code, told.closed) == ([], True, 3, True)


async def test_leaving_ends_a_process(place: Open) -> None:
    async with place() as here:
        async with await here.exec.start(["sleep", "100"]) as process:
            pass
        assert process.reason == "killed"
        left = await here.exec.start(["sleep", "100"])
        pid = left.pid
    assert pid is not None
    await gone(pid)


async def test_exceptions_of_the_body_pass_as_they_are(place: Open) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with place():
            raise KeyError("mine")


async def test_a_cancelled_run_leaves_nothing(place: Open, tmp_path: Path) -> None:
    async with place() as here:
        with anyio.move_on_after(0.5):
            await here.exec.run(sh(f"echo $$ > {tmp_path}/pid; exec sleep 100"))
        pid = int((tmp_path / "pid").read_text())
        await gone(pid)


# --- sandbox and limits ---------------------------------------------------------------------------


async def test_a_program_in_a_sandbox(place: Open) -> None:
    with TemporaryDirectory(prefix="xs-", dir="/var/tmp") as folder:
        work = Path(folder)
        async with place() as here:
            writing = Sandbox.workspace_write(work, deny=[work / "secret"])
            (work / "secret").write_text("x")
            done = await here.exec.run(
                sh("touch new .codex; cat secret"), cwd=work, sandbox=writing, encoding="utf-8"
            )
            assert done.returncode != 0
            assert sorted(os.listdir(work)) == ["new", "secret"]  # noqa: PTH208 (not async)
            process = await here.exec.start(sh("cat secret"), cwd=work, sandbox=writing)
            async with process:
                await collect(process)
                assert await process.wait() == 1
                assert process.sandbox == SandboxReport("namespaces")
                assert process.sandbox_denied
                assert process.denial is not None
                assert process.denial.path == (work / "secret").as_uri()
                assert process.denial.right == "read"
            only = Sandbox.read_only()
            done = await here.exec.run(sh("touch x"), cwd=work, sandbox=only, encoding="utf-8")
            assert done.sandbox_denied
            assert done.denial is None or done.denial.right == "write"
            assert "Permission denied" in done.stderr
            with pytest.raises(StartError, match="execve") as caught:
                await here.exec.run(["no-such-program"], sandbox=writing)
            assert caught.value.stage == "execve"
            with pytest.raises(ValueError, match="absolute"):
                Sandbox.workspace_write("relative")


async def test_limits_of_a_whole_tree(place: Open) -> None:
    async with place() as here:
        limits = Limits(pids=100, memory_bytes=1 << 30, optional=["pids", "memoryBytes"])
        done = await here.exec.run(
            sh("ulimit -n"), limits=limits, rlimits={"nofile": 123}, encoding="utf-8"
        )
        assert done.stdout == "123\n"
