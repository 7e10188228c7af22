"""The process manager: starts commands, keeps their sessions, answers calls about them."""

import itertools
import os
import posixpath
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self, Unpack

import anyio

from execnode.client.options import Argument, Folder, StartOptions
from execnode.client.tasks import Background, background
from execnode.environment.services import Environment
from execnode.protocol.errors import ProtocolError
from execnode.unified.limits import PLAIN_VARIABLES, Limits
from execnode.unified.results import ExecOutput, SessionSummary, UnknownSession
from execnode.unified.session import Session, Starter, start_in

__all__ = ["UnifiedExec"]

_DEFAULT_LIMITS = Limits()


class UnifiedExec:
    """Runs commands in an environment, which a caller starts, looks at and writes to in turns.

        async with UnifiedExec(environment) as unified:
            answer = await unified.exec_command(cmd="make test", yield_time_ms=10_000)
            while answer.session_id is not None:
                answer = await unified.write_stdin(answer.session_id)

    A call answers when the process has ended or the call's time is over. Each byte of output is
    told by at most one answer, in order; what does not fit into an answer is left out of its middle
    and counted. Concurrent calls for one session are answered in the order in which they come, and
    one that waits for output while another comes is answered at once.

    Cancelling a call leaves the process, its input on the way and the output that was not told.
    Leaving the context ends all processes.

    variables: set for every command that is not given its exact environment.
    """

    def __init__(
        self,
        environment: Environment,
        limits: Limits = _DEFAULT_LIMITS,
        *,
        variables: Mapping[str, str] = PLAIN_VARIABLES,
    ) -> None:
        self._environment = environment
        self._limits = limits
        self._variables = variables
        # Not from 1: an id that a model remembers from an earlier manager must not be another's.
        self._ids = itertools.count(1000 + secrets.randbelow(9000))
        self._held: OrderedDict[int, Session] = OrderedDict()  # the least recently used first
        self._past: OrderedDict[int, Session] = OrderedDict()
        self._context = AsyncExitStack()
        self._tasks: Background | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await self._context.enter_async_context(background())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tasks = None
        await self._context.__aexit__(exc_type, exc, traceback)

    # --- the calls ----------------------------------------------------------------------------

    async def exec_command(
        self,
        *,
        cmd: str | None = None,
        argv: Sequence[Argument] | None = None,
        shell: str | None = None,
        login: bool = True,
        workdir: Folder | None = None,
        yield_time_ms: int | None = None,
        max_output_tokens: int | None = None,
        max_output_bytes: int | None = None,
        starter: Starter | None = None,
        end_when_cancelled: bool = False,
        **options: Unpack[StartOptions],
    ) -> ExecOutput:
        """Start a command; answer when it has ended or the time is over.

        cmd: a command for a shell; or argv: a program and its arguments. One of the two.
        shell: path of the shell on the environment's machine; None for its user's. login: run
            it as a login shell (`-lc`, else `-c`).
        workdir: folder to run in; a relative one is looked for in the environment's own.
        yield_time_ms: how long to wait for the end, within `Limits`.
        max_output_tokens, max_output_bytes: how much output the answer may hold, the smaller one
            if both are given; a token counts as four bytes.
        starter: starts the process in another way than `environment.exec.start`.
        end_when_cancelled: do not leave the process when the call is cancelled; otherwise it is in
            `sessions`.
        options: as for `environment.exec.start`. Without `tty` and `stdin` the command has no
            input, only Ctrl-C.

        A command that cannot be started is an answer whose state has a `failure`. Raises ValueError
        for arguments that make no sense.
        """
        began = anyio.current_time()
        seconds = self._limits.waiting(yield_time_ms, self._limits.exec_ms)
        budget = self._limits.budget(max_output_tokens, max_output_bytes)
        words = self._words(cmd, argv, shell, login=login)
        if workdir is not None:
            folder = os.fsdecode(options.get("cwd") or self._environment.exec.cwd)
            options["cwd"] = posixpath.join(folder, os.fsdecode(workdir))
        if options.get("env") is None:
            options["extra_env"] = {**self._variables, **(options.get("extra_env") or {})}
        if self._tasks is None:
            raise anyio.ClosedResourceError
        warnings = self._make_room()
        session = Session(words, options, self._limits.kept_bytes)
        session_id = next(self._ids)
        self._held[session_id] = session
        self._tasks.start_soon(session.live, starter or partial(start_in, self._environment))
        try:
            async with session.turn():
                await session.wait(seconds)
                if session.state.has_exited:
                    self._held.pop(session_id, None)
                    if session.error is not None and not _is_answer(session.error):
                        raise session.error
                else:
                    warnings += self._crowding()
                return self._answer(session_id, session, began, budget, warnings)
        except anyio.get_cancelled_exc_class():
            if end_when_cancelled:
                session.end()
                self._held.pop(session_id, None)
            raise

    async def write_stdin(
        self,
        session_id: int,
        chars: str | bytes = "",
        *,
        yield_time_ms: int | None = None,
        max_output_tokens: int | None = None,
        max_output_bytes: int | None = None,
    ) -> ExecOutput:
        r"""Write to a process, if there is something to write; answer like `exec_command`.

        chars: keys for a terminal, so `\x03` is Ctrl-C; bytes for a standard input that is a pipe,
            where `\x03` alone is SIGINT for the process group (also without `stdin`) and `\x04`
            alone ends the input. What could not be written is told by `input_failure`; what the
            program has not read when the time is over stays on its way (`input_pending`), and
            nothing else is written before it.

        A session whose process has ended answers with the same state whenever it is asked. Raises
        UnknownSession for an id that is not known or not any more.
        """
        began = anyio.current_time()
        if chars:
            seconds = self._limits.waiting(yield_time_ms, self._limits.write_ms)
        else:
            seconds = self._limits.polling(yield_time_ms)
        budget = self._limits.budget(max_output_tokens, max_output_bytes)
        session = self._find(session_id)
        async with session.turn():
            if chars:
                session.send(chars.encode() if isinstance(chars, str) else chars)
            await session.wait(seconds)
            return self._answer(session_id, session, began, budget)

    async def end(
        self,
        session_id: int,
        *,
        max_output_tokens: int | None = None,
        max_output_bytes: int | None = None,
    ) -> ExecOutput:
        """End a process with all its descendants, and give its last words.

        SIGKILL, after SIGTERM where `grace` was among the options of its start. Raises
        UnknownSession.
        """
        began = anyio.current_time()
        budget = self._limits.budget(max_output_tokens, max_output_bytes)
        session = self._find(session_id)
        session.end()
        async with session.turn():
            await session.wait(self._limits.longest_ms / 1000)
            return self._answer(session_id, session, began, budget)

    def sessions(self) -> list[SessionSummary]:
        """The processes that are held, the least recently used first."""
        return [
            SessionSummary(session_id, _shown(session.argv), session.state, len(session.window))
            for session_id, session in self._held.items()
        ]

    # --- how a command is started -------------------------------------------------------------

    def _words(
        self, cmd: str | None, argv: Sequence[Argument] | None, shell: str | None, *, login: bool
    ) -> Sequence[Argument]:
        if (cmd is None) == (argv is None):
            raise ValueError("exec_command takes either cmd or argv")
        if cmd is not None:
            path = shell or self._environment.info.shell.path
            return [path, "-lc" if login else "-c", cmd]
        if not argv:
            raise ValueError("argv must name a program")
        return list(argv)

    # --- which sessions there are -------------------------------------------------------------

    def _find(self, session_id: int) -> Session:
        """A session by its id, which is hereby used."""
        if session_id in self._held:
            self._held.move_to_end(session_id)
            return self._held[session_id]
        if session_id in self._past:
            self._past.move_to_end(session_id)
            return self._past[session_id]
        raise UnknownSession(session_id)

    def _make_room(self) -> tuple[str, ...]:
        """Have one place at least for a new process; what has to be said of it."""
        limit = self._limits.processes
        if len(self._held) < limit:
            return ()
        candidates = list(self._held)[: max(1, limit - self._limits.protected)]
        ended = (each for each in candidates if self._held[each].state.has_exited)
        session_id = next(ended, candidates[0])
        session = self._held[session_id]
        if session.state.has_exited:
            what = f"the output of session {session_id}, which had ended, was dropped"
        else:
            what = f"session {session_id} was ended"
        session.evict(f"it was ended to make room: there are at most {limit} processes")
        self._lay_down(session_id)
        return (f"There are at most {limit} processes, so {what}.",)

    def _crowding(self) -> tuple[str, ...]:
        count = sum(not session.state.has_exited for session in self._held.values())
        if count < self._limits.crowded:
            return ()
        return (
            f"{count} processes run, and at most {self._limits.processes} are held: after that the "
            "least recently used are ended. End those that are not needed.",
        )

    def _lay_down(self, session_id: int) -> None:
        """Hold it no more, but remember how it ended."""
        self._past[session_id] = self._held.pop(session_id)
        if len(self._past) > self._limits.remembered:
            self._past.popitem(last=False)

    # --- answers ------------------------------------------------------------------------------

    def _answer(
        self,
        session_id: int,
        session: Session,
        began: float,
        budget: int,
        warnings: tuple[str, ...] = (),
    ) -> ExecOutput:
        """What is told now. There is nothing to wait for between this and the caller."""
        state = session.state
        excerpt = session.take(budget)
        if state.has_exited and session_id in self._held:
            self._lay_down(session_id)
        return ExecOutput(
            None if state.has_exited else session_id,
            state,
            *excerpt,
            anyio.current_time() - began,
            session.take_input_failure(),
            session.input_pending,
            warnings,
        )


def _is_answer(error: Exception) -> bool:
    """Whether a start that failed so is told by its state."""
    return isinstance(error, OSError | ProtocolError)


def _shown(argv: Sequence[Argument]) -> tuple[str, ...]:
    return tuple(os.fsdecode(argument) for argument in argv)
