"""What a thread's work and whoever waits for it tell each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from execnode.protocol.errors import INTERNAL_ERROR, RpcError, file_error

__all__ = ["Failure", "Stop", "Stopped", "answered"]


class Stop:
    """Tells a thread that nobody waits for its result any more."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Have the thread stop when it next looks."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether it was asked."""
        return self._asked.is_set()

    def check(self) -> None:
        """Raise Stopped once it was asked."""
        if self.asked:
            raise Stopped


class Stopped(Exception):
    """The end of a thread's work that is not wanted any more; nobody sees it."""


class Failure(RpcError):
    """What went wrong while it was done, rather than was refused before; it ends a handle."""


@contextmanager
def answered() -> Iterator[None]:
    """Turn a system error into the answer that the dialect has for it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise Failure(INTERNAL_ERROR, str(error)) from None
        answer = file_error(error.errno)
        raise Failure(answer.code, answer.message) from None
