"""A process with a server of escalations, and a shell beside it that nobody but init would miss.

    serving.py LIMIT SCRIPT

The shell is no child of the environment, so that neither a parent-death signal nor a guardian
cleans up after it: what ends, ends by the protocol. At most LIMIT conversations are held at once.

It prints what it does as words of a line: `shell PID`, `asked FILE`. For each question it takes a
line from stdin: `run`, `escalate` or `deny`. When the shell has ended it leaves the server's
context, prints `left CODE`, and ends.
"""

import os
import signal
import subprocess
import sys
from typing import Final

import trio

from execnode.environment.services import Environment
from execnode.escalation import (
    Action,
    Deny,
    Escalate,
    EscalationLimits,
    EscalationServer,
    Run,
)

NUMBER = 100
ANSWERS: Final[dict[str, Action]] = {
    "run": Run(),
    "escalate": Escalate(),
    "deny": Deny("the test says no"),
}


class Told:
    """Answers as it is told on stdin."""

    def __init__(self) -> None:
        self.stdin = trio.lowlevel.FdStream(0)
        self.buffer = b""

    async def determine_action(self, file: bytes, argv: list[bytes], workdir: bytes) -> Action:
        print("asked", file.decode(), flush=True)
        while b"\n" not in self.buffer:
            more = await self.stdin.receive_some()
            if not more:
                raise EOFError("the test is gone")
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\n")
        return ANSWERS[line.decode()]


async def main(*words: str) -> None:
    limit, script = words
    limits = EscalationLimits(open=int(limit))
    async with (
        Environment.local() as environment,
        EscalationServer.open(Told(), environment, limits=limits, number=NUMBER) as server,
    ):
        env = {name.decode(): value.decode() for name, value in server.env.items()}
        shell = await trio.lowlevel.open_process(
            ["/bin/sh", "-c", script],
            pass_fds=[os.dup2(server.fd, NUMBER)],
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", **env},
            start_new_session=True,
        )
        print("shell", shell.pid, flush=True)
        await shell.wait()
    print("left", shell.returncode, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trio.run(main, *sys.argv[1:])
