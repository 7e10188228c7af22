"""The second gate: each program that a command executes is decided about."""

from __future__ import annotations

import os
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import anyio

from execnode.client.options import Argument, StartOptions
from execnode.client.tasks import background
from execnode.environment.local.runner import LocalRunner
from execnode.environment.services import Environment, Process
from execnode.escalation import (
    Action,
    Deny,
    Escalate,
    EscalationServer,
    ExecPolicyEscalation,
    Run,
)
from execnode.escalation import Answer as Said
from execnode.escalation.variables import WRAPPERS
from execnode.mcp.gate import Accepted, Refusal, question, refusal_of
from execnode.mcp.questions import Answer, Desk
from execnode.mcp.settings import Settings
from execnode.policy.rules import ExecPolicy, Verdict
from execnode.protocol.errors import ProtocolError

__all__ = ["AskingPolicy", "start_intercepted"]


class AskingPolicy:
    """Decides by rules, and by what the person says where these ask for it.

    accepted: execs that need no question any more. confined: the command runs in a sandbox, which
    what is allowed or accepted leaves. `refusal` is the last there was; `cancelled` is set when the
    person wants the whole command to end.
    """

    def __init__(
        self, rules: ExecPolicy, desk: Desk, accepted: Accepted, *, confined: bool
    ) -> None:
        self.cancelled = anyio.Event()
        self.refusal: Refusal | None = None
        self._rules = rules
        self._desk = desk
        self._accepted = accepted
        self._confined = confined

    async def determine_action(self, file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        """See EscalationPolicy."""
        accepted = self._accepted.take(os.fsdecode(file), [*map(os.fsdecode, argv)])
        refusal: Refusal | None = None

        async def ask(words: list[str], folder: str, verdict: Verdict) -> Said:
            nonlocal accepted, refusal
            if not accepted:
                refusal = await self._ask(words, folder, verdict)
                accepted = refusal is None
            return "accept" if accepted else "decline"

        policy = ExecPolicyEscalation(self._rules, ask)
        action = await policy.determine_action(file, argv, workdir)
        if isinstance(action, Deny):
            self.refusal = refusal or Refusal("forbidden", action.reason)
            return Deny(self.refusal.reason)
        if self._confined and isinstance(action, Escalate):
            return action
        if accepted:
            self._accept_script(file, argv, workdir)
        return Run()

    def _accept_script(self, file: bytes, argv: list[bytes], workdir: bytes) -> None:
        """Accept what a shell executes whose script was, now that it runs where that is seen."""
        words = [*map(os.fsdecode, (file, *argv[1:]))]
        folder = os.fsdecode(workdir)
        verdict = self._rules.check_command(words, cwd=folder or None)
        self._accepted.add(verdict.commands, folder)

    async def _ask(self, words: list[str], folder: str, verdict: Verdict) -> Refusal | None:
        if self.cancelled.is_set():
            return refusal_of(Answer.CANCEL)
        answer = await self._desk.ask(question(shlex.join(words), folder, verdict, self._confined))
        if answer is Answer.CANCEL:
            self.cancelled.set()
        return refusal_of(answer)


@asynccontextmanager
async def start_intercepted(
    environment: Environment,
    settings: Settings,
    policy: AskingPolicy,
    argv: Sequence[Argument],
    options: StartOptions,
) -> AsyncIterator[Process]:
    """A process whose execs the policy decides about, and which ends when the person wants that.

    environment: this machine's. A Starter when the first three are given.
    """
    runner = environment.exec
    if not isinstance(runner, LocalRunner):
        raise TypeError("programs can be intercepted on this machine only")
    async with EscalationServer.open(policy, environment, interpose=settings.interpose) as server:
        variables = {os.fsdecode(name): os.fsdecode(value) for name, value in server.env.items()}
        if settings.wrapper is not None:
            variables |= dict.fromkeys(map(os.fsdecode, WRAPPERS), settings.wrapper)
        options["extra_env"] = {**(options.get("extra_env") or {}), **variables}
        async with (
            await runner.start(argv, inherit=[server.fd], **options) as process,
            background() as tasks,
        ):
            tasks.start_soon(_end_when_cancelled, process, policy)
            yield process


async def _end_when_cancelled(process: Process, policy: AskingPolicy) -> None:
    await policy.cancelled.wait()
    with suppress(OSError, ProtocolError):
        await process.terminate()
