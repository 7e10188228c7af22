"""How commands are run, and who decides about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from execnode.mcp.questions import Answer
from execnode.policy.rules import Decision, ExecPolicy

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the tools do that their callers cannot choose.

    rules: which commands may run; None: all of them. unmatched: what is done with a command of
        which no rule speaks.
    without_elicitation: the answer where the client cannot ask the person.
    intercept: rules also count for each program that a command executes; on this machine only.
    wrapper: what shells execute instead of a program, so that it can ask; None: our own.
    sandbox: what commands may touch, as `Sandbox` means it; the workspace is the environment's own
        folder. None: all that the user may. What rules allow, or the person accepts, leaves it.
    shell: the shell's path; None: the user's.
    interpose: unmodified programs ask as well, not only a shell that knows of the wrapper.
    timeout: seconds for a `shell` command that names none.
    """

    rules: ExecPolicy | None = None
    unmatched: Decision = Decision.ALLOW
    without_elicitation: Answer = Answer.NOBODY
    intercept: bool = False
    wrapper: str | None = None
    sandbox: Literal["read-only", "workspace-write"] | None = None
    shell: str | None = None
    interpose: bool = True
    timeout: float = 120.0
