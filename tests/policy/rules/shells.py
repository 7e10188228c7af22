"""What real shells run: each program in the only folder of PATH writes down how it was called."""

import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("a", "b", "git")

_PROGRAM = """\
#!/bin/sh
printf '%s\\0' "$#" "${0##*/}" "$@" >> "$CALLS"
exit "$CODE"
"""


@dataclass(frozen=True)
class Shells:
    """A place for scripts: programs that write down their calls, and some files."""

    folder: Path

    def __post_init__(self) -> None:
        for folder in ("bin", "work"):
            (self.folder / folder).mkdir()
        for name in PROGRAMS:
            program = self.folder / "bin" / name
            program.write_text(_PROGRAM)
            program.chmod(0o755)

    def run(self, shell: str, script: str, *, code: int = 0) -> Counter[tuple[str, ...]]:
        """Every call that a script makes, as often as it makes it; they all exit with `code`."""
        calls = self.folder / "calls"
        calls.write_bytes(b"")
        variables = {
            "PATH": str(self.folder / "bin"),
            "HOME": "/nowhere",
            "CALLS": str(calls),
            "CODE": str(code),
            "LC_ALL": "C.UTF-8",
        }
        subprocess.run(
            [shell, "-c", script],
            cwd=self.folder / "work",
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )
        found: Counter[tuple[str, ...]] = Counter()
        words = iter(calls.read_text().split("\0")[:-1])
        for count in words:
            found[tuple(next(words) for _ in range(int(count) + 1))] += 1
        return found
