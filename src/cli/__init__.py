"""The `execnode` command.

Start-up is most of what a short command costs, so nothing is imported before it is needed: not the
verbs for `execnode --help`, no event loop for a verb's help, no server for a verb that talks to a
node elsewhere.
"""

import os

__all__ = ["main"]

_INTERRUPTED = 130  # as in failure.py, which may not be there yet


def main() -> None:
    """Run the command with this program's arguments, and exit with its code."""
    try:
        _fill_standard_descriptors()
        from .app import execute

        code = execute()
    except KeyboardInterrupt:  # so early that there was nothing to end
        code = _INTERRUPTED
    raise SystemExit(code)


def _fill_standard_descriptors() -> None:
    """Open /dev/null where 0, 1 or 2 is closed, or a socket of ours could get that number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
