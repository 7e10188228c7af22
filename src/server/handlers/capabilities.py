"""`capabilityRoots/*` and `capabilities/*`: plugins and skills on this machine."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from execnode.protocol.capabilities import (
    DiscoverParams,
    DiscoverResponse,
    DiscoverRootsParams,
    DiscoverRootsResponse,
)

if TYPE_CHECKING:
    from execnode.server.connection import Connection


def discover_roots(
    connection: Connection, params: DiscoverRootsParams
) -> Awaitable[DiscoverRootsResponse]:
    """What is in the named folders."""
    return connection.node.capabilities.discover_roots(params)


def discover(connection: Connection, params: DiscoverParams) -> Awaitable[DiscoverResponse]:
    """What the node offers by itself."""
    return connection.node.capabilities.discover(params)
