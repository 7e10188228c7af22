"""Unified exec: interactive processes for a tool that an agent calls.

`UnifiedExec.exec_command` starts a command and answers when it has ended or a time is over,
`UnifiedExec.write_stdin` writes to it or looks again. They work over any Environment.
"""

from execnode.unified.limits import PLAIN_VARIABLES, Limits
from execnode.unified.manager import UnifiedExec
from execnode.unified.results import (
    ExecOutput,
    Failure,
    ProcessState,
    SessionSummary,
    UnknownSession,
)
from execnode.unified.session import Starter

__all__ = [
    "PLAIN_VARIABLES",
    "ExecOutput",
    "Failure",
    "Limits",
    "ProcessState",
    "SessionSummary",
    "Starter",
    "UnifiedExec",
    "UnknownSession",
]
