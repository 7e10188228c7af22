"""A Unix socket between client and node whose connections break on demand."""

import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from execnode.client.transport import Transport


class CuttingProxy:
    """Passes bytes on both ways until it is told not to.

    `budgets`: for each connection in turn, after how many bytes from the node it is cut; those
    after the last stay. `cut` breaks the present connection at once. `connections` counts them.
    """

    def __init__(self, target: str, listener: socket.socket, budgets: Iterable[int]) -> None:
        self.url = f"unix://{listener.getsockname()}"
        self.connections = 0
        self._target = target
        self._listener = listener
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

    async def serve(self) -> None:
        """Take one connection after another."""
        while True:
            await self._open.wait()
            await anyio.wait_readable(self._listener)
            if not self._open.is_set():
                continue
            client = Transport(self._listener.accept()[0])
            upstream = socket.socket(socket.AF_UNIX)
            node = Transport(upstream)
            try:
                upstream.connect(self._target)
                self.connections += 1
                async with anyio.create_task_group() as tasks:
                    self._scope = tasks.cancel_scope
                    tasks.start_soon(self._pass, client, node, tasks, None)
                    tasks.start_soon(self._pass, node, client, tasks, next(self._budgets, None))
            except OSError:
                pass  # there is no node
            finally:
                client.close()
                node.close()

    async def _pass(
        self, source: Transport, sink: Transport, tasks: TaskGroup, budget: int | None
    ) -> None:
        try:
            while data := await source.receive():
                if budget is None:
                    await sink.send(data)
                    continue
                await sink.send(data[:budget])
                budget -= len(data)
                if budget <= 0:
                    break
        except OSError:
            pass
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def cutting_proxy(
    node_url: str, folder: Path, budgets: Iterable[int] = ()
) -> AsyncIterator[CuttingProxy]:
    """A proxy in front of the node at a unix: URL."""
    path = folder / "proxy.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        proxy = CuttingProxy(node_url.removeprefix("unix://"), listener, budgets)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(proxy.serve)
            yield proxy
            tasks.cancel_scope.cancel()
    path.unlink()
