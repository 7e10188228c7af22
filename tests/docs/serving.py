"""A node as a newcomer starts it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXECNODE = Path(sys.executable).parent / "execnode"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`execnode serve` on a socket in `folder`; gives the URL that it prints."""
    command = [str(EXECNODE), "serve", "--listen", f"unix://{folder}/node.sock"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout is not None
            yield node.stdout.readline().strip()
        finally:
            node.terminate()
