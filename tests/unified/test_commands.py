"""Commands that are started, looked at and written to; the same in every environment."""

import os
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from execnode.client import EnvironmentPolicy, Retention
from execnode.protocol.text import OsMap, OsTexts
from execnode.unified import (
    PLAIN_VARIABLES,
    Failure,
    Limits,
    ProcessState,
    UnifiedExec,
    UnknownSession,
)
from tests.environment.everywhere.places import Open
from tests.unified.conversation import all_of, manager, running, unified_exec, until

pytestmark = pytest.mark.anyio

MIB = 1 << 20


async def test_a_command_that_ends(place: Open) -> None:
    async with unified_exec(place) as unified:
        done = await unified.exec_command(cmd="echo out; sleep 0.05; echo err >&2; exit 3")
        assert done.state == ProcessState(True, 3, "exit")
        assert (done.session_id, done.text, done.warnings) == (None, "out\nerr\n", ())
        assert 0.05 < done.wall_time < 20
        killed = await unified.exec_command(argv=["sh", "-c", "kill -9 $$"])
        assert killed.state == ProcessState(True, 137, "signal", "SIGKILL")
        late = await unified.exec_command(argv=["sleep", "100"], timeout=0.1)
        assert late.state == ProcessState(True, 137, "timeout", "SIGKILL")
        assert unified.sessions() == []


async def test_shell_and_folder(place: Open, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    async with unified_exec(place) as unified:
        done = await unified.exec_command(
            cmd="pwd; shopt -q login_shell && echo login",
            shell="/bin/bash",
            cwd=tmp_path,
            workdir="inner",
        )
        assert done.text.endswith(f"{tmp_path}/inner\nlogin\n")
        done = await unified.exec_command(
            cmd="shopt -q login_shell || echo plain; pwd",
            shell="/bin/bash",
            login=False,
            workdir="/",
        )
        assert done.text == "plain\n/\n"
        done = await unified.exec_command(cmd="echo $0", login=False)
        assert done.text.strip() == os.environ.get("SHELL", done.text.strip())


async def test_variables(place: Open) -> None:
    argv = ["/usr/bin/env"]
    async with unified_exec(place) as unified:
        done = await unified.exec_command(argv=argv, extra_env={"A": "1", "PAGER": "less"})
        lines = set(done.text.splitlines())
        expected = {**PLAIN_VARIABLES, "A": "1", "PAGER": "less"}
        assert lines > {f"{name}={value}" for name, value in expected.items()}
        done = await unified.exec_command(argv=argv, env={"X": "1"})
        assert done.text == "X=1\n"


async def test_arguments_that_make_no_sense(place: Open) -> None:
    policy = EnvironmentPolicy("all", True, OsTexts(), OsMap(), OsTexts())
    async with unified_exec(place) as unified:
        senseless: list[dict[str, Any]] = [
            {},
            {"cmd": "true", "argv": ["true"]},
            {"argv": []},
            {"cmd": "true", "env": {}, "env_policy": policy},
            {"cmd": "true", "max_output_bytes": -1},
        ]
        for arguments in senseless:
            with pytest.raises(ValueError, match=r"argv|env_policy|budget"):
                await unified.exec_command(**arguments)
        assert unified.sessions() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"argv": ["/no/such"]}, "[Errno 2] execve: No such file or directory: '/no/such'"),
        ({"argv": ["/etc/passwd"]}, "[Errno 13] execve: Permission denied: '/etc/passwd'"),
        ({"cmd": "true", "workdir": "/no"}, "[Errno 2] chdir: No such file or directory: '/no'"),
        ({"cmd": "a\0b"}, "nul byte found in provided data"),
        ({"cmd": "true", "rlimits": {"odd": 1}}, "unknown resource limit `odd`"),
    ],
)
async def test_a_command_that_cannot_start(place: Open, arguments: Any, message: str) -> None:
    async with unified_exec(place) as unified:
        for _ in range(2):
            answer = await unified.exec_command(**arguments)
            assert answer.session_id is None
            assert answer.state.failure is not None
            assert answer.state == ProcessState(True, failure=answer.state.failure)
            assert answer.state.failure.kind == "start"
            assert str(answer.state.failure).startswith(message)
            assert answer.text == ""
            assert unified.sessions() == []


async def test_output_is_told_once_and_in_order(place: Open) -> None:
    script = "for n in $(seq 300); do echo $n; sleep 0.001; done; echo end >&2"
    async with unified_exec(place) as unified:
        answer = await unified.exec_command(cmd=script, yield_time_ms=5)
        told = [all_of(answer)]
        while answer.session_id is not None:
            answer = await unified.write_stdin(answer.session_id, yield_time_ms=5)
            told.append(all_of(answer))
        assert b"".join(told) == b"".join(b"%d\n" % n for n in range(1, 301)) + b"end\n"
        assert len(told) > 3
        assert answer.state.exit_code == 0


async def test_an_end_is_told_as_often_as_it_is_asked_for(place: Open) -> None:
    async with unified_exec(place) as unified:
        session = running(
            await unified.exec_command(cmd="read x; echo $x; exit 4", stdin=True, yield_time_ms=0)
        )
        first = await unified.write_stdin(session, "word\n", yield_time_ms=20_000)
        assert (first.session_id, first.text) == (None, "word\n")
        assert first.state == ProcessState(True, 4, "exit")
        for chars in ("", "more\n", "\x03", ""):
            again = await unified.write_stdin(session, chars)
            assert (again.state, again.session_id, again.text) == (first.state, None, "")
            assert again.input_failure == ("the process has ended" if chars else None)


async def test_ids_that_are_not_known(place: Open) -> None:
    limits = Limits(remembered=1, shortest_ms=0, shortest_poll_ms=0)
    async with unified_exec(place, limits) as unified:
        ids = await start_many(unified, "cat", "cat")
        for session in ids:
            assert (await unified.end(session)).state.exit_code == 137
        with pytest.raises(UnknownSession, match=f"there is no session {ids[0]}"):
            await unified.write_stdin(ids[0], "x")
        with pytest.raises(UnknownSession):
            await unified.end(-1)
        assert (await unified.write_stdin(ids[1])).state.has_exited


async def test_the_middle_of_much_output_is_left_out_and_counted(place: Open) -> None:
    whole = b"".join(b"%d\n" % n for n in range(1, 1_000_001))
    async with unified_exec(place) as unified:
        for tokens, octets in ((250, None), (None, 1000), (300, 1000)):
            answer = await unified.exec_command(
                cmd="seq 1000000",
                login=False,
                max_output_tokens=tokens,
                max_output_bytes=octets,
            )
            assert (len(answer.head), len(answer.tail)) == (500, 500)
            assert whole.startswith(answer.head)
            assert whole.endswith(answer.tail)
            assert answer.omitted_bytes == len(whole) - 1000
            shown = answer.head.count(b"\n") + answer.tail.count(b"\n")
            assert answer.omitted_lines == 1_000_000 - shown
            marker = (
                f"[... {answer.omitted_bytes} bytes ({answer.omitted_lines} lines) left out ...]"
            )
            assert marker in answer.text.splitlines()
        answer = await unified.exec_command(cmd="seq 1000000")
        assert len(answer.head) + len(answer.tail) == 40_000


async def test_what_the_node_dropped_is_counted(place: Open) -> None:
    async with unified_exec(place) as unified:
        retention = Retention("drop-oldest", 64 << 10)
        answer = await unified.exec_command(
            cmd=f"head -c {300 * MIB} /dev/zero", retention=retention, login=False
        )
        assert len(answer.head) + answer.omitted_bytes + len(answer.tail) == 300 * MIB


async def test_much_output_takes_no_memory_and_no_time_of_others(
    place: Open, setting: tuple[str, str]
) -> None:
    size = (64 if setting[1].endswith("json") else 256) * MIB  # JSON takes its time
    before = forget_peak()
    async with unified_exec(place) as unified:
        command = f"head -c {size} /dev/zero; echo; echo end"
        session = running(await unified.exec_command(cmd=command, login=False, yield_time_ms=0))
        other = await unified.exec_command(cmd="echo quick", login=False)
        assert other.text == "quick\n"
        answer = await unified.write_stdin(session, yield_time_ms=40_000)
        assert answer.state == ProcessState(True, 0, "exit")
        assert answer.tail.endswith(b"\0\nend\n")
        assert len(answer.head) + answer.omitted_bytes + len(answer.tail) == size + 5
    assert memory("VmHWM") - before < 32 * MIB


def forget_peak() -> int:
    """Have the peak of memory begin anew (proc_pid_clear_refs(5)); what is used now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


async def test_an_answer_does_not_wait_for_what_was_left_behind(place: Open) -> None:
    async with unified_exec(place) as unified:
        answer = await unified.exec_command(cmd="sleep 100 & echo done; exit 5")
        assert (answer.text, answer.state.exit_code) == ("done\n", 5)


async def test_the_last_words_belong_to_the_answer(place: Open) -> None:
    async with unified_exec(place) as unified:
        for script in ("seq 10000; exit 1", "sleep 30 & seq 10000; exit 1"):
            for _ in range(5):
                answer = await unified.exec_command(
                    cmd=script, login=False, max_output_tokens=20_000
                )
                assert all_of(answer).endswith(b"\n10000\n")
                assert answer.state.exit_code == 1


async def test_characters_are_whole(place: Open) -> None:
    script = r"printf 'a\342\202'; read x; printf '\254b'; read x; printf '\342'"
    async with unified_exec(place) as unified:
        session = running(await unified.exec_command(cmd=script, stdin=True, yield_time_ms=0))
        assert await until(unified, session, "a") == b"a"
        assert await until(unified, session, "b", "\n") == "€b".encode()
        last = await unified.write_stdin(session, "\n", yield_time_ms=20_000)
        assert (last.head, last.text) == (b"\xe2", "\ufffd")


# --- input ----------------------------------------------------------------------------------


async def test_a_shell_on_a_terminal(place: Open) -> None:
    async with unified_exec(place) as unified:
        answer = await unified.exec_command(
            argv=["bash", "--norc", "--noprofile", "-i"],
            tty=True,
            extra_env={"PS1": "> "},
            yield_time_ms=0,
        )
        session = running(answer)
        await until(unified, session, "> ")
        await until(unified, session, r"\r\n42\r\n> ", "echo $((6 * 7))\n")
        await until(unified, session, "ready", "sh -c 'echo rea\"\"dy; exec sleep 100'\n")
        await until(unified, session, r"\^C\r\n> ", "\x03")
        assert b"130" in await until(unified, session, r"\d\r\n> ", "echo $?\n")
        await until(unified, session, r"\r\n> ", "(exit 9)\n")
        last = await unified.write_stdin(session, "\x04", yield_time_ms=20_000)
        assert last.state == ProcessState(True, 9, "exit")


async def test_python_on_a_terminal(place: Open) -> None:
    async with unified_exec(place) as unified:
        answer = await unified.exec_command(
            argv=[sys.executable, "-q", "-i"], tty=True, yield_time_ms=0
        )
        session = running(answer)
        await until(unified, session, ">>> ")
        await until(unified, session, r"\n1024\r\n>>> ", "2 ** 10\n")
        await until(unified, session, "ready", "import time; print('rea' 'dy'); time.sleep(100)\n")
        await until(unified, session, r"KeyboardInterrupt\r\n>>> ", "\x03")
        last = await unified.write_stdin(session, "raise SystemExit(3)\n", yield_time_ms=20_000)
        assert last.state == ProcessState(True, 3, "exit")


async def test_a_pipe_and_its_end(place: Open) -> None:
    async with unified_exec(place) as unified:
        session = running(await unified.exec_command(argv=["cat"], stdin=True, yield_time_ms=0))
        assert (
            await until(unified, session, "\n", "\x03 is a byte here\n") == b"\x03 is a byte here\n"
        )
        last = await unified.write_stdin(session, "\x04", yield_time_ms=20_000)
        assert last.state == ProcessState(True, 0, "exit")


async def test_ctrl_c_without_a_terminal(place: Open) -> None:
    script = "trap 'echo got; exit 7' INT; echo ready; while :; do sleep 0.01; done"
    async with unified_exec(place) as unified:
        session = running(await unified.exec_command(cmd=script, yield_time_ms=0))
        await until(unified, session, "ready")
        refused = await unified.write_stdin(session, "words")
        assert refused.input_failure is not None
        assert "without a terminal and without stdin" in refused.input_failure
        assert running(refused) == session
        last = await unified.write_stdin(session, "\x03", yield_time_ms=20_000)
        assert (last.text, last.state.exit_code, last.input_failure) == ("got\n", 7, None)


async def test_input_that_is_not_taken(place: Open) -> None:
    closed = "the program has closed its standard input, or has ended"
    async with unified_exec(place) as unified:
        script = "exec <&-; echo closed; exec sleep 100"
        session = running(await unified.exec_command(cmd=script, stdin=True, yield_time_ms=0))
        await until(unified, session, "closed")
        for _ in range(2):
            answer = await unified.write_stdin(session, "x")
            while answer.input_pending:
                answer = await unified.write_stdin(session, yield_time_ms=20)
            assert (running(answer), answer.input_failure) == (session, closed)
        assert (await unified.write_stdin(session, yield_time_ms=0)).input_failure is None


async def test_input_that_is_not_read_yet(place: Open) -> None:
    data = b"x" * MIB + b"\n"
    async with unified_exec(place) as unified:
        script = "trap 'wc -c; exit' INT; echo ready; while :; do sleep 0.01; done"
        session = running(
            await unified.exec_command(cmd=script, stdin=True, login=False, yield_time_ms=0)
        )
        await until(unified, session, "ready")
        answer = await unified.write_stdin(session, data, yield_time_ms=100)
        assert (answer.input_pending, answer.input_failure) == (True, None)
        answer = await unified.write_stdin(session, "y")
        assert answer.input_failure == "the program has not read yet what was written before"
        answer = await unified.write_stdin(session, "\x03", yield_time_ms=0)
        assert answer.input_failure is None
        while answer.input_pending:
            answer = await unified.write_stdin(session, yield_time_ms=20)
        last = await unified.write_stdin(session, "\x04", yield_time_ms=20_000)
        assert last.text.strip() == str(len(data))


# --- several calls ---------------------------------------------------------------------------


async def test_calls_for_one_session_are_answered_in_their_order(place: Open) -> None:
    answers: list[str] = []
    async with unified_exec(place) as unified:
        session = running(await unified.exec_command(argv=["cat"], stdin=True, yield_time_ms=0))

        async def call(chars: str) -> None:
            answer = await unified.write_stdin(session, chars, yield_time_ms=30_000)
            assert answer.input_failure is None
            answers.append(chars)

        async with anyio.create_task_group() as tasks:
            for chars in ("", "one\n", "two\n", "\x04"):
                tasks.start_soon(call, chars)
                await anyio.wait_all_tasks_blocked()
        assert answers == ["", "one\n", "two\n", "\x04"]


async def test_a_cancelled_call_loses_nothing(place: Open) -> None:
    script = "for n in $(seq 200); do echo $n; sleep 0.002; done; exit 2"
    told = b""
    async with unified_exec(place) as unified:
        with anyio.move_on_after(0.05):
            await unified.exec_command(cmd=script)
        [summary] = unified.sessions()
        assert summary.argv[-1] == script
        for seconds in (0.01, 0.02, 0.03):
            with anyio.move_on_after(seconds):
                told += all_of(await unified.write_stdin(summary.session_id))
        answer = await unified.write_stdin(summary.session_id)
        told += all_of(answer)
        assert told == b"".join(b"%d\n" % n for n in range(1, 201))
        assert answer.state.exit_code == 2


async def test_a_cancelled_command_ends_where_that_is_wanted(place: Open, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 100"
    async with unified_exec(place) as unified:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                partial(unified.exec_command, cmd=script, login=False, end_when_cancelled=True)
            )
            while not await anyio.Path(tmp_path / "pid").exists():  # noqa: ASYNC110
                await anyio.sleep(0.01)  # nothing announces it
            tasks.cancel_scope.cancel()
        assert unified.sessions() == []
        await gone(int((tmp_path / "pid").read_text()))


async def test_leaving_ends_all_processes(place: Open) -> None:
    async with place() as here:
        async with manager(here) as unified:
            answer = await unified.exec_command(cmd="echo $$; exec sleep 100", yield_time_ms=0)
            pid = int((await until(unified, running(answer), r"\d\n")).split()[-1])
        await gone(pid)
        with pytest.raises(anyio.ClosedResourceError):
            await unified.exec_command(cmd="true")


async def gone(pid: int) -> None:
    """Return when there is no such process."""
    with anyio.fail_after(30):
        while await anyio.Path(f"/proc/{pid}").exists():  # noqa: ASYNC110 (nothing announces it)
            await anyio.sleep(0.01)


async def test_another_way_to_start(place: Open) -> None:
    seen: list[Any] = []
    with anyio.fail_after(40):
        async with place() as here, manager(here) as unified:

            @asynccontextmanager
            async def starter(argv: Any, options: Any) -> Any:
                seen.append(argv)
                options["extra_env"]["ADDED"] = "by the starter"
                async with await here.exec.start(argv, **options) as process:
                    yield process
                seen.append(process.returncode)

            answer = await unified.exec_command(
                argv=["sh", "-c", "echo $ADDED; exit 6"], starter=starter
            )
            assert answer.text == "by the starter\n"
            assert seen == [["sh", "-c", "echo $ADDED; exit 6"], 6]


# --- many processes --------------------------------------------------------------------------


async def start_many(unified: UnifiedExec, *commands: str) -> list[int]:
    ids = []
    for each in commands:
        command = f"echo ready; {each}"
        answer = await unified.exec_command(cmd=command, login=False, tty=True, yield_time_ms=0)
        ids.append(running(answer))
        await until(unified, ids[-1], "ready")
    return ids


async def test_the_least_recently_used_makes_room(place: Open, tmp_path: Path) -> None:
    ending = f"while ! [ -e {tmp_path}/go ]; do sleep 0.01; done; echo hi; exit 1"
    limits = Limits(processes=4, protected=2, shortest_ms=0, shortest_poll_ms=0)
    why = Failure("evicted", "it was ended to make room: there are at most 4 processes")
    async with unified_exec(place, limits) as unified:
        ids = await start_many(unified, "cat", ending, "cat", "cat")
        (tmp_path / "go").touch()
        while not next(s for s in unified.sessions() if s.session_id == ids[1]).state.has_exited:
            await unified.write_stdin(ids[0], yield_time_ms=20)
        assert [each.session_id for each in unified.sessions()] == [ids[1], ids[2], ids[3], ids[0]]

        # One that has ended goes first; what is known of its end stays known.
        fifth = await unified.exec_command(cmd="cat", tty=True, yield_time_ms=0)
        [dropped, crowded] = fifth.warnings
        assert f"the output of session {ids[1]}, which had ended, was dropped" in dropped
        assert crowded.startswith("4 processes run, and at most 4 are held")
        ended = await unified.write_stdin(ids[1])
        assert (ended.state.exit_code, ended.head, ended.omitted_bytes) == (1, b"", 4)

        # Then one that runs, but none of those that were used last.
        sixth = await unified.exec_command(cmd="cat", tty=True, yield_time_ms=0)
        assert f"session {ids[2]} was ended" in sixth.warnings[0]
        for _ in range(2):
            gone = await unified.write_stdin(ids[2], yield_time_ms=20_000)
            assert gone.state == ProcessState(True, 137, "killed", "SIGKILL", failure=why)
        held = [ids[3], ids[0], fifth.session_id, sixth.session_id]
        assert [each.session_id for each in unified.sessions()] == held


async def test_one_process_at_most(place: Open) -> None:
    limits = Limits(processes=1, shortest_ms=0, shortest_poll_ms=0)
    async with unified_exec(place, limits) as unified:
        first, second = await start_many(unified, "cat", "cat")
        assert (await unified.write_stdin(first)).state.exit_code == 137
        assert [each.session_id for each in unified.sessions()] == [second]
