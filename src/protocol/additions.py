"""What a client of the plain dialect is not told: members that are our additions.

Servers of the dialect never send them, so a client may have been written to refuse them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, TypeAlias

import msgspec

from .capabilities import DiscoveredRoot, DiscoverRootsResponse
from .files import FileResponse, OpenResponse
from .messages import Answer, ErrorAnswer, Notification
from .processes import (
    ClosedNotification,
    ExitedNotification,
    OutputChunk,
    OutputNotification,
    ReadResponse,
    StartResponse,
    TerminateResponse,
)

__all__ = ["without_additions"]

_Message: TypeAlias = Answer | ErrorAnswer | Notification

# Members that are left out, by type; those of a base are left out of all that have it.
_ADDITIONS: Final[dict[type[msgspec.Struct], dict[str, Any]]] = {
    StartResponse: {"pid": None, "ref": None, "max_bytes": None, "sandbox": None, "unlimited": []},
    ReadResponse: {"gap": None, "reason": None, "signal": None},
    OutputChunk: {"offset": None},
    OutputNotification: {"offset": None},
    ExitedNotification: {"reason": None, "signal": None, "denial": None},
    ClosedNotification: {"streams": {}},
    TerminateResponse: {"method": None},
    FileResponse: {"sandbox": None},
    OpenResponse: {"size": None},
    DiscoveredRoot: {"sandbox": None},
}
# Members that hold a list of such types.
_LISTS: Final[dict[type[msgspec.Struct], str]] = {
    ReadResponse: "chunks",
    DiscoverRootsResponse: "roots",
}


def without_additions(message: _Message) -> _Message:
    """Return what of the message the dialect knows."""
    if isinstance(message, Answer):
        return Answer(message.id, _plain(message.result))
    if isinstance(message, ErrorAnswer):
        return ErrorAnswer(message.id, msgspec.structs.replace(message.error, data=None))
    return Notification(message.method, _plain(message.params))


def _plain(value: Any) -> Any:
    if not isinstance(value, msgspec.Struct):
        return value
    kind = type(value)
    changes = _left_out(kind)
    name = _LISTS.get(kind)
    if name is not None:
        changes = {**changes, name: [_plain(item) for item in getattr(value, name)]}
    return msgspec.structs.replace(value, **changes) if changes else value


@cache
def _left_out(kind: type[msgspec.Struct]) -> dict[str, Any]:
    known = [_ADDITIONS[each] for each in kind.__mro__ if each in _ADDITIONS]
    return {name: value for members in known for name, value in members.items()}
