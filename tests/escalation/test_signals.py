"""Signals that the wrapper gets are the command's; terminals."""

import os
import signal
import time
from pathlib import Path

import pytest
import trio

from execnode.client.channel import Output
from execnode.environment.local.handle import LocalHandle
from tests.escalation.interception import PATIENCE, collect, escalated, interception

pytestmark = pytest.mark.trio


async def until(process: LocalHandle, word: bytes) -> bytes:
    """What a process writes up to this word, and perhaps a little more."""
    seen = b""
    while word not in seen:
        item = await process.__anext__()
        assert isinstance(item, Output)
        seen += item.data
    return seen


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def state_of(pid: int, wanted: str) -> None:
    """Wait until a process is in this state; no descriptor tells of that."""
    with trio.fail_after(PATIENCE):
        while state(pid) != wanted:  # noqa: ASYNC110
            await trio.sleep(0.005)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "QUIT", "WINCH", "ALRM"])
async def test_a_signal_is_the_commands(name: str) -> None:
    script = f"trap 'echo got; exit 7' {name}; echo ready; while :; do sleep 0.01; done"
    async with interception(escalated) as inside:
        process = await inside.wrapped("/bin/sh", "sh", "-c", script)
        await until(process, b"ready")
        await process.signal(name)
        ended = await collect(process)
    assert (ended.code, ended.out) == (7, "got\n")


async def test_a_signal_that_is_not_caught_ends_both() -> None:
    async with interception(escalated) as inside:
        process = await inside.wrapped("/bin/sh", "sh", "-c", "echo ready; exec sleep 1000")
        await until(process, b"ready")
        await process.signal("TERM")
        ended = await collect(process)
    assert (ended.code, ended.signal) == (143, "SIGTERM")


async def test_what_the_caller_ignores_does_not_reach_the_command() -> None:
    traps = 'trap "echo hup" HUP; trap "echo term; exit 3" TERM; echo ready'
    script = f"""
    trap '' HUP
    "$W" /bin/sh sh -c '{traps}; while :; do sleep 0.01; done' &
    read line; kill -HUP $!; kill -TERM $!; wait $!; echo $?
    """
    async with interception(escalated) as inside:
        wrapper = os.fsdecode(inside.server.env[b"EXEC_WRAPPER"])
        process = await inside.start(["/bin/sh", "-c", f"W={wrapper}\n{script}"], stdin=True)
        await until(process, b"ready\n")
        await process.write(b"go\n")
        ended = await collect(process)
    assert ended.out == "term\n3\n"


async def test_stop_and_continue_stop_and_continue_the_command() -> None:
    script = "echo pid $$.; read line; echo $line"
    async with interception(escalated) as inside:
        process = await inside.wrapped("/bin/sh", "sh", "-c", script, stdin=True)
        said = await until(process, b".")
        command = int(said.split()[1].rstrip(b"."))
        wrapper = process.pid
        assert wrapper is not None
        assert command != wrapper
        for number in (signal.SIGTSTP, signal.SIGTTIN):
            os.kill(wrapper, number)
            await state_of(command, "T")
            await state_of(wrapper, "T")
            os.kill(wrapper, signal.SIGCONT)
            await state_of(command, "S")
            await state_of(wrapper, "S")
        await process.write(b"went on\n")
        ended = await collect(process)
    assert (ended.code, ended.out.strip()) == (0, "went on")


def send(pid: int, number: int) -> None:
    """Send a signal, and return when it was taken; the server, in our own loop, does nothing."""
    os.kill(pid, number)
    deadline = time.monotonic() + PATIENCE
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        if not int(status.split("ShdPnd:")[1].split()[0], 16) and state(pid) == "S":
            break
        assert time.monotonic() < deadline
        os.sched_yield()


async def test_a_stop_that_is_taken_back_at_once_stops_neither() -> None:
    script = "echo ready; read line; echo $line"
    async with interception(escalated) as inside:
        process = await inside.wrapped("/bin/sh", "sh", "-c", script, stdin=True)
        await until(process, b"ready")
        wrapper = process.pid
        assert wrapper is not None
        send(wrapper, signal.SIGTSTP)
        send(wrapper, signal.SIGCONT)
        await process.write(b"went on\n")
        ended = await collect(process)
    assert (ended.code, ended.out.strip()) == (0, "went on")


async def test_at_a_terminal_it_reads_and_is_interrupted() -> None:
    command = 'test -t 0 && read line && echo "read $line" && stty size; exec sleep 1000'
    script = f"""
    "$EXEC_WRAPPER" /bin/sh sh -c '{command}'
    echo ended $?
    """
    async with interception(escalated) as inside:
        process = await inside.start(
            ["/bin/sh", "-c", f"trap : INT; echo ready; {script}"], tty=True, size=(31, 79)
        )
        await until(process, b"ready")
        await process.write(b"typed\n")
        said = await until(process, b"31 79")
        assert b"read typed" in said
        await process.write(b"\x03")
        assert b"ended 130" in await until(process, b"ended 130")


async def test_a_shell_with_job_control_stops_it_and_takes_it_to_the_front_again() -> None:
    async with interception(escalated) as inside:
        process = await inside.start(
            ["/bin/bash", "--norc", "--noprofile", "-i"], tty=True, extra_env={"PS1": "ok> "}
        )
        await until(process, b"ok> ")
        script = b"""'echo be''gun $$.; read x; echo "x=$x"'"""
        await process.write(b"$EXEC_WRAPPER /bin/sh sh -c %b\n" % script)
        said = await until(process, b".\r\n")
        command = int(said.rpartition(b"begun ")[2].partition(b".")[0])
        await process.write(b"\x1a")
        await state_of(command, "T")
        await until(process, b"ok> ")
        await process.write(b"fg\n")
        await state_of(command, "S")
        await process.write(b"back\n")
        await until(process, b"x=back")
        await process.write(b"exit 0\n")
        assert (await collect(process)).code == 0
