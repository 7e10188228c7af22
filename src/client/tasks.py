"""Tasks that serve a body of code and end with it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple, Unpack

from anyio import CancelScope, create_task_group
from anyio.abc import TaskGroup

__all__ = ["Background", "background"]

Args = TypeVarTuple("Args")


class Background:
    """Starts tasks that go on until the body is through, also when the body is cancelled.

    A cancelled body still has to tidy up over the connection that these tasks keep.

    over: the body is through; what is started now is cancelled at once, if it is started at all.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._scopes: set[CancelScope] = set()
        self.over = False

    def start_soon(self, function: Callable[[Unpack[Args]], Awaitable[None]], *args: *Args) -> None:
        """Call `function` in a task of its own. It must not raise."""
        self._tasks.start_soon(self._run, function, args)

    async def _run(
        self, function: Callable[[Unpack[Args]], Awaitable[None]], args: tuple[*Args]
    ) -> None:
        with CancelScope(shield=True) as scope:
            self._scopes.add(scope)
            if self.over:
                scope.cancel()
            await function(*args)
        self._scopes.discard(scope)

    def end(self) -> None:
        """Cancel all tasks."""
        self.over = True
        for scope in self._scopes:
            scope.cancel()


@asynccontextmanager
async def background() -> AsyncIterator[Background]:
    """Background tasks for the body of the context.

    A plain task group wraps what its body raises in an ExceptionGroup, which would hide the
    caller's own exceptions from the caller's except clauses. Here they pass as they are.
    """
    failure: BaseException | None = None
    async with create_task_group() as tasks:
        serving = Background(tasks)
        try:
            yield serving
        except (Exception, KeyboardInterrupt, SystemExit) as exc:
            failure = exc
        finally:
            serving.end()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # or the traceback would keep itself alive
