"""What the tools do: run commands for one client, past both gates."""

from __future__ import annotations

import math
import posixpath
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

import anyio

from execnode.client.options import StartOptions
from execnode.environment.services import Environment
from execnode.mcp.gate import Admission, Gate, Refusal
from execnode.mcp.interception import AskingPolicy, start_intercepted
from execnode.mcp.questions import Desk
from execnode.mcp.settings import Settings
from execnode.mcp.tools import (
    ExecArguments,
    SessionResult,
    ShellArguments,
    ShellResult,
    WriteArguments,
)
from execnode.protocol.errors import ProtocolError
from execnode.protocol.presets import Sandbox
from execnode.protocol.sandbox import SandboxContext
from execnode.unified import (
    PLAIN_VARIABLES,
    ExecOutput,
    Limits,
    Starter,
    UnifiedExec,
)
from execnode.unified.session import Session, start_in

__all__ = ["Commands"]

_LIMITS: Final = Limits()
_NOT_RUN: Final = 1
_TIMED_OUT: Final = 124
_UNKNOWN: Final = 125
# Seconds for the last words of a command that is ended.
_PATIENCE: Final = 5.0


class Commands:
    """The commands of one client. Each call has a desk, where it puts its questions.

    unified: has those that outlive their call.
    """

    def __init__(self, environment: Environment, settings: Settings, unified: UnifiedExec) -> None:
        self._environment = environment
        self._settings = settings
        self._sandbox = _sandbox(environment, settings)
        self._gate = Gate(
            settings.rules,
            settings.unmatched,
            confined=self._sandbox is not None,
            last=not settings.intercept,
        )
        self._shell = settings.shell or environment.info.shell.path
        self._unified = unified
        # A session's questions outlive the call that began it; its starter has the desk.
        self._desks: WeakValueDictionary[int, Desk] = WeakValueDictionary()

    def shell_desk(self, arguments: ShellArguments) -> Desk:
        """A desk for `shell`, whose stopwatch has the command's limit."""
        asked = arguments.timeout_ms
        return Desk(self._settings.timeout if asked is None else asked / 1000)

    def session_desk(self, session_id: int) -> Desk:
        """The desk of a session, for `write_stdin`."""
        return self._desks.get(session_id) or Desk()

    # --- the tools ----------------------------------------------------------------------------

    async def shell(self, arguments: ShellArguments, desk: Desk) -> ShellResult:
        """Run a command to its end. Cancelled, it is ended with all that it has started."""
        flag = "-lc" if arguments.login else "-c"
        folder = self._folder(arguments.workdir)
        admission = await self._admit(flag, arguments.command, folder, desk)
        if isinstance(admission, Refusal):
            return ShellResult(
                exit_code=_NOT_RUN,
                output="",
                duration_seconds=0,
                refusal=admission.kind,
                message=admission.told,
            )
        policy = self._policy(admission, desk)
        options = StartOptions(
            cwd=folder, extra_env=PLAIN_VARIABLES, sandbox=self._sandbox_for(admission)
        )
        session = Session([self._shell, flag, arguments.command], options, _LIMITS.kept_bytes)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.live, self._starter(policy))
            async with session.turn():
                with desk.stopwatch:
                    await session.wait(math.inf)
                if desk.stopwatch.expired:
                    session.end()
                    await session.wait(_PATIENCE)
            tasks.cancel_scope.cancel()
        return _shell_result(session, desk, policy)

    async def exec_command(self, arguments: ExecArguments, desk: Desk) -> SessionResult:
        """Start a command; answer when it has ended or the time is over, and nothing is asked."""
        flag = "-lc" if arguments.login else "-c"
        folder = self._folder(arguments.workdir)
        admission = await self._admit(flag, arguments.cmd, folder, desk)
        if isinstance(admission, Refusal):
            return SessionResult(
                session_id=None,
                exit_code=_NOT_RUN,
                output="",
                wall_time_seconds=0,
                refusal=admission.kind,
                message=admission.told,
            )
        policy = self._policy(admission, desk)
        answer = await self._unified.exec_command(
            argv=[self._shell, flag, arguments.cmd],
            workdir=folder,
            yield_time_ms=arguments.yield_time_ms,
            max_output_tokens=arguments.max_output_tokens,
            starter=self._starter(policy),
            end_when_cancelled=True,
            tty=arguments.tty,
            sandbox=self._sandbox_for(admission),
        )
        if answer.session_id is not None:
            self._desks[answer.session_id] = desk
        await _settled(desk)
        return _session_result(answer, policy)

    async def write_stdin(self, arguments: WriteArguments, desk: Desk) -> SessionResult:
        """Type to a session, or look at it. Raises UnknownSession."""
        answer = await self._unified.write_stdin(
            arguments.session_id,
            arguments.chars,
            yield_time_ms=arguments.yield_time_ms,
            max_output_tokens=arguments.max_output_tokens,
        )
        await _settled(desk)
        return _session_result(answer, None)

    # --- how a command is started -------------------------------------------------------------

    def _folder(self, workdir: str | None) -> str:
        own = self._environment.exec.cwd
        return posixpath.normpath(posixpath.join(own, workdir)) if workdir else own

    async def _admit(self, flag: str, script: str, folder: str, desk: Desk) -> Admission | Refusal:
        # By its name, since the shell is of our choice, wherever it is.
        argv = [posixpath.basename(self._shell), flag, script]
        return await self._gate.admit(argv, script, folder, desk)

    def _sandbox_for(self, admission: Admission) -> SandboxContext | None:
        """The sandbox of a command; where programs are intercepted, they leave it one by one."""
        if admission.approved and not self._settings.intercept:
            return None
        return self._sandbox

    def _policy(self, admission: Admission, desk: Desk) -> AskingPolicy | None:
        if self._settings.rules is None or not self._settings.intercept:
            return None
        return AskingPolicy(
            self._settings.rules, desk, admission.accepted, confined=self._sandbox is not None
        )

    def _starter(self, policy: AskingPolicy | None) -> Starter:
        if policy is None:
            return partial(start_in, self._environment)
        return partial(start_intercepted, self._environment, self._settings, policy)


def _sandbox(environment: Environment, settings: Settings) -> SandboxContext | None:
    match settings.sandbox:
        case "read-only":
            return Sandbox.read_only()
        case "workspace-write":
            return Sandbox.workspace_write(environment.exec.cwd)
    return None


async def _settled(desk: Desk) -> None:
    """Wait until no question is open."""
    while desk.questions:
        await desk.changed()


def _shell_result(session: Session, desk: Desk, policy: AskingPolicy | None) -> ShellResult:
    if session.error is not None and not isinstance(session.error, OSError | ProtocolError):
        raise session.error
    state, watch = session.state, desk.stopwatch
    answer = ExecOutput(None, state, *session.take(_LIMITS.budget(None, None)), watch.elapsed)
    code = _UNKNOWN if state.exit_code is None else state.exit_code
    if watch.expired:
        code = _TIMED_OUT
    elif policy is not None and policy.cancelled.is_set():
        code = _NOT_RUN
    return ShellResult(
        exit_code=code,
        duration_seconds=round(answer.wall_time, 3),
        timed_out=watch.expired,
        **_report(answer, policy),
    )


def _session_result(answer: ExecOutput, policy: AskingPolicy | None) -> SessionResult:
    return SessionResult(
        session_id=answer.session_id,
        exit_code=answer.state.exit_code,
        wall_time_seconds=round(answer.wall_time, 3),
        **_report(answer, policy),
    )


def _report(answer: ExecOutput, policy: AskingPolicy | None) -> dict[str, Any]:
    refusal = policy.refusal if policy is not None else None
    failure = answer.state.failure
    sentences = [
        refusal.told if refusal else None,
        failure.message if failure else None,
        "The sandbox seems to have kept it from something."
        if answer.state.sandbox_denied
        else None,
        answer.input_failure,
        "What was typed has not been read yet." if answer.input_pending else None,
        *answer.warnings,
    ]
    return {
        "output": answer.text,
        "omitted_bytes": answer.omitted_bytes,
        "signal": answer.state.signal,
        "refusal": refusal.kind if refusal else None,
        "message": " ".join(filter(None, sentences)) or None,
    }
