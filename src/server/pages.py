"""What a node answers to plain HTTP: whether it lives and takes work, and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from execnode.server.node import Node

__all__ = ["Page", "pages_of"]

_TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer to GET. render: the status, and the body with its type before it.

    private: only for who may open a WebSocket.
    """

    render: Callable[[], tuple[HTTPStatus, str, bytes]]
    private: bool = False


def pages_of(node: Node) -> dict[str, Page]:
    """The pages of a node, by path."""

    def health() -> tuple[HTTPStatus, str, bytes]:
        return HTTPStatus.OK, _TEXT, b""

    def readiness() -> tuple[HTTPStatus, str, bytes]:
        if node.execs.accepting:
            return HTTPStatus.OK, _TEXT, b""
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, b"this node is shutting down"

    def metrics() -> tuple[HTTPStatus, str, bytes]:
        from execnode.server.metrics import render  # late, since few nodes are asked for it

        return HTTPStatus.OK, *render(node)

    return {
        "/healthz": Page(health),
        "/readyz": Page(readiness),
        "/metrics": Page(metrics, private=True),
    }
