"""Programs on a real node: what they write, read, get and end with."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from execnode.client import (
    CalledProcessError,
    Gap,
    Node,
    Output,
    Process,
    Retention,
    RpcError,
    StartError,
    TimeoutExpired,
    connect,
)
from tests.client.conftest import running_node

pytestmark = pytest.mark.anyio

PYTHON = sys.executable


@pytest.fixture
async def node(node_url: str) -> AsyncIterator[Node]:
    with anyio.fail_after(30):
        async with connect(node_url) as node:
            yield node


async def text(process: Process, stream: str = "stdout") -> bytes:
    """All that the process writes to one stream."""
    parts = []
    async for item in process:
        assert isinstance(item, Output)
        if item.stream == stream:
            parts.append(item.data)
    return b"".join(parts)


async def until(process: Process, wanted: bytes) -> bytes:
    """What the process writes until these bytes have come."""
    seen = b""
    while wanted not in seen:
        item = await process.__anext__()
        assert isinstance(item, Output)
        seen += item.data
    return seen


# --- run ------------------------------------------------------------------------------------------


async def test_run_keeps_stdout_and_stderr_apart(node: Node) -> None:
    done = await node.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.stdout, done.stderr, done.returncode, done.reason) == (
        b"out\n",
        b"err\n",
        3,
        "exit",
    )
    assert done.args == ["sh", "-c", "echo out; echo err >&2; exit 3"]


async def test_run_checks_the_exit_code_when_asked(node: Node) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        await node.run(["sh", "-c", "echo why >&2; exit 7"], check=True)
    assert isinstance(caught.value, CalledProcessError)
    assert (caught.value.returncode, caught.value.stderr) == (7, b"why\n")


async def test_a_signal_is_told_as_such(node: Node) -> None:
    done = await node.run(["sh", "-c", "kill -KILL $$"])
    assert (done.returncode, done.reason) == (137, "signal")
    with pytest.raises(CalledProcessError, match="ended with code 137 by signal"):
        done.check_returncode()


async def test_run_feeds_input_and_decodes_output(node: Node) -> None:
    data = os.urandom(3_000_000)
    assert (await node.run(["cat"], input=data)).stdout == data
    done = await node.run(["cat"], input="håndværk\n", encoding="utf-8")
    assert done.stdout == "håndværk\n"


async def test_a_program_may_ignore_its_input(node: Node) -> None:
    assert (await node.run(["true"], input=bytes(10_000_000))).returncode == 0


async def test_a_timeout_keeps_what_was_written(node: Node) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        await node.run(["sh", "-c", "echo early; echo err >&2; sleep 100"], timeout=0.3)
    assert isinstance(caught.value, TimeoutExpired)
    assert (caught.value.stdout, caught.value.stderr) == (b"early\n", b"err\n")


async def test_a_timeout_reaches_what_only_keeps_the_output_open(node: Node) -> None:
    began = anyio.current_time()
    with pytest.raises(TimeoutExpired) as caught:
        await node.run(["sh", "-c", "setsid sleep 100 & echo $!"], timeout=0.5)
    assert anyio.current_time() - began < 5
    assert await gone(int(caught.value.stdout or 0))


async def test_a_cancelled_run_ends_its_program(node: Node) -> None:
    with anyio.move_on_after(0.5):
        await node.run(["sleep", "1234"])
    mine = [p for p in await node.list() if list(p.argv) == ["sleep", "1234"]]
    assert [p.returncode for p in mine] == [137]


# --- where and with what a program runs -----------------------------------------------------------


async def test_environment_is_the_nodes_or_exactly_what_is_given(node: Node) -> None:
    command = [PYTHON, "-c", "import os; print(sorted(os.environ))"]
    assert b"'PATH'" in (await node.run(command)).stdout
    assert b"'PATH'" in (await node.run(command, extra_env={"EXTRA": "1"})).stdout
    assert b"'EXTRA'" in (await node.run(command, extra_env={"EXTRA": "1"})).stdout
    exact = await node.run(["/usr/bin/env"], env={"A": "1"}, extra_env={"B": "\udcff"})
    assert sorted(exact.stdout.split()) == [b"A=1", b"B=\xff"]


async def test_cwd_is_the_nodes_or_given_and_absolute(node: Node, tmp_path: Path) -> None:
    assert (await node.run(["pwd"], encoding="utf-8")).stdout == f"{node.cwd}\n"
    assert (await node.run(["pwd"], encoding="utf-8", cwd=tmp_path)).stdout == f"{tmp_path}\n"
    with pytest.raises(ValueError, match="absolute"):
        await node.run(["pwd"], cwd="here")


async def test_arg0_and_limits_reach_the_program(node: Node) -> None:
    async with await node.start(["sh", "-c", "echo $0; ulimit -n"], rlimits={"nofile": 99}) as p:
        assert (await text(p)).split() == [b"sh", b"99"]
    async with await node.start(["/bin/sh", "-c", "ps -o args= $$"], arg0="renamed") as p:
        assert b"renamed -c" in await text(p)


# --- start errors ---------------------------------------------------------------------------------


async def test_a_missing_program_is_file_not_found(node: Node) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await node.start(["/no/such/program"])
    assert isinstance(caught.value, StartError)
    assert (caught.value.stage, caught.value.errno) == ("execve", errno.ENOENT)
    assert caught.value.filename == "/no/such/program"
    assert str(caught.value) == ("[Errno 2] execve: No such file or directory: '/no/such/program'")


async def test_a_missing_folder_is_named(node: Node) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await node.start(["true"], cwd="/no/such/folder")
    assert isinstance(caught.value, StartError)
    assert caught.value.stage == "chdir"
    assert caught.value.filename == "/no/such/folder"


async def test_other_start_errors_keep_their_errno(node: Node, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("not a program\n")
    with pytest.raises(PermissionError):
        await node.start([script])
    script.chmod(0o755)
    with pytest.raises(StartError) as caught:
        await node.start([script])
    assert caught.value.errno == errno.ENOEXEC
    with pytest.raises(NotADirectoryError):
        await node.start(["true"], cwd=script)


async def test_a_node_refuses_what_makes_no_sense(node: Node) -> None:
    with pytest.raises(RpcError):
        await node.start(["true"], rlimits={"no_such_limit": 1})
    with pytest.raises(ValueError, match="argv"):
        await node.start([])


# --- a process ------------------------------------------------------------------------------------


async def test_output_comes_while_the_process_runs(node: Node) -> None:
    async with await node.start(["cat"], stdin=True) as process:
        for line in (b"one\n", b"two\n"):
            await process.write(line)
            assert await until(process, line) == line
        assert process.returncode is None
        await process.close_stdin()
        assert await text(process) == b""
        assert await process.wait() == 0
        assert process.totals["stdout"].bytes == 8


async def test_a_big_output_is_counted_and_hashed(node: Node) -> None:
    size = 64 << 20
    hashed = hashlib.sha256()
    async with await node.start(["head", "-c", str(size), "/dev/zero"], digest="sha256") as p:
        async for item in p:
            assert isinstance(item, Output)
            hashed.update(item.data)
    assert p.totals["stdout"] == (size, f"sha256:{hashed.hexdigest()}")


async def test_a_reader_who_pauses_holds_nobody_else_up(node: Node) -> None:
    async with await node.start(["yes"]) as slow:
        await slow.__anext__()
        for _ in range(20):
            assert (await node.run(["echo", "quick"])).stdout == b"quick\n"
        assert slow.returncode is None
        total = 0
        while total < 30_000_000:
            total += sum(len(i.data) for i in await slow.take() if isinstance(i, Output))
    assert slow.returncode == 137


async def test_a_node_without_memory_left_is_slow_and_not_stuck(socket_dir: Path) -> None:
    """One process's output takes all that may be kept; another's reader still gets its own."""
    at = f"unix://{socket_dir}/node"
    with running_node("--listen", at, "--memory", "1M", "--spill", "0"), anyio.fail_after(30):
        async with connect(at) as node:
            hog = ["sh", "-c", "yes | head -c 4M"]
            async with await node.start(hog, retention=Retention("drop-oldest", 4 << 20)) as full:
                await full.wait()
                done = await node.run(["sh", "-c", "yes | head -c 200k"])
        assert len(done.stdout) == 200 << 10


async def test_what_was_written_to_a_program_that_has_ended_is_not_lost_silently(
    node: Node,
) -> None:
    async with await node.start(["true"], stdin=True) as process:
        await process.wait()
        with pytest.raises(BrokenPipeError):
            await process.write(b"x")
    async with await node.start(["sleep", "100"]) as process:
        with pytest.raises(BrokenPipeError, match="stdinClosed"):
            await process.write(b"x")


async def test_signals_reach_the_process(node: Node) -> None:
    program = "trap 'exit 42' USR1; echo; while :; do sleep 0.05; done"
    async with await node.start(["sh", "-c", program]) as process:
        await process.__anext__()
        await process.signal("USR1")
        assert await process.wait() == 42
    async with await node.start(["sleep", "100"]) as process:
        await process.signal("SIGTERM")
        assert (await process.wait(), process.reason) == (143, "signal")
    with pytest.raises(RpcError):
        await process.signal("NOSUCH")


async def test_a_terminal_has_a_size_and_takes_keys(node: Node) -> None:
    program = "trap 'stty size' WINCH; stty size; while read x; do echo got $x; done"
    async with await node.start(["bash", "-c", program], tty=True, size=(30, 100)) as process:
        assert b"30 100" in await until(process, b"\r\n")
        await process.resize(40, 120)
        await process.write(b"\n")
        assert b"40 120" in await until(process, b"40 120\r\n")
        await process.write(b"key\n")
        await until(process, b"got key\r\n")
        await process.write(b"\x04")
        assert await process.wait() == 0


async def test_terminate_ends_all_with_grace(node: Node) -> None:
    program = "trap 'echo bye; exit 5' TERM; setsid sleep 200 & echo $!; wait"
    async with await node.start(["sh", "-c", program]) as process:
        sleeper = int(await until(process, b"\n"))
        answer = await process.terminate(5.0)
        assert answer.running
        assert answer.method in ("cgroup", "lineage")
        assert await text(process) == b"bye\n"
        assert process.returncode == 5
    assert await gone(sleeper)


async def test_leaving_a_process_ends_it(node: Node) -> None:
    async with await node.start(["sleep", "100"]) as process:
        assert process.pid is not None
    assert (process.returncode, process.signal_name) == (137, "SIGKILL")
    assert await gone(process.pid)


async def test_leaving_the_node_ends_what_was_not_detached(node_url: str) -> None:
    async with connect(node_url, session_ttl=60) as node:
        ended, detached = [await node.start(["sleep", "100"]) for _ in range(2)]
        detached.detach()
    assert ended.pid is not None
    assert detached.pid is not None
    assert await gone(ended.pid)
    os.kill(detached.pid, 0)
    async with connect(node_url) as node, await node.attach(detached.ref or "") as found:
        await found.terminate()
        assert await found.wait() == 137


async def test_dropped_output_is_a_gap_of_the_right_size(node: Node) -> None:
    size = 8 << 20
    retention = Retention("drop-oldest", 65536)
    command = ["sh", "-c", f"head -c {size} /dev/zero; echo end"]
    async with await node.start(command, retention=retention) as process:
        await process.wait()
        seen = lost = 0
        async for item in process:
            if isinstance(item, Gap):
                lost += item.bytes["stdout"]
            else:
                seen += len(item.data)
    assert lost > 0
    assert seen + lost == size + 4


async def test_skipping_to_the_end_shows_the_present(node: Node) -> None:
    position = gaps = 0
    async with await node.start(["yes"]) as process:
        while True:
            await process.skip_to_end()
            items = await process.take()
            if gaps > 5 and process.returncode is None:
                await process.terminate()
            for item in items:
                if isinstance(item, Gap):
                    gaps += 1
                    position += item.bytes["stdout"]
                else:
                    assert item.offset == position
                    position += len(item.data)
            if not items:
                break
    assert position == process.totals["stdout"].bytes


async def test_read_looks_without_taking(node: Node) -> None:
    async with await node.start(["echo", "hello"]) as process:
        await process.wait()
        read = await process.read(wait=5.0)
        assert b"".join(chunk.chunk for chunk in read.chunks) == b"hello\n"
        assert await text(process) == b"hello\n"


# --- several sessions -----------------------------------------------------------------------------


async def test_another_session_lists_attaches_and_controls(node: Node, node_url: str) -> None:
    async with await node.start(["cat"], stdin=True) as process:
        await process.write(b"before\n")
        await until(process, b"before\n")
        async with connect(node_url, client_name="second") as other:
            listed = {p.ref: p for p in await other.list(all_sessions=True)}
            info = listed[process.ref or ""]
            assert (info.pid, info.argv, info.attached) == (process.pid, ["cat"], True)
            assert info.bytes["stdout"] == 7
            async with await other.attach(info.ref) as view:
                assert await until(view, b"before\n") == b"before\n"
                await view.write(b"from the other\n")
                await until(view, b"other\n")
            assert process.returncode is None
            async with await other.attach(info.ref, skip_to_end=True) as view:
                gap = await view.__anext__()
                assert isinstance(gap, Gap)
                assert gap.bytes == {"stdout": 22}
                await process.close_stdin()
                assert await view.wait() == 0
        assert await until(process, b"other\n") == b"from the other\n"
    with pytest.raises(RpcError):
        await node.attach("no-such-ref")


async def gone(pid: int) -> bool:
    """Whether the process ends within a few seconds, if only as a zombie of somebody else."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        with anyio.move_on_after(5):
            await anyio.wait_readable(descriptor)
            return True
    finally:
        os.close(descriptor)
    os.kill(pid, signal.SIGKILL)
    return False
