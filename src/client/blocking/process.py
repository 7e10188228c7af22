"""A process on a node, for programs without async."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Self

import anyio

from execnode.client import process as _process
from execnode.client.channel import Gap, Output, Total
from execnode.client.errors import TimeoutExpired
from execnode.protocol.sandbox import SandboxDenial, SandboxReport

from .calls import Caller, Closing, blocking

__all__ = ["Process"]


class Process(Closing[_process.Process]):
    """A process on a node; see `execnode.Process`, whose names and meanings these are."""

    def __init__(self, of: _process.Process, call: Caller) -> None:
        super().__init__(of, call)
        self._items: deque[Output | Gap] = deque()

    @property
    def args(self) -> Sequence[str | bytes]:
        """Program and arguments, as given to `start`; empty for an attached process."""
        return self._of.args

    @property
    def pid(self) -> int | None:
        """Process id on the node."""
        return self._of.pid

    @property
    def ref(self) -> str | None:
        """Name by which every session of the node can attach to the process."""
        return self._of.ref

    @property
    def sandbox(self) -> SandboxReport | None:
        """How its sandbox is enforced, and what of it is not; None without one."""
        return self._of.sandbox

    @property
    def unlimited(self) -> tuple[str, ...]:
        """Which of its optional limits it does not have."""
        return self._of.unlimited

    @property
    def returncode(self) -> int | None:
        """Exit code; None while the process runs."""
        return self._of.returncode

    @property
    def reason(self) -> str | None:
        """In which way it ended; None while the process runs."""
        return self._of.reason

    @property
    def signal_name(self) -> str | None:
        """`SIGKILL` and the like for a process that a signal ended."""
        return self._of.signal_name

    @property
    def sandbox_denied(self) -> bool:
        """Whether the node thinks that its sandbox made the process fail."""
        return self._of.sandbox_denied

    @property
    def denial(self) -> SandboxDenial | None:
        """What the sandbox denied, where that is known."""
        return self._of.denial

    @property
    def totals(self) -> Mapping[str, Total]:
        """Bytes and digest of each stream; empty until all has arrived."""
        return self._of.totals

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Output | Gap:
        if not self._items:
            self._items.extend(self._call(self._of.take))
        if not self._items:
            raise StopIteration
        return self._items.popleft()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once the process has ended. Output is not taken meanwhile.

        Raises TimeoutExpired after `timeout` seconds; the process runs on.
        """

        async def wait() -> int:
            with anyio.fail_after(timeout):
                return await self._of.wait()

        try:
            return self._call(wait)
        except TimeoutError:
            raise TimeoutExpired(self.args, timeout or 0.0) from None

    read = blocking(_process.Process.read)
    skip_to_end = blocking(_process.Process.skip_to_end)
    write = blocking(_process.Process.write)
    close_stdin = blocking(_process.Process.close_stdin)
    signal = blocking(_process.Process.signal)
    resize = blocking(_process.Process.resize)
    terminate = blocking(_process.Process.terminate)

    def detach(self) -> None:
        """Do not end the process when this object or the node is left."""
        self._of.detach()
