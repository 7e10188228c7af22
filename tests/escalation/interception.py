"""A machine, a server of escalations and a policy that the test decides for."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from execnode.environment.local.handle import LocalHandle
from execnode.environment.local.runner import LocalRunner
from execnode.environment.services import Environment
from execnode.escalation import Action, Escalate, EscalationServer, Run

# Seconds that anything may take: much more than it does, since the machine may be busy.
PATIENCE = 30.0

Decide = Callable[[bytes, list[bytes], bytes], Action | Awaitable[Action]]


@dataclass
class Scripted:
    """A policy of the test's, and what it was asked."""

    decide: Decide
    asked: list[tuple[bytes, list[bytes], bytes]] = field(default_factory=list)

    async def determine_action(self, file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        self.asked.append((file, argv, workdir))
        action = self.decide(file, argv, workdir)
        return await action if isinstance(action, Awaitable) else action


def always(action: Action) -> Decide:
    return lambda file, argv, workdir: action


escalated = always(Escalate())
run = always(Run())


@dataclass
class Ended:
    code: int
    out: str
    err: str
    signal: str | None


@dataclass
class Interception:
    environment: Environment
    server: EscalationServer
    policy: Scripted

    async def start(self, argv: Sequence[str], **options: Any) -> LocalHandle:
        """Start a program whose execs are asked about, as far as it uses the wrapper."""
        runner = self.environment.exec
        assert isinstance(runner, LocalRunner)
        ours = {os.fsdecode(name): os.fsdecode(value) for name, value in self.server.env.items()}
        extra = {**ours, **options.pop("extra_env", {})}
        inherit = [self.server.fd, *options.pop("inherit", ())]
        return await runner.start(argv, inherit=inherit, extra_env=extra, **options)

    async def wrapped(self, *argv: str, **options: Any) -> LocalHandle:
        """Start the wrapper for a program and its arguments."""
        wrapper = os.fsdecode(self.server.env[b"EXEC_WRAPPER"])
        return await self.start([wrapper, *argv], **options)

    async def shell(self, script: str, **options: Any) -> Ended:
        """A shell script, to its end, in which $W is the wrapper."""
        return await collect(
            await self.start(["/bin/sh", "-c", f'W="$EXEC_WRAPPER"\n{script}'], **options)
        )


async def collect(process: LocalHandle) -> Ended:
    """Everything that a process wrote, and how it ended."""
    streams = {"stdout": b"", "stderr": b"", "pty": b""}
    async with process:
        async for item in process:
            streams[item.stream] += item.data  # type: ignore[union-attr]
        await process.wait()
    out, err = streams["stdout"] + streams["pty"], streams["stderr"]
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode(), process.signal_name)


@asynccontextmanager
async def interception(decide: Decide, **options: Any) -> AsyncIterator[Interception]:
    policy = Scripted(decide)
    with anyio.fail_after(PATIENCE):
        async with (
            Environment.local() as environment,
            EscalationServer.open(policy, environment, **options) as server,
        ):
            yield Interception(environment, server, policy)
