"""`environment/*`: what this node is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from execnode.protocol.messages import EnvironmentInfo, EnvironmentStatusResponse, NoParams

if TYPE_CHECKING:
    from execnode.server.connection import Connection


def info(connection: Connection, _params: NoParams) -> EnvironmentInfo:
    """The same as in the answer to `initialize`."""
    return connection.node.info


def status(_connection: Connection, _params: NoParams) -> EnvironmentStatusResponse:
    """A node that answers is ready."""
    return EnvironmentStatusResponse("ready")
