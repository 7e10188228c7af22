"""Where the programs are that tests run: right from any working directory, whatever PATH is."""

import shlex
import sys
import sysconfig
from pathlib import Path

__all__ = ["EXECNODE", "ROOT", "SHELL_WORDS", "bound", "execnode"]

ROOT = Path(__file__).parents[1]
# The command as pip installs it.
EXECNODE = Path(sysconfig.get_path("scripts")) / "execnode"

_BOUND = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: not longer than the test
os.execv(sys.argv[1], sys.argv[1:])
"""


def execnode(*args: str) -> list[str]:
    """The command of this source tree with arguments, as a list for subprocess."""
    return [sys.executable, "-m", "execnode", *args]


# The same for a shell.
SHELL_WORDS = shlex.join(execnode())


def bound(*args: str) -> list[str]:
    """As `execnode`, for a program that the kernel ends with the tests, however these end."""
    return [sys.executable, "-c", _BOUND, *execnode(*args)]
