"""What an environment offers, as services, and the environment itself.

An environment is a place where programs run: this machine, or another that a node serves. Its
services are the same objects to whoever uses them; local/ does everything here with the engine,
without a wire, remote/ has a node do it. What differs is what cannot be the same: a connection may
be lost (ConnectionError), and a node may lack a capability (Unsupported).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, Unpack, runtime_checkable

from execnode.client.channel import Gap, Output, Total
from execnode.client.files import Files
from execnode.client.http import HttpOptions, HttpReply, HttpStream
from execnode.client.running import Runner
from execnode.protocol.messages import EnvironmentInfo
from execnode.protocol.processes import ReadResponse, TerminateResponse
from execnode.protocol.sandbox import SandboxDenial, SandboxReport

if TYPE_CHECKING:
    from socket import socket

    from execnode.environment.local.exec import ExecSettings

__all__ = ["Environment", "Exec", "Http", "Process"]


@runtime_checkable
class Process(Protocol):
    """A process, from its start until it is left; `execnode.Process` says what each part means.

    Iterating gives `Output` and `Gap` items until the process has ended and all its output was
    given. Output that nobody takes stops the process as a full pipe would.
    """

    args: list[str | bytes]
    pid: int | None
    sandbox: SandboxReport | None
    unlimited: tuple[str, ...]

    @property
    def returncode(self) -> int | None:
        """Exit code; 128 + number for a signal, -1 when unknown; None while it runs."""

    @property
    def reason(self) -> str | None:
        """`exit`, `signal`, `timeout`, `oom`, `killed`, `policy` or `lost`; None while it runs."""

    @property
    def signal_name(self) -> str | None:
        """`SIGKILL` and the like for a process that a signal ended."""

    @property
    def sandbox_denied(self) -> bool:
        """Whether a sandbox seems to have made it fail."""

    @property
    def denial(self) -> SandboxDenial | None:
        """What the sandbox denied, where that is known."""

    @property
    def totals(self) -> Mapping[str, Total]:
        """Bytes and digest of each stream; empty until all has arrived."""

    def __aiter__(self) -> AsyncIterator[Output | Gap]:
        """The output."""

    async def __anext__(self) -> Output | Gap:
        """The next piece."""

    async def take(self, max_bytes: int = ...) -> list[Output | Gap]:
        """All pieces that are there, at least one; [] at the end."""

    async def wait(self) -> int:
        """The exit code, once it has ended."""

    async def read(
        self, *, after_seq: int = 0, max_bytes: int | None = None, wait: float = 0.0
    ) -> ReadResponse:
        """Events that are still kept, apart from iterating."""

    async def skip_to_end(self) -> None:
        """Drop the output that was not taken."""

    async def write(self, data: bytes) -> None:
        """Write to its standard input or terminal. Raises BrokenPipeError."""

    async def close_stdin(self) -> None:
        """End its standard input."""

    async def signal(self, name: str) -> None:
        """Send a signal to its process group."""

    async def resize(self, rows: int, cols: int) -> None:
        """Set the size of its terminal."""

    async def terminate(
        self, grace: float | None = None, *, leftovers: bool = False
    ) -> TerminateResponse:
        """End it and all its descendants."""

    def detach(self) -> None:
        """Do not end it when this object is left."""

    async def aclose(self) -> None:
        """Take no more output, and end it if it still runs."""

    async def __aenter__(self) -> Self:
        """Itself."""

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """`aclose`."""


Exec: TypeAlias = Runner[Process]
"""Starts programs, and runs them to their end; `execnode.Node` says what the options mean."""


class Http(Protocol):
    """Makes HTTP requests from the environment's place in the network."""

    async def request(self, method: str, url: str, **options: Unpack[HttpOptions]) -> HttpReply:
        """The whole response. Raises RpcError when there is none."""

    def stream(
        self, method: str, url: str, **options: Unpack[HttpOptions]
    ) -> AbstractAsyncContextManager[HttpStream]:
        """A response whose body is iterated over as it comes."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A place where programs run, with its files and its way to the network.

    `info` says what it is: shell, folders, version, capabilities.
    """

    info: EnvironmentInfo
    exec: Exec
    files: Files
    http: Http

    @staticmethod
    def local(settings: ExecSettings | None = None) -> AbstractAsyncContextManager[Environment]:
        """The machine that this program runs on; leaving the context ends its processes."""
        from execnode.environment.local.environment import local

        return local(settings)

    @staticmethod
    def connect(target: str | socket, **options: Any) -> AbstractAsyncContextManager[Environment]:
        """The machine of a node; arguments as for `execnode.connect`."""
        from execnode.environment.remote import connect

        return connect(target, **options)
