"""A socket between client and node whose connections break on demand."""

import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from execnode.client.transport import Transport


class CuttingProxy:
    """Passes bytes on both ways until it is told not to.

    `budgets`: for each connection in turn, after how many bytes from the node it is cut; those
    after the last stay. `cut` breaks the present connection at once. `connections` counts them.
    """

    def __init__(
        self,
        url: str,
        target: str | tuple[str, int],
        listener: socket.socket,
        budgets: Iterable[int],
    ) -> None:
        self.url = url
        self.connections = 0
        self._target = target
        self._listener = listener
        self._budgets: Iterator[int] = iter(budgets)
        self._left: int | None = None
        self._scope = anyio.CancelScope()
        self._open = anyio.Event()
        self._open.set()

    def listen(self) -> None:
        self._listener.listen()
        self._listener.setblocking(False)

    def cut(self) -> None:
        """Break the connection."""
        self._scope.cancel()

    def cut_after(self, count: int) -> None:
        """Break the connection when so many more bytes have come from the node."""
        self._left = count

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
            upstream = socket.socket(self._listener.family)
            try:
                upstream.connect(self._target)  # in this machine: at once
                node = Transport(upstream)
                self.connections += 1
                async with anyio.create_task_group() as tasks:
                    self._scope = tasks.cancel_scope
                    self._left = next(self._budgets, None)
                    tasks.start_soon(partial(self._pass, client, node, tasks, counted=False))
                    tasks.start_soon(partial(self._pass, node, client, tasks, counted=True))
            except OSError:
                pass  # there is no node
            finally:
                client.close()
                upstream.close()

    async def _pass(
        self, source: Transport, sink: Transport, tasks: TaskGroup, *, counted: bool
    ) -> None:
        try:
            while data := await source.receive():
                if not counted or self._left is None:
                    await sink.send(data)
                    continue
                await sink.send(data[: self._left])
                self._left -= len(data)
                if self._left <= 0:
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
        target = node_url.removeprefix("unix://")
        async with _serving(CuttingProxy(f"unix://{path}", target, listener, budgets)) as proxy:
            yield proxy
    path.unlink()


@asynccontextmanager
async def tcp_proxy(node_url: str, budgets: Iterable[int] = ()) -> AsyncIterator[CuttingProxy]:
    """A proxy in front of the node at a tcp: or ws: URL with an IPv4 address."""
    scheme, _, address = node_url.partition("://")
    host, _, port = address.partition(":")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        proxy = CuttingProxy(url, (host, int(port)), listener, budgets)
        async with _serving(proxy):
            yield proxy


@asynccontextmanager
async def _serving(proxy: CuttingProxy) -> AsyncIterator[CuttingProxy]:
    proxy.listen()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(proxy.serve)
        yield proxy
        tasks.cancel_scope.cancel()
