"""An escalation policy made of an exec policy, and of somebody who is asked."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from os import fsdecode
from posixpath import basename, dirname
from typing import Final, Literal, TypeAlias

from execnode.policy.rules import Decision, ExecPolicy, Verdict

from .policy import Action, Deny, Escalate, Run
from .stopwatch import Stopwatch

__all__ = ["SYSTEM_FOLDERS", "Answer", "Ask", "ExecPolicyEscalation"]

Answer: TypeAlias = Literal["accept", "decline", "cancel"]
Ask: TypeAlias = Callable[[list[str], str, Verdict], Awaitable[Answer]]
"""Asks about a command: its words, beginning with the program's path, its folder, the rules.

A command that is called by another name than its program's has `exec -a NAME` in front.
"""

SYSTEM_FOLDERS: Final = frozenset(
    {"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}
)


class ExecPolicyEscalation:
    """What rules allow runs outside, what they forbid not at all, all else stays in the sandbox.

    ask: is asked where the rules say `prompt`; None: such a command is denied.
    stopwatch: stands still while a question is open.
    env: the exact environment of what runs outside; None: the caller's, as `Escalate` says.
    folders: where a program is taken for the one that a rule calls by its mere name, when no
        host_executable says where it is. A program of that name elsewhere may be anybody's.

    Rules are held against the path of the file that would be executed. argv[0], which the caller
    chooses, can be another program's name, and some programs do by that what their arguments do
    not say (`git-clone`, busybox, a shell's leading `-`). So such a command is forbidden if it is
    under either name, asked about with that name, and otherwise stays in the sandbox.
    """

    def __init__(
        self,
        rules: ExecPolicy,
        ask: Ask | None = None,
        stopwatch: Stopwatch | None = None,
        *,
        env: Mapping[str, str] | None = None,
        folders: frozenset[str] = SYSTEM_FOLDERS,
    ) -> None:
        self._rules = rules
        self._ask = ask
        self._stopwatch = stopwatch
        self._outside = Escalate(env=env)
        self._folders = folders

    async def determine_action(self, file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        """See `EscalationPolicy`."""
        words = [fsdecode(file), *map(fsdecode, argv[1:])]
        folder = fsdecode(workdir)
        alias = _alias(words[0], fsdecode(argv[0]))
        if alias is not None and (denial := self._forbids([alias, *words[1:]])):
            return denial
        if not self._rules.check(words, cwd=folder or None).matches:
            return Run()  # of a shell's script each command is asked about when its turn comes
        verdict = self._rules.check_command(words, cwd=folder or None)
        if verdict.decision is Decision.FORBIDDEN:
            return _forbidden(verdict)
        if verdict.decision is Decision.PROMPT:
            shown = words if alias is None else ["exec", "-a", fsdecode(argv[0]), *words]
            return await self._question(shown, folder, verdict)
        return self._outside if alias is None and self._is_meant(verdict) else Run()

    def _forbids(self, words: list[str]) -> Deny | None:
        verdict = self._rules.check(words)
        return _forbidden(verdict) if verdict.decision is Decision.FORBIDDEN else None

    async def _question(self, words: list[str], folder: str, verdict: Verdict) -> Action:
        if self._ask is None:
            return Deny(
                _because("the rules want a question first, and nobody can be asked", verdict)
            )
        with self._stopwatch.paused() if self._stopwatch else nullcontext():
            answer = await self._ask(words, folder, verdict)
        if answer == "accept":
            return self._outside
        return Deny("declined" if answer == "decline" else "cancelled")

    def _is_meant(self, verdict: Verdict) -> bool:
        """Whether the programs that rules call by their names are where such programs are."""
        return all(
            match.resolved is None
            or basename(match.resolved) in self._rules.hosts
            or dirname(match.resolved) in self._folders
            for match in verdict.matches
        )


def _alias(file: str, argv0: str) -> str | None:
    """The name by which a program is called, if that is not its own."""
    name = basename(argv0)
    return None if name == basename(file) else name.removeprefix("-")


def _forbidden(verdict: Verdict) -> Deny:
    return Deny(_because("the rules forbid it", verdict))


def _because(text: str, verdict: Verdict) -> str:
    return "; ".join((text, *verdict.reasons))
