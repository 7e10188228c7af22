"""What a client of the plain dialect is not told: members that are our additions.

Servers of the dialect never send them, so a client may have been written to refuse them.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

from .files import OpenResponse
from .messages import (
    Answer,
    ClosedNotification,
    ErrorAnswer,
    ExitedNotification,
    Notification,
    OutputChunk,
    OutputNotification,
    ReadResponse,
    StartResponse,
    TerminateResponse,
)

__all__ = ["without_additions"]

_Message: TypeAlias = Answer | ErrorAnswer | Notification

# Members that are left out, by type.
_ADDITIONS: Final[dict[type[msgspec.Struct], dict[str, Any]]] = {
    StartResponse: {"pid": None, "ref": None, "max_bytes": None, "sandbox": None, "unlimited": []},
    ReadResponse: {"gap": None, "reason": None, "signal": None},
    OutputChunk: {"offset": None},
    OutputNotification: {"offset": None},
    ExitedNotification: {"reason": None, "signal": None, "denial": None},
    ClosedNotification: {"streams": {}},
    TerminateResponse: {"method": None},
    OpenResponse: {"size": None},
}
# Members that hold a list of such types.
_LISTS: Final[dict[type[msgspec.Struct], str]] = {ReadResponse: "chunks"}


def without_additions(message: _Message) -> _Message:
    """Return what of the message the dialect knows."""
    if isinstance(message, Answer):
        return Answer(message.id, _plain(message.result))
    if isinstance(message, ErrorAnswer):
        return ErrorAnswer(message.id, msgspec.structs.replace(message.error, data=None))
    return Notification(message.method, _plain(message.params))


def _plain(value: Any) -> Any:
    left_out = _ADDITIONS.get(type(value))
    if left_out is None:
        return value
    changes = dict(left_out)
    name = _LISTS.get(type(value))
    if name is not None:
        changes[name] = [_plain(item) for item in getattr(value, name)]
    return msgspec.structs.replace(value, **changes)
