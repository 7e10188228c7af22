"""One process of unified exec, from its start until it has ended and settled.

The session lives in a task of its own. It reads the process as fast as that writes, into a window
of bounded size, so a process waits for the way to it and never for the next call. Calls look at the
window, one after another.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import anyio
from anyio.abc import TaskGroup

from execnode.client.channel import Gap
from execnode.client.options import Argument, StartOptions
from execnode.environment.services import Environment, Process
from execnode.protocol.errors import ProtocolError
from execnode.unified.results import Failure, ProcessState
from execnode.unified.window import Excerpt, HeadTail

__all__ = ["Session", "Starter", "start_in"]

Starter: TypeAlias = Callable[
    [Sequence[Argument], StartOptions], AbstractAsyncContextManager[Process]
]
"""Starts a process, and ends it and whatever serves it when the context is left."""


@asynccontextmanager
async def start_in(
    environment: Environment, argv: Sequence[Argument], options: StartOptions
) -> AsyncIterator[Process]:
    """The usual Starter, when the environment is given."""
    async with await environment.exec.start(argv, **options) as process:
        yield process


_Action: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

# After the exit: seconds of a look for more output, how many looks in vain mean that there is none
# (with one, a loop that was held up might not have read what is there), and seconds for all of
# them. Who holds the pipes then is something that the process left behind.
_LOOK: Final = 0.05
_LOOKS: Final = 2
_PATIENCE: Final = 2.0

_INTERRUPT: Final = b"\x03"
_END: Final = b"\x04"
_ENDED: Final = "the process has ended"

# What starting a process and talking to it raise when it is not the caller's mistake.
_ERRORS: Final = (OSError, ProtocolError)


class Session:
    """A process, its output that was not told yet, and its calls in their order.

    error: what the start raised, if it did not start.
    """

    def __init__(self, argv: Sequence[Argument], options: StartOptions, kept_bytes: int) -> None:
        self.argv = argv
        self.state = ProcessState(has_exited=False)
        self.error: Exception | None = None
        self.window = HeadTail(kept_bytes)
        self._options = options
        self._process: Process | None = None
        self._tasks: TaskGroup | None = None  # while it runs
        self._early: list[_Action] = []  # what was asked before that
        self._scope = anyio.CancelScope()
        self._drained = anyio.Event()
        self._failure: Failure | None = None
        self._turns = anyio.Lock()
        self._callers = 0
        self._wake = anyio.Event()
        self._writing = False
        self._input_failure: str | None = None

    # --- its life -----------------------------------------------------------------------------

    async def live(self, starter: Starter) -> None:
        """Start the process and be there until it has ended, and its starter is through."""
        try:
            with self._scope:
                async with AsyncExitStack() as stack:
                    context = starter(self.argv, self._options)
                    try:
                        process = await stack.enter_async_context(context)
                    except Exception as exc:  # the caller of the call gets it
                        self.error = exc
                        self._fail("start", str(exc))
                        return
                    self._process = process
                    await self._follow(process)
        finally:
            self._finish()

    async def _follow(self, process: Process) -> None:
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._drain, process)
            for action in self._early:
                tasks.start_soon(action)
            try:
                await self._wait(process)
                await self._settle()
            finally:
                self._tasks = None
                tasks.cancel_scope.cancel()

    async def _wait(self, process: Process) -> None:
        try:
            await process.wait()
        except _ERRORS as exc:
            self._fail("lost", str(exc))

    async def _drain(self, process: Process) -> None:
        try:
            while items := await process.take():
                for item in items:
                    if isinstance(item, Gap):
                        self.window.skip(sum(item.bytes.values()))
                    else:
                        self.window.append(item.data)
        except _ERRORS as exc:
            self._fail("lost", str(exc))
        self._drained.set()

    async def _settle(self) -> None:
        """Wait for what is still in the pipes."""
        with anyio.move_on_after(_PATIENCE):
            looks = 0
            while not self._drained.is_set() and looks < _LOOKS:
                arrived = len(self.window)
                with anyio.move_on_after(_LOOK):
                    await self._drained.wait()
                looks = looks + 1 if arrived == len(self.window) else 0

    def _fail(self, kind: Literal["start", "lost", "evicted"], message: str) -> None:
        if self._failure is None:
            self._failure = Failure(kind, message)

    def _finish(self) -> None:
        process = self._process
        if process is None:
            self._fail("start", "it was ended before it had started")
            self.state = ProcessState(has_exited=True, failure=self._failure)
        else:
            if process.returncode is None:
                self._fail("lost", "its environment was left while it ran")
            self.state = ProcessState(
                True,
                process.returncode,
                process.reason,
                process.signal_name,
                process.sandbox_denied,
                self._failure,
            )
            self._process = None
        if self._writing:  # it waited for the start
            self._writing = False
            self._input_failure = _ENDED
        self._wake.set()

    def end(self) -> None:
        """Have it ended, with all its descendants; `wait` tells when it has happened."""
        if self._tasks is not None:
            self._tasks.start_soon(self._terminate)
        elif not self.state.has_exited:
            self._scope.cancel()

    async def _terminate(self) -> None:
        assert self._process is not None
        with suppress(*_ERRORS):  # a lost process is told of by whoever waits for it
            await self._process.terminate()

    def evict(self, why: str) -> None:
        """Have it ended if it runs, and keep nothing of its output but the size."""
        self.window.discard()
        if not self.state.has_exited:
            self._fail("evicted", why)
            self.end()

    # --- its calls ----------------------------------------------------------------------------

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The time of one call: calls get it in the order in which they come."""
        self._callers += 1
        self._wake.set()
        try:
            async with self._turns:
                yield
        finally:
            self._callers -= 1

    async def wait(self, seconds: float) -> None:
        """Wait until it has ended, the time is over, or the next call waits for its turn.

        In a turn. Cancelling it loses nothing.
        """
        with anyio.move_on_after(seconds):
            while not self.state.has_exited and (self._writing or self._callers == 1):
                self._wake = anyio.Event()
                await self._wake.wait()

    def take(self, budget: int) -> Excerpt:
        """The output that was not told yet."""
        return self.window.take(budget, final=self.state.has_exited)

    # --- its input ----------------------------------------------------------------------------

    @property
    def input_pending(self) -> bool:
        """Whether something was not read yet by the program."""
        return self._writing

    def take_input_failure(self) -> str | None:
        """What went wrong with input since this was last asked."""
        failure, self._input_failure = self._input_failure, None
        return failure

    def send(self, data: bytes) -> None:
        """Begin to write `data`; it is written whole unless there is an input failure.

        To a terminal, bytes are keys. To a process without one, a single 0x03 (Ctrl-C) is SIGINT
        for its group, and a single 0x04 (Ctrl-D) the end of its standard input.
        """
        terminal = self._options.get("tty")
        if self.state.has_exited or (self._process is not None and self._tasks is None):
            self._input_failure = _ENDED
        elif data == _INTERRUPT and not terminal:
            self._soon(self._interrupt)
        elif not terminal and not self._options.get("stdin"):
            self._input_failure = (
                "the process has no input: it was started without a terminal and without stdin"
            )
        elif self._writing:
            self._input_failure = "the program has not read yet what was written before"
        else:
            self._writing = True
            self._soon(partial(self._write, None if data == _END and not terminal else data))

    def _soon(self, action: _Action) -> None:
        if self._tasks is None:
            self._early.append(action)
        else:
            self._tasks.start_soon(action)

    async def _write(self, data: bytes | None) -> None:
        """Write; None closes the input."""
        assert self._process is not None
        try:
            if data is None:
                await self._process.close_stdin()
            else:
                await self._process.write(data)
        except BrokenPipeError:
            self._input_failure = "the program has closed its standard input, or has ended"
        except _ERRORS as exc:
            self._input_failure = str(exc)
        finally:
            self._writing = False
            self._wake.set()

    async def _interrupt(self) -> None:
        assert self._process is not None
        try:
            await self._process.signal("INT")
        except _ERRORS as exc:
            self._input_failure = str(exc)
