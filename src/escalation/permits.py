"""Execs that were just allowed, so that who sees them next need not ask again."""

from collections.abc import Iterator
from contextlib import contextmanager

from .protocol import ExecRequest

__all__ = ["Permits"]


class Permits:
    """For each wrapper that may execute in place, what. Each is good for one exec."""

    def __init__(self) -> None:
        self._granted: dict[int, tuple[bytes, tuple[bytes, ...]]] = {}

    @contextmanager
    def granted(self, pid: int, request: ExecRequest) -> Iterator[None]:
        """Let this process execute what it asked for, until the block is left."""
        permit = (request.file, request.argv)
        self._granted[pid] = permit
        try:
            yield
        finally:
            if self._granted.get(pid) is permit:
                del self._granted[pid]

    def take(self, pid: int, file: bytes, argv: tuple[bytes, ...]) -> bool:
        """Whether this process was let execute this; then it is no more."""
        if self._granted.get(pid) != (file, argv):
            return False
        del self._granted[pid]
        return True
