"""A command that has ended, with what it wrote; the parts of `Node.run`."""

import subprocess
from typing import Any, Generic, TypeVar

from execnode.protocol.sandbox import SandboxDenial

from .channel import Gap
from .errors import CalledProcessError, IntegrityError
from .process import Process

__all__ = ["Captured", "Completed"]

Text = TypeVar("Text", bound=bytes | str)


class Completed(subprocess.CompletedProcess[Text], Generic[Text]):
    """What subprocess.CompletedProcess says, and how the command ended.

    `returncode` is the exit code, 128 + number for a signal (subprocess has minus the number);
    `reason` is `exit`, `signal`, `timeout`, `oom`, `killed`, `policy` or `lost`; `sandbox_denied`
    and `denial` are as in Process.
    """

    stdout: Text
    stderr: Text

    def __init__(
        self,
        args: Any,
        returncode: int,
        stdout: Text,
        stderr: Text,
        reason: str,
        *,
        sandbox_denied: bool = False,
        denial: SandboxDenial | None = None,
    ) -> None:
        super().__init__(args, returncode, stdout, stderr)
        self.reason = reason
        self.sandbox_denied = sandbox_denied
        self.denial = denial

    def check_returncode(self) -> None:
        """Raise CalledProcessError unless the exit code is 0."""
        if self.returncode:
            raise CalledProcessError(
                self.returncode, self.args, self.stdout, self.stderr, self.reason
            )


class Captured:
    """The whole output of a process in memory; a terminal's output counts as stdout."""

    def __init__(self) -> None:
        self._parts: dict[str, list[bytes]] = {"stdout": [], "stderr": [], "pty": []}

    @property
    def stdout(self) -> bytes:
        """What has come so far on stdout or the terminal."""
        return b"".join(self._parts["stdout"]) + b"".join(self._parts["pty"])

    @property
    def stderr(self) -> bytes:
        """What has come so far on stderr."""
        return b"".join(self._parts["stderr"])

    async def drain(self, process: Process) -> None:
        """Take output until there is no more. Cancelling loses nothing: call it again."""
        while items := await process.take():
            for item in items:
                if isinstance(item, Gap):
                    raise IntegrityError(f"the node dropped output that was to be kept: {item}")
                self._parts[item.stream].append(item.data)

    def completed(
        self, process: Process, encoding: str | None, errors: str
    ) -> Completed[bytes] | Completed[str]:
        """The result of a process that has ended; text where there is an encoding."""
        code = -1 if process.returncode is None else process.returncode
        stdout, stderr = self.stdout, self.stderr

        def ended(stdout: Text, stderr: Text) -> Completed[Text]:
            return Completed(
                process.args,
                code,
                stdout,
                stderr,
                process.reason or "lost",
                sandbox_denied=process.sandbox_denied,
                denial=process.denial,
            )

        if encoding is None:
            return ended(stdout, stderr)
        return ended(stdout.decode(encoding, errors), stderr.decode(encoding, errors))
