"""A command from its start to its end, wherever it runs: the shared part of all `run`s."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar, Unpack, overload

import anyio

from execnode.protocol.errors import RpcError

from .completed import Captured, Completed
from .errors import TimeoutExpired, Unsupported
from .options import Argument, Options, StartOptions
from .tasks import background

__all__ = ["Runner"]

_END_SECONDS = 5.0

ProcessT = TypeVar("ProcessT", covariant=True)


class Runner(ABC, Generic[ProcessT]):
    """Whoever starts programs, each in its own way; `run` is the same for all."""

    @property
    @abstractmethod
    def cwd(self) -> str:
        """Where programs run unless told otherwise."""

    @abstractmethod
    async def start(self, argv: Sequence[Argument], **options: Unpack[StartOptions]) -> ProcessT:
        """Start a program; see `execnode.Node.start`."""

    def _offers(self, _capability: str) -> bool:
        """Whether processes here can do this (environmentInfo.capabilities)."""
        return True

    @overload
    async def run(
        self,
        argv: Sequence[Argument],
        *,
        input: bytes | None = None,
        check: bool = False,
        encoding: None = None,
        **options: Unpack[Options],
    ) -> Completed[bytes]: ...
    @overload
    async def run(
        self,
        argv: Sequence[Argument],
        *,
        input: str | None = None,
        check: bool = False,
        encoding: str,
        errors: str = "strict",
        **options: Unpack[Options],
    ) -> Completed[str]: ...
    async def run(
        self,
        argv: Sequence[Argument],
        *,
        input: bytes | str | None = None,  # noqa: A002 (subprocess.run calls it so)
        check: bool = False,
        encoding: str | None = None,
        errors: str = "strict",
        **options: Unpack[Options],
    ) -> Completed[bytes] | Completed[str]:
        """Run a program to its end and give all that it wrote, like subprocess.run.

        input: written to its standard input, which is then closed; without it is /dev/null.
        check: raise CalledProcessError unless it ends with exit code 0.
        encoding, errors: of input and output as text; without an encoding both are bytes.
        options: `cwd`, `env`, `env_policy`, `extra_env`, `rlimits`, `limits`, `sandbox`, `timeout`
            and `grace` of `start`. At the timeout the program and its descendants are ended, also
            those that only keep its output open, and TimeoutExpired has all that was written.

        Raises besides what `start` does. Cancelling ends the program.
        """
        if input is not None and not self._offers("processCloseStdin"):
            raise Unsupported("way to close standard input", "processCloseStdin")
        if isinstance(input, str):
            input = input.encode(encoding or "utf-8", errors)  # noqa: A001
        timeout, grace = options.get("timeout"), options.get("grace")
        if not self._offers("processTimeout"):
            options.pop("timeout", None)
        # Before the start, so that it is over for us when it is for the node.
        deadline = math.inf if timeout is None else anyio.current_time() + timeout
        captured = Captured()
        process: Any = await self.start(argv, stdin=input is not None, **options)
        async with process, background() as tasks:
            if input is not None:
                tasks.start_soon(_feed, process, input)
            with anyio.CancelScope(deadline=deadline):
                await captured.drain(process)
            late = anyio.current_time() >= deadline
            if late:
                # The node's own timeout ends a program that runs; this reaches what one that has
                # ended left behind, too.
                await process.terminate(leftovers=True)
                with anyio.move_on_after((grace or 0) + _END_SECONDS):
                    await captured.drain(process)
        if timeout is not None and (late or process.reason == "timeout"):
            raise TimeoutExpired(process.args, timeout, captured.stdout, captured.stderr)
        done = captured.completed(process, encoding, errors)
        if check:
            done.check_returncode()
        return done


async def _feed(process: Any, data: bytes) -> None:
    """Write all input; a program that does not want it is no error, as in subprocess."""
    with suppress(ConnectionError, RpcError):
        await process.write(data)
        await process.close_stdin()
