"""The `execnode` command.

Start-up is most of what a short command costs, so nothing is imported before it is needed: not the
verbs for `execnode --help`, no event loop for a verb's help, no server for a verb that talks to a
node elsewhere.
"""

import os

__all__ = ["main"]


def main() -> None:
    """Run the command with this program's arguments, and exit with its code."""
    _fill_standard_descriptors()
    from .app import execute

    raise SystemExit(execute())


def _fill_standard_descriptors() -> None:
    """Open /dev/null where 0, 1 or 2 is closed, or a socket of ours could get that number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
