"""The same rules and commands, as the Codex CLI answers them (recorded.json, made by record.py)."""

from typing import Any

import pytest

from execnode.policy.rules import ExecPolicy, RuleError, Verdict, parse_rules
from tests.policy.rules.record import recorded

ANSWERED = [case for case in recorded() if "refused" not in case["answer"]]
REFUSED = [case for case in recorded() if "refused" in case["answer"]]


def named(case: dict[str, Any]) -> str:
    resolved = ["--resolve"] if case["resolve"] else []
    return " ".join([*case["files"], *resolved, "--", *case["argv"]]).replace("\n", "; ")


def policy_of(files: list[str]) -> ExecPolicy:
    policy = ExecPolicy()
    for index, text in enumerate(files):
        policy = parse_rules(text, f"f{index}.rules", policy)
    return policy


def in_json(verdict: Verdict) -> dict[str, Any]:
    rules: list[dict[str, Any]] = []
    for match in verdict.matches:
        rule: dict[str, Any] = {
            "matchedPrefix": list(match.prefix),
            "decision": match.decision.word,
            "resolvedProgram": match.resolved,
            "justification": match.justification,
        }
        given = {name: value for name, value in rule.items() if value is not None}
        rules.append({"prefixRuleMatch": given})
    decision = {} if verdict.decision is None else {"decision": verdict.decision.word}
    return {"matchedRules": rules, **decision}


@pytest.mark.parametrize("case", ANSWERED, ids=named)
def test_a_command_gets_the_same_answer(case: dict[str, Any]) -> None:
    verdict = policy_of(case["files"]).check(case["argv"], resolve=case["resolve"])
    assert in_json(verdict) == case["answer"]


@pytest.mark.parametrize("case", REFUSED, ids=named)
def test_a_file_is_refused_at_the_same_place(case: dict[str, Any]) -> None:
    with pytest.raises(RuleError) as caught:
        policy_of(case["files"])
    error = caught.value
    assert error.line is not None
    place = case["answer"]["refused"]  # no examples that fail: there we alone tell the place
    assert place is None or [error.file, error.line, error.column] == place
