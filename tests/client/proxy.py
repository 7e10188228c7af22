"""A Unix socket between client and node whose connections break on demand."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import ByteStream, TaskGroup

_PIECE = 65536


class CuttingProxy:
    """Passes bytes on both ways until it is told not to.

    `budgets`: for each connection in turn, after how many bytes from the node it is cut; those
    after the last stay. `cut` breaks the present connection at once. `connections` counts them.
    """

    def __init__(self, target: Path, url: str, budgets: Iterable[int]) -> None:
        self.url = url
        self.connections = 0
        self._target = target
        self._budgets: Iterator[int] = iter(budgets)
        self._scope = anyio.CancelScope()
        self._open = anyio.Event()
        self._open.set()

    def cut(self) -> None:
        """Break the connection."""
        self._scope.cancel()

    def shut(self) -> None:
        """Break the connection; new ones have to wait for `open`."""
        self._open = anyio.Event()
        self.cut()

    def open(self) -> None:
        self._open.set()

    async def serve(self, client: ByteStream) -> None:
        async with client:
            await self._open.wait()
            self.connections += 1
            budget = next(self._budgets, None)
            node = await anyio.connect_unix(self._target)
            async with node, anyio.create_task_group() as tasks:
                self._scope = tasks.cancel_scope
                tasks.start_soon(self._pass, client, node, tasks, None)
                tasks.start_soon(self._pass, node, client, tasks, budget)

    async def _pass(
        self, source: ByteStream, sink: ByteStream, tasks: TaskGroup, budget: int | None
    ) -> None:
        try:
            while budget is None or budget > 0:
                data = await source.receive(_PIECE if budget is None else min(_PIECE, budget))
                await sink.send(data)
                if budget is not None:
                    budget -= len(data)
        except (anyio.EndOfStream, anyio.BrokenResourceError, OSError):
            pass
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def cutting_proxy(
    node_url: str, folder: Path, budgets: Iterable[int] = ()
) -> AsyncIterator[CuttingProxy]:
    path = folder / "proxy.sock"
    proxy = CuttingProxy(Path(node_url.removeprefix("unix://")), f"unix://{path}", budgets)
    listener = await anyio.create_unix_listener(path)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, proxy.serve)
        yield proxy
        tasks.cancel_scope.cancel()
    path.unlink()
