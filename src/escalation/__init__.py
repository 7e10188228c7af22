"""Who may run what outside the sandbox: a policy decides of every intercepted exec."""

from .policy import Action, Deny, Escalate, EscalationPolicy, Run
from .rules import Answer, Ask, ExecPolicyEscalation
from .server import EscalationLimits, EscalationServer
from .stopwatch import Stopwatch

__all__ = [
    "Action",
    "Answer",
    "Ask",
    "Deny",
    "Escalate",
    "EscalationLimits",
    "EscalationPolicy",
    "EscalationServer",
    "ExecPolicyEscalation",
    "Run",
    "Stopwatch",
]
