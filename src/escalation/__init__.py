"""Who may run what outside the sandbox: a policy decides of every intercepted exec."""

from .policy import Action, Deny, Escalate, EscalationPolicy, Run
from .server import EscalationLimits, EscalationServer
from .stopwatch import Stopwatch

__all__ = [
    "Action",
    "Deny",
    "Escalate",
    "EscalationLimits",
    "EscalationPolicy",
    "EscalationServer",
    "Run",
    "Stopwatch",
]
