"""Requests about files that are all made in one sandbox."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from execnode.protocol import methods
from execnode.protocol.sandbox import SandboxContext, SandboxReport

from .filecalls import FileCalls, FileEvent, FileLink

__all__ = ["SandboxedCalls"]

Result = TypeVar("Result", bound=msgspec.Struct)


class SandboxedCalls:
    """What filecalls.py calls FileCalls: those of `outside`, with a sandbox in each that takes one.

    report: what the latest answer told of it.
    """

    def __init__(self, outside: FileCalls, sandbox: SandboxContext) -> None:
        self.outside = outside
        self.report: SandboxReport | None = None
        self._sandbox = sandbox

    async def call(
        self, method: str, params: Any, result: type[Result], *, repeat: bool = True
    ) -> Result:
        """Have it done in the sandbox."""
        asked = self.asked(method, params)
        return self.answered(await self.outside.call(method, asked, result, repeat=repeat))

    async def link(self) -> FileLink:
        """The connection there is, for requests in the sandbox."""
        return _Link(await self.outside.link(), self)

    def asked(self, method: str, params: msgspec.Struct) -> msgspec.Struct:
        """The parameters with the sandbox. Raises Unsupported where that would be ignored."""
        if "sandbox" not in params.__struct_fields__:
            return params
        if method == methods.FS_OPEN:
            self.require("sandboxedFileStreaming", "way to open a file in a sandbox")
        return replace(params, sandbox=self._sandbox)

    def answered(self, answer: Result) -> Result:
        """The answer; what it tells is kept."""
        report = getattr(answer, "sandbox", None)
        if report is not None:
            self.report = report
        return answer

    def listen(self, notified: Callable[[FileEvent], None], again: Callable[[], None]) -> None:
        """As outside."""
        self.outside.listen(notified, again)

    def offers(self, capability: str) -> bool:
        """As outside."""
        return self.outside.offers(capability)

    def require(self, capability: str, what: str) -> None:
        """As outside."""
        self.outside.require(capability, what)

    def new_id(self) -> int:
        """As outside."""
        return self.outside.new_id()


class _Link:
    """A connection, seen from inside."""

    def __init__(self, link: FileLink, calls: SandboxedCalls) -> None:
        self._link = link
        self._calls = calls

    async def request(self, method: str, params: msgspec.Struct, result: type[Result]) -> Result:
        """Have it done in the sandbox."""
        asked = self._calls.asked(method, params)
        return self._calls.answered(await self._link.request(method, asked, result))
