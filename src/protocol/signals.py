"""Names of signals on the wire, signal(7)."""

from __future__ import annotations

import signal
from typing import Final

from .errors import RpcError, invalid_params

__all__ = ["signal_number"]

_NUMBERS: Final[dict[str, int]] = {s.name: int(s) for s in signal.Signals}


def signal_number(name: str) -> int:
    """Return the number of `interrupt`, `TERM`, `SIGTERM` and the like.

    Raises RpcError -32602 for any other name.
    """
    if name == "interrupt":
        return int(signal.SIGINT)
    number = _NUMBERS.get(name) or _NUMBERS.get(f"SIG{name}")
    if number is None:
        raise _unknown(name)
    return number


def _unknown(name: str) -> RpcError:
    return invalid_params(
        f"unknown variant `{name}`, expected `interrupt` or the name of a signal such as `TERM`"
    )
