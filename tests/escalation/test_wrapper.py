"""The wrapper and the server together: what the caller sees of each answer."""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from execnode.escalation import Deny, Escalate, Run
from tests.escalation.interception import always, collect, escalated, interception, run

pytestmark = pytest.mark.trio

LOOK = """
import json, os, signal, sys
json.dump({"pid": os.getpid(), "sid": os.getsid(0), "env": dict(os.environ), "cwd": os.getcwd(),
    "umask": os.umask(0), "argv": sys.argv[1:],
    "fds": sorted(map(int, os.listdir("/proc/self/fd"))),
    "ignored": [int(s) for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN],
}, sys.stdout)
"""


# --- run ------------------------------------------------------------------------------------------


async def test_run_executes_in_place_and_changes_nothing() -> None:
    script = f"""
    umask 027; trap '' USR1 HUP; cd /usr; exec 7</etc/passwd
    SEEN=1 "$W" {sys.executable} {sys.executable} -S -E -c "$LOOK" a 'b c' '' &
    echo "$!" >&2; wait $!
    """
    async with interception(run) as inside:
        ended = await inside.shell(script, extra_env={"LOOK": LOOK})
        found = json.loads(ended.out)
    assert found["pid"] == int(ended.err)
    assert found["argv"] == ["a", "b c", ""]
    assert (found["cwd"], found["umask"], found["env"]["SEEN"]) == ("/usr", 0o27, "1")
    assert {signal.SIGUSR1, signal.SIGHUP} <= set(found["ignored"])
    assert found["fds"] == [0, 1, 2, 3, 4, 7]  # the inherited socket, the listing, and its own
    assert set(map(os.fsdecode, inside.server.env)) <= set(found["env"])


@pytest.mark.parametrize("action", [Run(), Escalate()])
@pytest.mark.parametrize("arg0", ["other", "-login", "", "--", "é\udcff"])
async def test_argv0_is_kept(action: Run | Escalate, arg0: str) -> None:
    async with interception(always(action)) as inside:
        process = await inside.wrapped(
            "/bin/sh", arg0, "-c", 'tr "\\0" "\\n" < /proc/$$/cmdline | head -1'
        )
        ended = await collect_bytes(process)
    assert ended == os.fsencode(arg0) + b"\n"


async def collect_bytes(process: object) -> bytes:
    data = b""
    async for item in process:  # type: ignore[attr-defined]
        data += item.data
    return data


async def test_a_script_without_an_interpreter_is_the_shells(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$0 $*"\n')
    script.chmod(0o755)
    for action in (Run(), Escalate()):
        async with interception(always(action)) as inside:
            ended = await inside.shell(f'"$W" {script} zero one two')
        assert (ended.code, ended.out) == (0, f"{script} one two\n"), ended.err


@pytest.mark.parametrize(("path", "code"), [("/nowhere/to/be", 127), ("/etc/passwd", 126)])
@pytest.mark.parametrize("action", [Run(), Escalate()])
async def test_what_cannot_be_executed_says_so(
    action: Run | Escalate, path: str, code: int
) -> None:
    async with interception(always(action)) as inside:
        ended = await inside.shell(f'"$W" {path} x')
    assert ended.code == (code if isinstance(action, Run) or code == 126 else 126)
    assert path in ended.err


async def test_the_file_is_found_from_the_callers_folder() -> None:
    async with interception(escalated) as inside:
        ended = await inside.shell('cd /usr/bin; "$W" ./env env printf ok; "$W" env env printf ok')
        assert ended.out == "okok", ended.err
        assert [asked[0] for asked in inside.policy.asked] == [b"/usr/bin/./env", b"/usr/bin/env"]
        assert {asked[2] for asked in inside.policy.asked} == {b"/usr/bin"}


# --- deny -----------------------------------------------------------------------------------------


async def test_deny_says_why_and_runs_nothing(tmp_path: Path) -> None:
    async with interception(always(Deny("not on a Sunday\nnor\0ever"))) as inside:
        ended = await inside.shell(f'"$W" /bin/touch touch {tmp_path}/ran')
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "execnode: /bin/touch: not on a Sunday\nnor?ever\n"
    assert not (tmp_path / "ran").exists()


async def test_a_policy_that_fails_denies(tmp_path: Path) -> None:
    async def fail() -> Run:
        raise RuntimeError("a bug")

    async with interception(lambda *_: fail()) as inside:
        ended = await inside.shell(
            f'"$W" /bin/touch touch {tmp_path}/ran; echo $?; "$W" /bin/true true'
        )
    assert (ended.code, ended.out) == (1, "1\n")
    assert not (tmp_path / "ran").exists()


# --- escalate -------------------------------------------------------------------------------------


async def test_escalated_it_runs_outside_as_it_would_have_inside() -> None:
    script = f"""
    umask 027; cd /usr; exec 7</etc/passwd
    SEEN=1 "$W" {sys.executable} {sys.executable} -S -E -c "$LOOK" a 'b c' '' <&-
    """
    async with interception(escalated) as inside:
        ended = await inside.shell(script, extra_env={"LOOK": LOOK, "LD_AUDIT": "", "GIT_DIR": "x"})
    found = json.loads(ended.out)
    assert found["sid"] == found["pid"]
    assert found["argv"] == ["a", "b c", ""]
    assert (found["cwd"], found["umask"], found["env"]["SEEN"]) == ("/usr", 0o27, "1")
    assert found["fds"] == [0, 1, 2]  # 0 is what lists the folder, since it was closed
    names = set(found["env"])
    assert names.isdisjoint({"EXECNODE_ESCALATE_FD", "EXEC_WRAPPER", "BASH_EXEC_WRAPPER"})
    assert names.isdisjoint({"LD_AUDIT", "GIT_DIR"})


async def test_its_descriptors_are_the_callers() -> None:
    async with interception(escalated) as inside:
        ended = await inside.shell(
            'printf "in" | "$W" /bin/sh sh -c "cat; echo out; echo err >&2" | cat -A'
        )
    assert (ended.out, ended.err) == ("inout$\n", "err\n")


async def test_descriptors_that_the_policy_names_come_along(tmp_path: Path) -> None:
    async with interception(always(Escalate(descriptors=(5, 40, 700)))) as inside:
        ended = await inside.shell(
            f"exec 5>{tmp_path}/five 6>{tmp_path}/six; "
            '"$W" /bin/sh sh -c "ls /proc/self/fd | xargs; echo five >&5"'
        )
    assert ended.out == "0 1 2 3 5\n", ended.err
    assert (tmp_path / "five").read_text() == "five\n"


async def test_its_environment_may_be_the_policys() -> None:
    async with interception(always(Escalate(env={"ONLY": "this"}))) as inside:
        ended = await inside.shell('"$W" /usr/bin/env env')
    assert ended.out == "ONLY=this\n"


async def test_options_of_the_start_may_be_the_policys() -> None:
    action = Escalate(options={"rlimits": {"nofile": 77}, "timeout": 0.2})
    async with interception(always(action)) as inside:
        ended = await inside.shell('"$W" /bin/sh sh -c "ulimit -n; exec sleep 100"; echo $?')
    assert ended.out.split() == ["77", "137"]


@pytest.mark.parametrize("code", [0, 1, 2, 125, 128, 255])
async def test_the_exit_code_comes_back(code: int) -> None:
    async with interception(escalated) as inside:
        process = await inside.wrapped("/bin/sh", "sh", "-c", f"exit {code}")
        ended = await collect(process)
    assert (ended.code, ended.signal) == (code, None)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGINT", "SIGPIPE"])
async def test_a_death_by_signal_comes_back_as_one(name: str) -> None:
    async with interception(escalated) as inside:
        process = await inside.wrapped("/bin/sh", "sh", "-c", f"kill -{name[3:]} $$")
        ended = await collect(process)
    assert (ended.signal, ended.code) == (name, 128 + signal.Signals[name])


async def test_arguments_and_environment_may_be_as_large_as_the_kernel_lets_them() -> None:
    # A quarter of the stack's limit is for arguments and environment, execve(2); 128 KiB for each.
    code = """
import os, sys
words = ["x" * 100_000] * 11
environment = {f"V{i}": "y" * 100_000 for i in range(8)} | dict(os.environ)
argv = [sys.argv[1], "/bin/sh", "sh", "-c", 'echo "$*$V0$V1" | wc -c', *words]
os.execve(argv[0], argv, environment)
"""
    assert resource.getrlimit(resource.RLIMIT_STACK)[0] >= 8 << 20
    for action in (Run(), Escalate()):
        async with interception(always(action)) as inside:
            wrapper = os.fsdecode(inside.server.env[b"EXEC_WRAPPER"])
            ended = await collect(await inside.start([sys.executable, "-c", code, wrapper]))
            assert ended.err == ""
            assert int(ended.out) == 10 * 100_000 + 9 + 200_000 + 1
            assert len(inside.policy.asked[0][1]) == 14


async def test_many_at_once_are_told_apart() -> None:
    script = 'for i in $(seq 60); do "$W" /bin/sh sh -c "echo $i; exit $i" & p="$p $!"; done;'
    script += " for each in $p; do wait $each; echo code $?; done"
    async with interception(escalated) as inside:
        ended = await inside.shell(script)
    lines = ended.out.splitlines()
    assert sorted(int(line) for line in lines if line.isdigit()) == list(range(1, 61))
    assert [line for line in lines if line.startswith("code")] == [
        f"code {i}" for i in range(1, 61)
    ]
