"""A task group that shows its body's exceptions as they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import create_task_group
from anyio.abc import TaskGroup

__all__ = ["background_tasks"]


@asynccontextmanager
async def background_tasks() -> AsyncIterator[TaskGroup]:
    """A task group for tasks that serve the body and end with it.

    A plain task group wraps what its body raises in an ExceptionGroup, which would hide the
    caller's own exceptions from the caller's except clauses. Here they pass as they are. The tasks
    themselves must not raise; they are cancelled when the body ends.
    """
    failure: BaseException | None = None
    async with create_task_group() as tasks:
        try:
            yield tasks
        except (Exception, KeyboardInterrupt, SystemExit) as exc:
            failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # or the traceback would keep itself alive
