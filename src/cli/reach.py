"""The node that a verb talks to, and the process on it that a REF names."""

import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import anyio

from execnode.client.errors import ProtocolError, Unsupported
from execnode.client.node import Node, ProcessInfo, connect

from .failure import FAILED, USAGE, Failure
from .places import default_socket

__all__ = ["Target", "complete_ref", "find", "required", "run_async"]

_T = TypeVar("_T")

_COMPLETION_SECONDS = 2.0


class Target(NamedTuple):
    """Where a node is; without a URL it is one inside this process."""

    url: str | None
    token_file: str | None

    @asynccontextmanager
    async def connected(
        self,
        *,
        code: int = FAILED,
        session_ttl: float | None = None,
        recovery: float = 80.0,
    ) -> AsyncIterator[Node]:
        """The node, for as long as the context lasts.

        What the body raises passes as it is, but for Unsupported, which becomes a Failure.

        session_ttl, recovery: as in `execnode.connect`. `code`: the exit code of the Failure that
        is raised when there is no node to talk to.
        """
        raised: BaseException | None = None
        async with AsyncExitStack() as stack:
            try:
                node = await self._enter(stack, session_ttl, recovery)
            except (OSError, ProtocolError, ValueError) as error:
                raised = self.failure(error, code)
            else:
                try:
                    yield node
                except Unsupported as error:
                    raised = Failure(f"{self.url}: {error.message}", code=code)
                except (Exception, KeyboardInterrupt, SystemExit) as error:
                    raised = error  # out of the task groups, which would wrap it
        if raised is not None:
            try:
                raise raised
            finally:
                del raised  # or the traceback would keep itself alive

    async def _enter(
        self, stack: AsyncExitStack, session_ttl: float | None, recovery: float
    ) -> Node:
        place: Any = self.url
        if self.url is None:
            from execnode.embedded import embedded

            place = await stack.enter_async_context(embedded())
        node = connect(
            place,
            token_file=self.token_file if self.url else None,
            client_name="execnode-cli",
            session_ttl=session_ttl,
            recovery=recovery,
        )
        return await stack.enter_async_context(node)

    def failure(self, error: Exception, code: int) -> Failure:
        """What to say when there is no node to talk to."""
        from .unreached import unreached  # late: mostly there is one

        return unreached(self.url, self.token_file, error, code)


def required(url: str | None, token_file: str | None) -> Target:
    """The target of a verb that makes no sense without a node. Raises Failure."""
    if url:
        return Target(url, token_file)
    socket = default_socket()
    known = f"unix://{socket}" if socket.is_socket() else "URL"
    hint = f"name one with --node {known}, or once with: export EXECNODE_NODE={known}"
    if known == "URL":
        hint = "start one with `execnode serve`, then: export EXECNODE_NODE=URL (which it prints)"
    raise Failure("no node was named", hint, USAGE)


def run_async(function: Callable[[], Coroutine[Any, Any, _T]], target: Target) -> _T:
    """Run in an event loop: asyncio, which starts faster, unless the node is in it too."""
    return anyio.run(function, backend="asyncio" if target.url else "trio")


async def find(node: Node, ref: str) -> ProcessInfo:
    """The process whose ref is, or alone begins with, `ref`. Raises Failure."""
    processes = await node.list(all_sessions=True)
    found = [each for each in processes if each.ref == ref] or [
        each for each in processes if ref and each.ref.startswith(ref)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        refs = ", ".join(each.ref for each in found)
        raise Failure(f"{ref} begins the refs of several processes: {refs}")
    raise Failure(f"no process on this node is called {ref}", "see: execnode ps --all")


def complete_ref(url: str | None, token_file: str | None, incomplete: str) -> list[Any]:
    """What completes a REF: those of the node, or nothing if there is none to ask."""
    from click.shell_completion import CompletionItem

    async def ask() -> list[ProcessInfo]:
        with anyio.fail_after(_COMPLETION_SECONDS):
            async with Target(url, token_file).connected(session_ttl=0, recovery=0) as node:
                return await node.list(all_sessions=True)

    try:
        processes = anyio.run(ask) if url else []
    except (Failure, OSError, ProtocolError):
        return []
    return [
        CompletionItem(each.ref, help=" ".join(map(os.fsdecode, each.argv)))
        for each in processes
        if each.ref.startswith(incomplete)
    ]
