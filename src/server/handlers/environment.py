"""`environment/*` and `environmentConfig/read`: what this node is, and how it is configured."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from execnode.protocol.config import ConfigReadParams, ConfigReadResponse
from execnode.protocol.messages import EnvironmentInfo, EnvironmentStatusResponse, NoParams

if TYPE_CHECKING:
    from execnode.server.connection import Connection


def info(connection: Connection, _params: NoParams) -> EnvironmentInfo:
    """The same as in the answer to `initialize`."""
    return connection.node.info


def status(_connection: Connection, _params: NoParams) -> EnvironmentStatusResponse:
    """A node that answers is ready."""
    return EnvironmentStatusResponse("ready")


def read_config(connection: Connection, params: ConfigReadParams) -> Awaitable[ConfigReadResponse]:
    """Chosen keys of configuration files."""
    return connection.node.config.read(params)
