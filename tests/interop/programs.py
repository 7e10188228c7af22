"""The servers under test: their commands, and their running until the block ends.

A server is named `execnode` (ours, of this tree), `codex` (the real one, see bench/peers.py), or
is a command of its own in which `{listen}` stands for the address.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bench import peers

# The server under test, when nothing else is said.
SERVER: Final = os.environ.get("EXECNODE_INTEROP_SERVER", "execnode")
EXECNODE: Final = Path(sys.executable).with_name("execnode")
# Seconds for a server to end by itself when told to.
_GRACE: Final = 5.0
# Runs a command that does not outlive the one who asked for it, however that ends.
_BOUND: Final = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"  # PR_SET_PDEATHSIG
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def server_command(server: str, listen: str) -> list[str]:
    """The command of a server that listens at an address.

    Raises:
        FileNotFoundError: it is not on this machine; the text says what to do.
    """
    if server == "execnode":
        if not EXECNODE.exists():
            raise FileNotFoundError("execnode is not installed here: `make setup` does it")
        return [str(EXECNODE), "serve", "--listen", listen, "--auth", "none"]
    if server == "codex":
        return [str(codex()), "exec-server", "--listen", listen]
    return [part.replace("{listen}", listen) for part in shlex.split(server)]


def codex() -> Path:
    """The real program.

    Raises:
        FileNotFoundError: it was not fetched.
    """
    program = peers.codex()
    if program is None:
        raise FileNotFoundError("Codex is not here: `make peers` fetches it")
    return program


def bound(command: list[str]) -> list[str]:
    """A command that is killed when the thread that starts it is gone."""
    return [sys.executable, "-ISc", _BOUND, *command]


def launch(
    command: list[str], cwd: Path, env: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a server that will print its WebSocket address; `log` gets its standard error."""
    with log.open("wb") as stderr:
        return subprocess.Popen(
            bound(command),
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )


def address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until a server listens; gives its address.

    Raises:
        RuntimeError: it ended before that, with the end of what it said.
    """
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"ws://"):
            return line.decode().strip()
    said = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the server did not start:\n{said}")


@contextmanager
def listening(command: list[str], cwd: Path, env: dict[str, str], log: Path) -> Iterator[str]:
    """Run a server for the length of the block; gives its address. Raises RuntimeError."""
    process = launch(command, cwd, env, log)
    try:
        yield address(process, log)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Have a process end, politely first, and with it what is left of its group."""
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
