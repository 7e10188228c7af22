"""Whoever executes a program, by whatever call: the policy decides, and nothing else differs."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from execnode.engine.programs import WRAPPER
from execnode.environment.services import Environment
from execnode.escalation import Action, Deny, Escalate, Run
from tests.escalation.callers import INTERPOSED, PATCHED, SUPERVISED, Caller, Programs, Said
from tests.escalation.interception import Ended, Interception, collect, interception

pytestmark = pytest.mark.trio

ARGS = ("--exit", "7", "a b", "", "ü")
SUPERVISE = (str(WRAPPER), "--supervise", "--")
STDIN = b"through the pipe"

CASES = [
    *(pytest.param(caller, "patched", id=f"patched-{caller.name}") for caller in PATCHED),
    *(pytest.param(caller, "interposed", id=caller.name) for caller in INTERPOSED),
    *(pytest.param(caller, "supervised", id=f"supervised-{caller.name}") for caller in SUPERVISED),
]
ASKED_FIRST = [case for case in CASES if case.values[1] != "supervised"]


def environment(programs: Programs) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(programs.folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LANG": "C.UTF-8",
    }


async def ended(start: Callable[..., Awaitable[Any]], argv: Sequence[str], **options: Any) -> Ended:
    process = await start(argv, stdin=True, cwd="/usr/lib", **options)
    with suppress(BrokenPipeError):  # not all of them read
        await process.write(STDIN)
    await process.close_stdin()
    return await collect(process)


async def plainly(caller: Caller, programs: Programs, args: Sequence[str]) -> Ended:
    """What happens when nobody intercepts."""
    async with Environment.local() as machine:
        argv = caller.argv(programs, args)
        return await ended(machine.exec.start, argv, env=environment(programs))


async def intercepted(
    caller: Caller, kind: str, programs: Programs, action: Action, args: Sequence[str] = ARGS
) -> tuple[Ended, Interception]:
    """What happens when this is decided about the probe, and all else is run."""
    command = caller.argv(programs, args)
    probes = {programs.probe, *map(str, programs.folder.glob("git-probe"))}

    def decide(file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        path = Path(os.fsdecode(file))
        return action if str(path) in probes or path.name == "pre-commit" else Run()

    async with interception(decide, interpose=kind == "interposed") as inside:
        head = SUPERVISE if kind == "supervised" else ()
        done = await ended(inside.start, [*head, *command], env=environment(programs))
    return done, inside


def questions(inside: Interception) -> list[list[str]]:
    """The argument lists of the probes that were asked about."""
    names = ("probe", "git-probe", "pre-commit")
    asked = inside.policy.asked
    return [
        [os.fsdecode(word) for word in argv]
        for file, argv, _ in asked
        if Path(os.fsdecode(file)).name in names
    ]


def words(said: Said) -> list[str]:
    return [line[6:-1] for line in said.lines if line.startswith("argv <")]


@pytest.mark.parametrize(("caller", "kind"), CASES)
async def test_run_changes_nothing(caller: Caller, kind: str, programs: Programs) -> None:
    plain = await plainly(caller, programs, ARGS)
    done, inside = await intercepted(caller, kind, programs, Run())
    before, after = Said.of(plain), Said.of(done)
    assert words(after), done
    assert after.lines == before.lines
    sockets = range(900, 1024) if kind == "interposed" else (3,)
    assert after.descriptors - before.descriptors <= set(sockets)
    assert before.descriptors <= after.descriptors
    assert (done.code, done.signal) == (plain.code, plain.signal)
    asked = questions(inside)
    assert [word for argv in asked for word in argv] == words(after)
    assert len(asked) == done.err.count("to stderr")


@pytest.mark.parametrize(("caller", "kind"), CASES)
async def test_deny_runs_nothing_and_says_why(
    caller: Caller, kind: str, programs: Programs
) -> None:
    done, inside = await intercepted(caller, kind, programs, Deny("because of the test"))
    assert not words(Said.of(done))
    assert "because of the test" in done.err
    assert questions(inside)
    if caller.ends_alike:
        assert done.code in ((126, 127) if kind == "supervised" else (1,))


@pytest.mark.parametrize(("caller", "kind"), ASKED_FIRST)
async def test_escalate_runs_it_outside(caller: Caller, kind: str, programs: Programs) -> None:
    plain = await plainly(caller, programs, ARGS)
    done, _ = await intercepted(caller, kind, programs, Escalate())
    before, after = Said.of(plain), Said.of(done)
    assert "env <EXEC_WRAPPER=" not in done.out
    assert after.outside() == before.outside()
    assert (done.code, done.signal) == (plain.code, plain.signal)


@pytest.mark.parametrize(("caller", "kind"), CASES)
async def test_a_signal_that_ends_it_is_seen(caller: Caller, kind: str, programs: Programs) -> None:
    args = ("--signal", "15")
    plain = await plainly(caller, programs, args)
    done, _ = await intercepted(caller, kind, programs, Run(), args)
    assert (done.code, done.signal) == (plain.code, plain.signal)
    if kind != "supervised":
        done, _ = await intercepted(caller, kind, programs, Escalate(), args)
        assert (done.code, done.signal) == (plain.code, plain.signal)


@pytest.mark.parametrize(("caller", "kind"), [c for c in CASES if c.values[1] == "supervised"])
async def test_the_supervisor_refuses_to_escalate(
    caller: Caller, kind: str, programs: Programs
) -> None:
    done, _ = await intercepted(caller, kind, programs, Escalate())
    assert not words(Said.of(done))
    assert "did not ask by the wrapper" in done.err
    assert done.code in (126, 127)
