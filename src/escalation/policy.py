"""What is decided of an exec, and by whom."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import anyio

from .protocol import DESCRIPTOR_LAST, DESCRIPTORS_MAX

__all__ = ["Action", "Deny", "Escalate", "EscalationPolicy", "Run", "decide"]

_logger = logging.getLogger(__name__)


_STANDARD: Final = 3  # descriptors that are passed in any case


@dataclass(frozen=True, slots=True)
class Run:
    """Executed where it is, with what the process that asked may do and no more."""


@dataclass(frozen=True, slots=True)
class Escalate:
    """Executed outside the sandbox, or in another.

    env: its exact environment; None: the caller's, without variables that have other code run in it
        (see docs/escalation.md), which no list has all of.
    descriptors: those of the caller's that it gets beside 0, 1 and 2, under the same numbers, 58 at
        most.
    options: further options of the start, as for `Environment.exec.start`.

    Raises ValueError for descriptors that cannot be passed.
    """

    env: Mapping[str, str] | None = None
    descriptors: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.descriptors) > DESCRIPTORS_MAX - _STANDARD:
            raise ValueError(f"{len(self.descriptors)} descriptors cannot be passed at once")
        if wrong := [each for each in self.descriptors if not _STANDARD <= each <= DESCRIPTOR_LAST]:
            raise ValueError(f"a descriptor that cannot be asked for: {wrong[0]}")


@dataclass(frozen=True, slots=True)
class Deny:
    """Not executed at all; the caller sees the reason on its stderr and exit code 1."""

    reason: str


Action: TypeAlias = Run | Escalate | Deny


class EscalationPolicy(Protocol):
    """Decides about execs. Any number of questions may be open at once."""

    async def determine_action(self, file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        """What is to become of an exec.

        file: what would be executed, an absolute path as seen by the caller. argv: its arguments,
        argv[0] included, which may say anything. workdir: the caller's folder; empty when that has
        no name any more, and then `file` may be relative.

        Cancelled when the caller is gone. An exception denies, and is logged.
        """


async def decide(
    policy: EscalationPolicy,
    file: bytes,
    argv: tuple[bytes, ...],
    workdir: bytes,
    gone: Callable[[], Awaitable[None]],
) -> Action | None:
    """What the policy says; None when the one who asked is gone before, whom `gone` waits for."""
    action: Action | None = None
    async with anyio.create_task_group() as tasks:

        async def leave() -> None:
            await gone()
            tasks.cancel_scope.cancel()

        tasks.start_soon(leave)
        try:
            action = await policy.determine_action(file, list(argv), workdir)
        except Exception:
            _logger.exception("the escalation policy failed, so nothing is run")
            action = Deny("the policy failed")
        tasks.cancel_scope.cancel()
    return action
