"""Capability discovery on this machine; plugins.py looks into folders."""

from __future__ import annotations

from msgspec.structs import replace

from execnode.environment.local import plugins
from execnode.environment.local.files.service import LocalFiles
from execnode.protocol.capabilities import (
    DiscoverParams,
    DiscoverResponse,
    DiscoverRootsParams,
    DiscoverRootsResponse,
)
from execnode.protocol.errors import INVALID_REQUEST, RpcError
from execnode.protocol.uri import parse_path_uri

__all__ = ["LocalCapabilities"]


class LocalCapabilities:
    """The service. files: whose hands do it, in a request's sandbox."""

    def __init__(self, files: LocalFiles) -> None:
        self._files = files

    async def discover_roots(self, params: DiscoverRootsParams) -> DiscoverRootsResponse:
        """Return what is in each folder; one that cannot be read concerns no other.

        Raises RpcError, for all of them, when a path is no URI or a sandbox cannot be had. Safe to
        cancel.
        """
        # First, so that what is wrong is found before any work.
        places = [_place(root.path) for root in params.roots]
        hands = [await self._files.hands(root.sandbox, reads=True) for root in params.roots]
        room = plugins.MAX_FILES
        roots = []
        for root, place, each in zip(params.roots, places, hands, strict=True):
            if isinstance(place, str):
                roots.append(plugins.nothing(root.id, root.path, place))
                continue
            found = await each.look(plugins.search, root.id, place, room)
            room = found.left
            roots.append(replace(found.root, sandbox=each.report))
        return DiscoverRootsResponse(roots)

    async def discover(self, params: DiscoverParams) -> DiscoverResponse:
        """Return what the node offers by itself: nothing. Raises RpcError as `discover_roots`."""
        await self._files.hands(params.sandbox, reads=True)
        _place(params.cwd)
        return DiscoverResponse([], [], [])


def _place(uri: str) -> bytes | str:
    """Return the path of a URI, or why it is none of this machine. Raises RpcError -32602."""
    try:
        return parse_path_uri(uri, native=False)
    except RpcError as error:
        if error.code != INVALID_REQUEST:
            raise
        return error.message
