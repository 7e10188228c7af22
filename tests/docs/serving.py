"""A node as a newcomer starts it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.locate import EXECNODE


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """`execnode serve` in a folder; gives the URL that it prints.

    options: how and for whom it listens; by default on a socket in the folder.
    """
    options = options or ("--listen", f"unix://{folder}/node.sock")
    command = [str(EXECNODE), "serve", *options]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout is not None
            yield node.stdout.readline().strip()
        finally:
            node.terminate()
