"""Where the programs lie that ship inside the package."""

from pathlib import Path
from typing import Final

__all__ = ["HELPER", "INTERPOSER", "WRAPPER"]

_FOLDER: Final = Path(__file__).parent / "_seccomp"

HELPER: Final = _FOLDER / "execnode-helper"
"""The helper executable, which does what the name in its argv[0] says."""

WRAPPER: Final = _FOLDER / "execnode-execve-wrapper"
"""The same under the name of the escalation client: shells give it its path as argv[0]."""

INTERPOSER: Final = _FOLDER / "libexecnode-intercept.so"
"""For LD_PRELOAD: unmodified programs then execute the wrapper, which asks, in place of others."""
