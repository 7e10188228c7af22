"""Methods whose requests may be made in a sandbox.

They are given the hands that work in it, and their answers are made to tell how it is enforced.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Protocol, TypeAlias, TypeVar

from msgspec.structs import replace

from execnode.environment.local.files.worker import Hands, Worker
from execnode.protocol.files import FileResponse
from execnode.protocol.sandbox import SandboxContext

__all__ = ["changes", "looks", "looks_or_changes"]


class _Owner(Protocol):
    """What has such methods."""

    @property
    def worker(self) -> Worker: ...

    @property
    def hands(self) -> Callable[..., Awaitable[Hands]]: ...


class _Params(Protocol):
    @property
    def sandbox(self) -> SandboxContext | None: ...


_OwnerT = TypeVar("_OwnerT", bound=_Owner)
_ParamsT = TypeVar("_ParamsT", bound=_Params)
_AnswerT = TypeVar("_AnswerT", bound=FileResponse)
_Work: TypeAlias = Callable[[_OwnerT, _ParamsT, Hands], Awaitable[_AnswerT]]
_Method: TypeAlias = Callable[[_OwnerT, _ParamsT], Awaitable[_AnswerT]]


def _method(
    work: _Work[_OwnerT, _ParamsT, _AnswerT], reads: Callable[[Any], bool]
) -> _Method[_OwnerT, _ParamsT, _AnswerT]:
    @wraps(work)
    def method(self: _OwnerT, params: _ParamsT) -> Awaitable[_AnswerT]:
        if params.sandbox is None:
            return work(self, params, self.worker)
        return in_sandbox(self, params)

    async def in_sandbox(self: _OwnerT, params: _ParamsT) -> _AnswerT:
        hands = await self.hands(params.sandbox, reads=reads(params))
        answer = await work(self, params, hands)
        return replace(answer, sandbox=hands.report)

    return method


def looks(work: _Work[_OwnerT, _ParamsT, _AnswerT]) -> _Method[_OwnerT, _ParamsT, _AnswerT]:
    """A method that changes nothing."""
    return _method(work, lambda _: True)


def changes(work: _Work[_OwnerT, _ParamsT, _AnswerT]) -> _Method[_OwnerT, _ParamsT, _AnswerT]:
    """A method that changes something."""
    return _method(work, lambda _: False)


def looks_or_changes(
    work: _Work[_OwnerT, _ParamsT, _AnswerT],
) -> _Method[_OwnerT, _ParamsT, _AnswerT]:
    """A method that changes something unless its mode is to read."""
    return _method(work, lambda params: params.mode == "read")
