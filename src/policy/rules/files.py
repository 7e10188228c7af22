"""Rule files: what they say, checked against their own examples."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from execnode.policy.rules.decision import Words
from execnode.policy.rules.evaluate import RuleError, run
from execnode.policy.rules.language import Entry, Sheet
from execnode.policy.rules.policy import ExecPolicy

__all__ = ["RuleError", "load_rules", "parse_rules"]

_NOTHING: Final = ExecPolicy()


def load_rules(paths: Iterable[str | os.PathLike[str]]) -> ExecPolicy:
    """Return the policy of several files, whose rules all count.

    Paths that a later file gives with host_executable replace those of an earlier one.

    Raises RuleError for what is wrong in a file, OSError for one that cannot be read.
    """
    policy = _NOTHING
    for path in paths:
        try:
            text = Path(path).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise RuleError(os.fspath(path), f"the file is not UTF-8: {error.reason}") from None
        policy = parse_rules(text, os.fspath(path), policy)
    return policy


def parse_rules(text: str, name: str, base: ExecPolicy = _NOTHING) -> ExecPolicy:
    """Return a policy with what a rule file says.

    name: what errors call it. base: the policy of the files before it.

    Raises RuleError, also when an example of a rule does not hold.
    """
    sheet = _run(text, name, {})
    policy = base.extended([entry.rule for entry in sheet.entries], sheet.hosts)
    wrong = {entry.call: fault for entry in sheet.entries if (fault := _fault(entry, policy))}
    if wrong:
        _run(text, name, wrong)  # stops at the first of them
        raise RuleError(name, next(iter(wrong.values())))
    return policy


def _run(text: str, name: str, refusals: dict[int, str]) -> Sheet:
    sheet = Sheet(refusals)
    functions = (sheet.prefix_rule, sheet.host_executable, sheet.network_rule)
    run(text, name, {function.__name__: function for function in functions})
    return sheet


def _fault(entry: Entry, policy: ExecPolicy) -> str | None:
    """Return which example of a rule does not hold, where only this rule counts."""
    alone = ExecPolicy([entry.rule], policy.hosts)

    def matches(example: Words) -> bool:
        return bool(alone.check(example).matches)

    for example in entry.match:
        if not matches(example):
            return f"the rule does not match its example `{shlex.join(example)}`"
    for example in entry.not_match:
        if matches(example):
            return f"the rule matches `{shlex.join(example)}`, which it is not to"
    return None
