"""The MCP inspector, a client of another project, as a command; bench/peers.py fetches it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from bench import peers
from tests.interop.programs import EXECNODE

__all__ = ["inspect"]

# Seconds; node alone takes a few to start on a busy machine.
_PATIENCE = 60


def inspect(options: list[str], method: str, arguments: list[str], folder: Path) -> Any:
    """What `execnode mcp` with these options answers to one request.

    Raises:
        FileNotFoundError: the inspector was not fetched.
    """
    program = peers.inspector()
    if program is None:
        raise FileNotFoundError("the MCP inspector is not here: `make peers` fetches it")
    command = [str(program), "--cli", str(EXECNODE), "mcp", *options, "--method", method]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert done.stdout, done.stderr.decode()  # the exit code is 1 for a tool's own error too
    return json.loads(done.stdout)
