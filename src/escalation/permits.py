"""Execs that were just allowed, so that who sees them next need not ask again."""

from collections.abc import Iterator
from contextlib import contextmanager

from .protocol import ExecRequest

__all__ = ["Permits"]


class Permits:
    """For each wrapper that may execute in place, what. Each is good for one exec."""

    def __init__(self) -> None:
        self._granted: dict[int, _Permit] = {}

    @contextmanager
    def granted(self, pid: int, request: ExecRequest) -> Iterator[None]:
        """Let this process execute what it asked for, until the block is left."""
        permit = self._granted[pid] = _Permit(request)
        try:
            yield
        finally:
            if self._granted.get(pid) is permit:
                del self._granted[pid]

    def take(self, pid: int, file: bytes, argv: tuple[bytes, ...]) -> bool:
        """Whether this process was let execute this; then it is no more."""
        permit = self._granted.get(pid)
        return permit is not None and permit.take(file, argv)


class _Permit:
    def __init__(self, request: ExecRequest) -> None:
        self._request = request
        self._taken = False
        self._ended = False

    def take(self, file: bytes, argv: tuple[bytes, ...]) -> bool:
        if self._ended:
            return False
        if not self._taken and (file, argv) == (self._request.file, self._request.argv):
            self._taken = True
            return True
        self._ended = self._taken and self._is_script(file, argv)
        return self._ended

    def _is_script(self, file: bytes, argv: tuple[bytes, ...]) -> bool:
        """What the wrapper then does with a file that is no program and names none."""
        request = self._request
        if (file, argv[:1], argv[2:]) != (b"/bin/sh", (b"sh",), request.argv[1:]) or len(argv) < 2:
            return False
        return request.file in (argv[1], request.workdir.rstrip(b"/") + b"/" + argv[1])
