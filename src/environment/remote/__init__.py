"""The services of a node, through the client, whose objects they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import socket
from typing import Any

from execnode.client import node
from execnode.environment.services import Environment

__all__ = ["connect"]


@asynccontextmanager
async def connect(target: str | socket, **options: Any) -> AsyncIterator[Environment]:
    """See `Environment.connect`."""
    async with node.connect(target, **options) as connected:
        yield Environment(connected.info, connected, connected.files, connected.http)
