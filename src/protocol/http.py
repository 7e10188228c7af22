"""Messages of `http/request`: a request that the node makes on the client's behalf."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from .messages import Unsigned, _Message

__all__ = [
    "HttpBodyDeltaNotification",
    "HttpHeader",
    "HttpRequestHeader",
    "HttpRequestParams",
    "HttpResponse",
]


class HttpHeader(_Message, frozen=True):
    """One header of a response. The name is in lower case."""

    name: str
    value: str


class HttpRequestHeader(_Message, frozen=True):
    """One header to send: `value`, then the node's variable `value_env_var` where one is named."""

    name: str
    value: str
    value_env_var: str | None = None


class HttpRequestParams(_Message, frozen=True):
    """`http/request`. `timeout_ms` is for the whole exchange with its body; None waits for ever.

    With `stream_response` the body follows the answer in notifications that carry `request_id`.
    """

    method: str
    url: str
    request_id: str
    headers: list[HttpRequestHeader] = field(default_factory=list)
    body: bytes | None = field(default=None, name="bodyBase64")
    timeout_ms: Unsigned | None = None
    redirect_policy: Literal["follow", "stop"] = "follow"
    stream_response: bool = False


class HttpResponse(_Message, frozen=True):
    """Any status is a response. `body` is empty when it is streamed."""

    status: Unsigned
    headers: list[HttpHeader]
    body: bytes = field(name="bodyBase64")


class HttpBodyDeltaNotification(_Message, frozen=True):
    """`http/request/bodyDelta`: a piece of a streamed body, numbered from 1.

    The last one has `done`, and in `error` why the body is incomplete, if it is.
    """

    request_id: str
    seq: Unsigned
    delta: bytes = field(name="deltaBase64")
    done: bool
    error: str | None
