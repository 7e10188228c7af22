"""What a policy says, in JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from execnode.policy.rules import ExecPolicy, Match, RuleError, Verdict, load_rules

from .failure import Failure
from .tell import put, put_json

__all__ = ["check", "load"]


def check(files: Sequence[Path], argv: Sequence[str], *, pretty: bool, resolve: bool) -> None:
    """Print what rule files say of a command. Raises Failure for a file that cannot be used."""
    verdict = load(files).check_command(argv, cwd=_cwd(), resolve=resolve)
    if pretty:
        put(json.dumps(_told(verdict), indent=2))
    else:
        put_json(_told(verdict))


def load(files: Sequence[Path]) -> ExecPolicy:
    """The policy of rule files. Raises Failure for a file that cannot be used."""
    try:
        return load_rules(files)
    except RuleError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"cannot read {error.filename}: {error.strerror}") from None


def _cwd() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:  # the folder is gone: a relative path leads nowhere
        return None


def _told(verdict: Verdict) -> dict[str, Any]:
    """A verdict in JSON's types; what it has nothing of is left out, but for the matches."""
    told: dict[str, Any] = {
        "matchedRules": [{"prefixRuleMatch": _match(each)} for each in verdict.matches]
    }
    if verdict.decision is not None:
        told["decision"] = verdict.decision.word
    if verdict.commands:
        told |= {"commands": verdict.commands, "unmatched": verdict.unmatched}
    if verdict.opaque is not None:
        told["opaque"] = verdict.opaque
    return told


def _match(match: Match) -> dict[str, Any]:
    told: dict[str, Any] = {"matchedPrefix": match.prefix, "decision": match.decision.word}
    if match.resolved is not None:
        told["resolvedProgram"] = match.resolved
    if match.justification is not None:
        told["justification"] = match.justification
    return told
