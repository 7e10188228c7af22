"""`initialize`: who is there, and which session it is."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from execnode.protocol.errors import initialize_only_once, invalid_request
from execnode.protocol.messages import InitializeParams, InitializeResponse

if TYPE_CHECKING:
    from execnode.server.connection import Connection


def initialize(connection: Connection, params: InitializeParams) -> InitializeResponse:
    """Open a session, or take up a detached one again."""
    if connection.session is not None:
        raise initialize_only_once()
    token = connection.peer.token
    if token is not None and not hmac.compare_digest(
        token.encode(), (params.auth_token or "").encode()
    ):
        connection.end_politely()
        raise invalid_request(
            "authentication failed: `authToken` is not this node's token; "
            "it is in the file given to it with --token-file"
        )
    sessions = connection.node.sessions
    if params.resume_session_id is None:
        session = sessions.open(connection, params.client_name, params.session_ttl_ms)
    else:
        session = sessions.resume(connection, params.resume_session_id, params.session_ttl_ms)
    connection.welcome(session, acks=params.acks, additions=params.additions)
    return InitializeResponse(session.id, connection.node.info)
