"""The first gate: a command is decided about before anything of it runs."""

from __future__ import annotations

import posixpath
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from execnode.mcp.questions import Answer, Desk, shown
from execnode.policy.rules import Decision, ExecPolicy, Verdict

__all__ = ["Accepted", "Admission", "Gate", "Refusal", "question", "refusal_of"]

_SHOWN_MAX: Final = 1 << 16
"""Characters of a command in a question; nobody reads more."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command was not run, or not to its end. reason: the rest of a sentence."""

    kind: Literal["forbidden", "declined", "cancelled"]
    reason: str

    @property
    def told(self) -> str:
        """For the client: a sentence."""
        what = "Not run to its end" if self.kind == "cancelled" else "Not run"
        return f"{what}: {self.reason}."


class Accepted:
    """Execs that the person has accepted, each as often as it was shown."""

    def __init__(self) -> None:
        self._left: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def add(self, commands: Iterable[Sequence[str]], folder: str) -> None:
        """Let each of these be executed once more, from this folder."""
        for argv in commands:
            program = argv[0]
            file = posixpath.join(folder, program) if "/" in program else shutil.which(program)
            if file is not None:
                self._left[file, tuple(argv)] += 1

    def take(self, file: str, argv: Sequence[str]) -> bool:
        """Whether this exec was accepted; then it is no more."""
        key = (file, tuple(argv))
        if not self._left[key]:
            return False
        self._left[key] -= 1
        return True


@dataclass(frozen=True, slots=True)
class Admission:
    """A command that may run.

    approved: rules allow all of it, or the person has accepted it and rules speak of all of it.
    accepted: programs that it will execute which the person need not be asked about again.
    """

    approved: bool = False
    accepted: Accepted = field(default_factory=Accepted)


@dataclass(frozen=True, slots=True)
class Gate:
    """What the rules say of commands, and the person where these ask for it.

    rules: None lets every command pass. unmatched: what is done with a command of which no rule
    speaks. confined: commands run in a sandbox. last: no second gate follows, so what is allowed
    only because a script could not be taken apart is asked about, if there is a rule to be dodged.
    """

    rules: ExecPolicy | None
    unmatched: Decision = Decision.ALLOW
    confined: bool = False
    last: bool = False

    async def admit(
        self, argv: Sequence[str], text: str, folder: str, desk: Desk
    ) -> Admission | Refusal:
        """Decide about a command; `text` is how a person would write it, `folder` is absolute."""
        if self.rules is None:
            return Admission()
        verdict = self.rules.check_command(argv, cwd=folder)
        decision = verdict.with_default(self.unmatched)
        approved = not verdict.unmatched
        if self.last and verdict.opaque and verdict.unmatched and self._restricts:
            decision = max(decision, Decision.PROMPT)
        if decision is Decision.ALLOW:
            return Admission(approved)
        if decision is Decision.FORBIDDEN:
            reasons = "".join(f"; {reason}" for reason in verdict.reasons)
            return Refusal("forbidden", f"the rules forbid it{reasons}")
        answer = await desk.ask(question(text, folder, verdict, self.confined))
        if refusal := refusal_of(answer):
            return refusal
        accepted = Accepted()
        accepted.add(verdict.commands, folder)
        return Admission(approved, accepted)

    @property
    def _restricts(self) -> bool:
        return self.rules is not None and any(rule.decision for rule in self.rules.rules)


def refusal_of(answer: Answer) -> Refusal | None:
    """What an answer means for what was asked about; None when it may run."""
    match answer:
        case Answer.ACCEPT:
            return None
        case Answer.DECLINE:
            return Refusal("declined", "the user declined it")
        case Answer.CANCEL:
            return Refusal("cancelled", "the user cancelled")
        case Answer.NOBODY:
            return Refusal(
                "declined",
                "the rules want the user to be asked, and this client does not offer to "
                "(elicitation)",
            )


def question(text: str, folder: str, verdict: Verdict, confined: bool) -> str:
    """What a person is asked about a command; `confined`, if there is a sandbox to leave."""
    lines = [f"    {line}" for line in shown(_shortened(text)).split("\n")]
    lines = ["Run this command?", "", *lines, ""]
    lines.append(f"In the folder {shown(folder)}")
    rules = {
        shlex.join(match.prefix) for match in verdict.matches if match.decision is Decision.PROMPT
    }
    if rules:
        lines.append("A rule asks about: " + ", ".join(sorted(map(shown, rules))))
    else:
        lines.append("No rule speaks of it.")
    if verdict.opaque:
        lines.append(f"It cannot be told apart: {verdict.opaque}.")
    lines += [f"Reason: {shown(reason)}" for reason in verdict.reasons]
    if confined and rules:
        lines.append("Programs that rules speak of then run outside the sandbox.")
    return "\n".join(lines)


def _shortened(text: str) -> str:
    """Text of which so much is left out of the middle that a client can show it."""
    left_out = len(text) - _SHOWN_MAX
    if left_out <= 0:
        return text
    half = _SHOWN_MAX // 2
    return f"{text[:half]}\n[... {left_out} characters are not shown ...]\n{text[-half:]}"
