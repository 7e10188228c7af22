"""What the kernel asks about for programs that do not ask by themselves."""

import array
import errno
import os
import platform
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from execnode.engine.programs import WRAPPER
from execnode.escalation import Action, Deny, Run
from execnode.escalation.permits import Permits
from execnode.escalation.protocol import ExecRequest
from tests.escalation.callers import patched
from tests.escalation.interception import always, collect, interception, run
from tests.escalation.shells.building import BASH

pytestmark = pytest.mark.trio

SUPERVISE = (str(WRAPPER), "--supervise", "--")


def names(asked: list[tuple[bytes, list[bytes], bytes]]) -> list[str]:
    return [Path(os.fsdecode(file)).name for file, _, _ in asked]


# --- what is asked --------------------------------------------------------------------------------


async def test_what_the_wrapper_asked_about_is_not_asked_again() -> None:
    async with interception(run, interpose=True) as inside:
        script = "uname; id -u | cat; env ls -d /; exec sh -c 'true; uname'"
        ended = await collect(await inside.start([*SUPERVISE, "/bin/bash", "-c", script]))
    assert (ended.code, ended.err) == (0, "")
    asked = names(inside.policy.asked)
    assert sorted(asked) == ["bash", "cat", "env", "id", "ls", "sh", "uname", "uname"]


async def test_a_script_that_the_wrapper_gives_to_the_shell_is_asked_about_once(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$0 $*"; uname >/dev/null\n')
    script.chmod(0o755)
    async with interception(run) as inside:
        argv = [*SUPERVISE, patched(BASH), "-c", "./script one two"]
        ended = await collect(await inside.start(argv, cwd=tmp_path))
    assert (ended.code, ended.out) == (0, "./script one two\n"), ended.err
    assert names(inside.policy.asked) == ["bash", "script", "uname"]


async def test_a_permit_is_for_one_exec_of_one_process() -> None:
    permits = Permits()
    request = ExecRequest(b"/x/run", (b"run", b"1"), b"/x", (), 0)
    with permits.granted(7, request):
        assert not permits.take(8, b"/x/run", (b"run", b"1"))
        assert not permits.take(7, b"/x/run", (b"run", b"2"))
        assert not permits.take(7, b"/bin/sh", (b"sh", b"/x/run", b"1"))
        assert permits.take(7, b"/x/run", (b"run", b"1"))
        assert not permits.take(7, b"/x/run", (b"run", b"1"))
        assert not permits.take(7, b"/bin/sh", (b"sh",))
    with permits.granted(7, request):
        assert permits.take(7, b"/x/run", (b"run", b"1"))
        assert permits.take(7, b"/bin/sh", (b"sh", b"run", b"1"))
        assert not permits.take(7, b"/bin/sh", (b"sh", b"run", b"1"))
    assert not permits.take(7, b"/x/run", (b"run", b"1"))


async def test_a_search_along_path_asks_about_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "uname").symlink_to("/bin/uname")
    (tmp_path / "dangling").symlink_to("/nowhere")
    path = f"/nowhere:{tmp_path}/none:{tmp_path}:/bin"
    async with interception(run) as inside:
        script = "uname >/dev/null; dangling; ./relative"
        argv = [*SUPERVISE, "/bin/sh", "-c", script]
        ended = await collect(await inside.start(argv, extra_env={"PATH": path}, cwd=tmp_path))
    assert ended.code == 127
    assert [file for file, _, _ in inside.policy.asked] == [
        b"/bin/sh",
        b"%s/uname" % bytes(tmp_path),
    ]


async def test_a_thread_may_execute() -> None:
    code = """
import os, threading
threading.Thread(target=os.execv, args=("/bin/echo", ["x", "hi"])).start()
"""
    async with interception(run) as inside:
        ended = await collect(await inside.start([*SUPERVISE, sys.executable, "-ISc", code]))
    assert (ended.code, ended.out) == (0, "hi\n"), ended.err
    assert inside.policy.asked[-1][:2] == (b"/bin/echo", [b"x", b"hi"])


@pytest.mark.parametrize("way", ["O_RDONLY", "O_PATH"])
async def test_a_reason_is_written_only_where_the_caller_could_write(
    way: str, tmp_path: Path
) -> None:
    """Else whoever can read a file would have the server write into it."""
    kept = tmp_path / "kept"
    kept.write_text("as it was\n")
    code = f"""
import os
os.dup2(os.open({str(kept)!r}, os.{way}), 2)
os.execv("/bin/true", ["true"])
"""

    def decide(file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        return Deny("no") if file == b"/bin/true" else Run()

    async with interception(decide) as inside:
        ended = await collect(await inside.start([*SUPERVISE, sys.executable, "-ISc", code]))
    assert ended.code  # the exec failed
    assert kept.read_text() == "as it was\n"


async def test_arguments_that_are_too_long_to_be_judged_are_refused() -> None:
    code = "import os; os.execv('/bin/true', ['true', *['x' * 100_000] * 12])"
    async with interception(run) as inside:
        ended = await collect(await inside.start([*SUPERVISE, sys.executable, "-ISc", code]))
    assert ended.code == 1
    assert "too long to be judged" in ended.err
    assert "Argument list too long" in ended.err
    assert "true" not in names(inside.policy.asked)


# --- how it ends ----------------------------------------------------------------------------------


async def test_who_is_killed_while_it_is_asked_about_is_forgotten() -> None:
    asking, cancelled = anyio.Event(), anyio.Event()

    async def wait() -> Action:
        asking.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return Run()

    async with interception(lambda file, argv, workdir: wait()) as inside:
        process = await inside.start([*SUPERVISE, "/bin/true"])
        await asking.wait()
        await process.signal("SIGKILL")
        await cancelled.wait()
        ended = await collect(process)
    assert ended.signal == "SIGKILL"


async def test_nothing_runs_when_the_server_is_gone(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"echo ready; read line; touch {shlex.quote(str(mark))}; echo $?"
    async with interception(run) as inside:
        fd = inside.server.fd
        ours = {os.fsdecode(name): os.fsdecode(value) for name, value in inside.server.env.items()}
        env = {**ours, "PATH": "/bin", "EXECNODE_ESCALATE_FD": str(fd)}
        process = await anyio.open_process(
            [*SUPERVISE, "/bin/sh", "-c", script], pass_fds=[fd], env=env
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr
        assert await process.stdout.receive() == b"ready\n"
    async with process:
        await process.stdin.send(b"go\n")
        assert await process.stdout.receive() == b"126\n"
        assert b"Function not implemented" in await process.stderr.receive()
    assert process.returncode == 0
    assert not mark.exists()


async def test_it_is_supervised_only_once() -> None:
    async with interception(run) as inside:
        ended = await collect(await inside.start([*SUPERVISE, *SUPERVISE, "/bin/true"]))
    assert ended.code == 125
    assert "supervised already" in ended.err


async def test_it_does_not_run_unsupervised() -> None:
    done = await anyio.run_process([*SUPERVISE, "/bin/echo", "x"], check=False, env={})
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"cannot reach the escalation server" in done.stderr


@pytest.mark.parametrize("words", [["--supervise"], ["--supervise", "--"], ["--supervise", "true"]])
async def test_its_usage_is_checked(words: list[str]) -> None:
    done = await anyio.run_process([str(WRAPPER), *words], check=False)
    assert done.returncode == 2
    assert b"--supervise -- COMMAND" in done.stderr


async def test_a_policy_that_fails_denies(caplog: pytest.LogCaptureFixture) -> None:
    def fail(file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        raise RuntimeError("of the test")

    async with interception(fail) as inside:
        ended = await collect(await inside.start([*SUPERVISE, "/bin/echo", "x"]))
    assert (ended.code, ended.out) == (126, "")
    assert "the policy failed" in ended.err
    assert "of the test" in caplog.text


async def test_what_is_no_listener_is_dropped() -> None:
    async with interception(run) as inside:
        read, write = os.pipe()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]))]
        with socket.socket(fileno=os.dup(inside.server.fd)) as sock:
            sock.sendmsg([b"S"], rights)
        os.close(write)
        await anyio.wait_readable(read)
        assert os.read(read, 1) == b""  # the server closed what it was sent
        os.close(read)
        ended = await inside.shell('"$W" /bin/echo echo fine')
    assert ended.out == "fine\n"


FOREIGN = """
int main(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(11), "b"(0), "c"(0), "d"(0) : "memory");
    return (int)-result;
}
"""


@pytest.fixture
def foreign(tmp_path: Path) -> str:
    """A program that calls execve of 32-bit Linux, and ends with the errno."""
    if platform.machine() != "x86_64":
        pytest.skip("another machine's system calls")
    source, program = tmp_path / "foreign.c", tmp_path / "foreign"
    source.write_text(FOREIGN)
    subprocess.run([os.environ.get("CC", "cc"), "-o", program, source], check=True)
    code = subprocess.run([program]).returncode
    if code == -signal.SIGSEGV:
        pytest.skip("this kernel has no 32-bit system calls")
    assert code == errno.EFAULT
    return str(program)


async def test_calls_of_another_architecture_are_refused(foreign: str) -> None:
    async with interception(run) as inside:
        ended = await collect(await inside.start([*SUPERVISE, foreign]))
    assert ended.code == errno.EPERM


async def test_many_at_once_are_answered() -> None:
    script = "for i in $(seq 80); do /bin/true & done; wait; echo done"
    async with interception(always(Run())) as inside:
        ended = await collect(await inside.start([*SUPERVISE, "/bin/sh", "-c", script]))
    assert (ended.code, ended.out) == (0, "done\n"), ended.err
    assert names(inside.policy.asked).count("true") == 80


INSIST = """
import os, subprocess
os.dup2(4, 2)
while True:
    try:
        subprocess.run(["/bin/uname"])
    except PermissionError:
        continue
    break
"""


async def test_a_reason_does_not_wait_for_who_does_not_read() -> None:
    count = 0

    def decide(file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        nonlocal count
        count += file == b"/bin/uname"
        return Deny("x" * 1000) if file == b"/bin/uname" and count < 100 else Run()

    read, write = os.pipe()
    try:
        async with interception(decide) as inside:
            argv = [*SUPERVISE, sys.executable, "-ISc", INSIST]
            ended = await collect(await inside.start(argv, inherit=[write]))
        assert ended.code == 0
        assert count == 100
        assert os.read(read, 1000).startswith(b"execnode: /bin/uname: xxx")
    finally:
        os.close(read)
        os.close(write)
