"""What one command asks the person about, and what the person answers."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Mapping
from enum import Enum

import anyio

from execnode.escalation import Stopwatch

__all__ = ["Answer", "Desk", "shown"]


class Answer(Enum):
    """What came of a question; the values are MCP's, but for the last."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"
    NOBODY = "nobody"
    """The client has no way to ask."""


class Desk:
    """The questions of one command that are open, any number at once.

    Who asks waits here; who talks to the client takes the questions from here and brings the
    answers. The two need not be there at the same time.

    limit: seconds for the command. `stopwatch` counts them, and stands still while a question is
    open.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.stopwatch = Stopwatch(limit)
        self._numbers = itertools.count(1)
        self._open: dict[str, _Open] = {}
        self._changed = anyio.Event()

    async def ask(self, message: str) -> Answer:
        """Wait for the answer. Cancelled, the question is withdrawn."""
        key = f"question-{next(self._numbers)}"
        question = self._open[key] = _Open(message)
        self.wake()
        try:
            with self.stopwatch.paused():
                await question.answered.wait()
        finally:
            self._open.pop(key, None)
            self.wake()
        return question.answer

    @property
    def questions(self) -> Mapping[str, str]:
        """The open ones: key to message."""
        return {key: question.message for key, question in self._open.items()}

    def claim(self, key: str) -> str | None:
        """Take a question to the person; None if somebody else has, or it is not open."""
        question = self._open.get(key)
        if question is None or question.claimed:
            return None
        question.claimed = True
        return question.message

    def release(self, key: str) -> None:
        """Have others take a question that was claimed, if it is still open."""
        if key in self._open:
            self._open[key].claimed = False
            self.wake()

    def answer(self, key: str, answer: Answer) -> None:
        """Answer a question, if it is still open."""
        question = self._open.pop(key, None)
        if question is not None:
            question.answer = answer
            question.answered.set()
            self.wake()

    def wake(self) -> None:
        """Have `changed` return."""
        self._changed.set()
        self._changed = anyio.Event()

    async def changed(self) -> None:
        """Wait for a question, an answer or a `wake`."""
        await self._changed.wait()


class _Open:
    def __init__(self, message: str) -> None:
        self.message = message
        self.claimed = False
        self.answered = anyio.Event()
        self.answer = Answer.NOBODY


def shown(text: str) -> str:
    r"""Text of a stranger as a person may see it: what could deceive the eye is written as `\x1b`.

    New lines stay. Those are control and format characters (Unicode's C and Z categories), such as
    what moves a terminal's cursor or turns the direction of writing.
    """
    return "".join(
        each if each in " \n" or unicodedata.category(each)[0] not in "CZ" else _escaped(each)
        for each in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
