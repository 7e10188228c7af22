"""The exec policy: which commands may run, which need a question first, which never."""

from execnode.policy.rules.decision import Decision, Match, Verdict
from execnode.policy.rules.files import RuleError, load_rules, parse_rules
from execnode.policy.rules.policy import ExecPolicy
from execnode.policy.rules.rule import PrefixRule

__all__ = [
    "Decision",
    "ExecPolicy",
    "Match",
    "PrefixRule",
    "RuleError",
    "Verdict",
    "load_rules",
    "parse_rules",
]
