"""Requests about files: where they go, and what their failures are in Python."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fsdecode, fsencode
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from execnode.protocol import methods
from execnode.protocol.errors import RpcError
from execnode.protocol.files import ChangedNotification, MissingChangedNotification
from execnode.protocol.uri import format_path_uri, parse_path_uri

from .connection import Connection
from .errors import SessionLost, os_error_number
from .session import Session

if TYPE_CHECKING:
    import msgspec

__all__ = ["FileCalls", "FileEvent", "FileLink", "NodePath", "SessionFileCalls"]
__all__ += ["os_errors", "path_of", "uri_of"]

NodePath: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]
FileEvent: TypeAlias = ChangedNotification | MissingChangedNotification

Result = TypeVar("Result", bound="msgspec.Struct")


class FileLink(Protocol):
    """One connection, which handles and watches belong to."""

    async def request(self, method: str, params: "msgspec.Struct", result: type[Result]) -> Result:
        """The answer. Raises RpcError, and LinkLost when handles and watches are gone."""


class FileCalls(Protocol):
    """Somebody who does what requests about files say: a node, or this machine."""

    async def call(
        self, method: str, params: Any, result: type[Result], *, repeat: bool = True
    ) -> Result:
        """The answer to a request that needs no handle. Raises RpcError and ConnectionError."""

    async def link(self) -> FileLink:
        """The connection there is, as soon as there is one."""

    def listen(self, notified: Callable[[FileEvent], None], again: Callable[[], None]) -> None:
        """Have events given to `notified`; `again`: the watches were lost with a connection."""

    def offers(self, capability: str) -> bool:
        """Whether it says that it has this."""

    def require(self, capability: str, what: str) -> None:
        """Raise Unsupported unless it says that it has this."""

    def new_id(self) -> int:
        """A number for a handle or a watch that has not been used."""


class SessionFileCalls:
    """The node of a session, as a part of the session."""

    def __init__(self, session: Session) -> None:
        self.call = session.call
        self.link: Callable[[], Any] = session.up
        self.offers = session.offers
        self.require = session.require
        self._session = session
        self._ids = itertools.count(1)

    def new_id(self) -> int:
        """A number that was not used."""
        return next(self._ids)

    def listen(self, notified: Callable[[FileEvent], None], again: Callable[[], None]) -> None:
        """Become a part of the session."""
        self._events, self._again = notified, again
        self._session.register(
            self,
            {
                methods.FS_CHANGED: ChangedNotification,
                methods.FS_MISSING_CHANGED: MissingChangedNotification,
            },
        )

    def notified(self, event: FileEvent) -> None:
        """A change."""
        self._events(event)

    def link_lost(self) -> None:
        """Handles and watches are gone; whoever uses them learns that by itself."""

    def link_made(self, _link: Connection) -> None:
        """Watches have to be set again."""
        self._again()

    def failed(self, _failure: SessionLost) -> None:
        """Whoever waits for changes has to be told."""
        self._again()

    def names(self) -> list[str]:
        """No process is lost with a file."""
        return []


def uri_of(path: NodePath) -> str:
    """A path on the node as it is on the wire. Raises ValueError for a relative one."""
    return format_path_uri(fsencode(path))


def path_of(uri: str) -> str:
    """The path of a URI from the node; bytes that are not UTF-8 as os.fsdecode has them."""
    return fsdecode(parse_path_uri(uri))


@contextmanager
def os_errors(*paths: NodePath) -> Iterator[None]:
    """Raise the OSError that a node's answer tells of, with the paths that it is about."""
    try:
        yield
    except RpcError as exc:
        number = os_error_number(exc)
        if number is None:
            raise
        sentence = exc.message.removesuffix(f" (os error {number})")
        names = [fsdecode(path) for path in paths]
        if len(names) > 1:
            raise OSError(number, sentence, names[0], None, names[1]) from exc
        raise OSError(number, sentence, *names) from exc
