"""The functions that a rule file may call."""

from __future__ import annotations

import posixpath
import shlex
from dataclasses import dataclass
from typing import Final

from execnode.policy.rules.decision import Decision, Words
from execnode.policy.rules.rule import PrefixRule

__all__ = ["Entry", "Refused", "Sheet"]

_DECISIONS: Final = {decision.word: decision for decision in Decision}


class Refused(ValueError):
    """A call that says nothing we could hold to."""


@dataclass(frozen=True)
class Entry:
    """A rule, with examples of commands that it is to match and not to match.

    call: which call of the file it was, counted from 0.
    """

    rule: PrefixRule
    match: tuple[Words, ...]
    not_match: tuple[Words, ...]
    call: int


class Sheet:
    """What the calls of a rule file have said.

    refusals: calls to refuse, and why. A file says the same each time that it is run, so what is
    found wrong at its end can be put at the call that is to blame.
    """

    def __init__(self, refusals: dict[int, str]) -> None:
        self.entries: Final[list[Entry]] = []
        self.hosts: Final[dict[str, tuple[str, ...]]] = {}
        self._refusals = refusals
        self._calls = 0

    def prefix_rule(
        self,
        pattern: object,
        decision: object = "allow",
        match: object = None,
        not_match: object = None,
        justification: object = None,
        canonical_matching: object = False,
    ) -> None:
        """A decision on every command that begins with `pattern`."""
        call = self._counted()
        if canonical_matching is not False:
            raise Refused(
                "canonical_matching is for systems where the letters' case makes no difference "
                "in a program's name"
            )
        rule = PrefixRule(
            _pattern(pattern),
            _decision(decision),
            None if justification is None else _filled(justification, "justification"),
        )
        self.entries.append(
            Entry(rule, _examples(match, "match"), _examples(not_match, "not_match"), call)
        )

    def host_executable(self, name: object, paths: object) -> None:
        """The only paths at which a program is the one that rules call by its base name."""
        self._counted()
        text = _filled(name, "name")
        if "/" in text:
            raise Refused(f"name is the base name of a program, so `{text}` has a `/` too many")
        absolute = [posixpath.normpath(_text(path, "a path")) for path in _list(paths, "paths")]
        for path in absolute:
            if not path.startswith("/"):
                raise Refused(f"the path `{path}` is not absolute")
            if posixpath.basename(path) != text:
                raise Refused(f"the path `{path}` does not end in `{text}`")
        self.hosts[text] = tuple(absolute)

    def network_rule(self, *_args: object, **_named: object) -> None:
        """A rule for a proxy, which there is none of here."""
        raise Refused(
            "rules for hosts of the network are not supported: nothing here could hold to them. "
            "What a process can reach is up to its sandbox"
        )

    def _counted(self) -> int:
        call = self._calls
        self._calls += 1
        if call in self._refusals:
            raise Refused(self._refusals[call])
        return call


# --- arguments ------------------------------------------------------------------------------------


def _pattern(value: object) -> tuple[Words, ...]:
    elements = _list(value, "pattern")
    if not elements:
        raise Refused("pattern is empty; it would match every command")
    return tuple(map(_alternatives, elements))


def _alternatives(element: object) -> Words:
    if isinstance(element, str):
        return (element,)
    if not isinstance(element, list):
        raise Refused(f"an element of pattern is a string or a list, not {_kind(element)}")
    if not element:
        raise Refused("a list of alternatives is empty; it would match no word")
    return tuple(_text(each, "an alternative") for each in element)


def _decision(value: object) -> Decision:
    word = _text(value, "decision")
    if word not in _DECISIONS:
        raise Refused(f'decision is "allow", "prompt" or "forbidden", not "{word}"')
    return _DECISIONS[word]


def _examples(value: object, what: str) -> tuple[Words, ...]:
    examples = [] if value is None else _list(value, what)
    return tuple(_example(each, what) for each in examples)


def _example(value: object, what: str) -> Words:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise Refused(f"an example of {what} has no right quotes: {error}") from None
    else:
        words = [_text(word, f"a word in {what}") for word in _list(value, f"an example of {what}")]
    if not words:
        raise Refused(f"an example of {what} has no words")
    return tuple(words)


def _filled(value: object, what: str) -> str:
    text = _text(value, what)
    if not text.strip():
        raise Refused(f"{what} is empty")
    return text


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Refused(f"{what} is a string, not {_kind(value)}")
    return value


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise Refused(f"{what} is a list, not {_kind(value)}")
    return value


def _kind(value: object) -> str:
    """The type of a value as Starlark calls it."""
    names = {"str": "a string", "NoneType": "None", "dict": "a dict", "list": "a list"}
    name = type(value).__name__
    return names.get(name, f"of type {name}")
