"""HTTP requests that a node makes, for programs without async."""

from execnode.client import http as _http

from .calls import Facade, Iterating, blocking, context

__all__ = ["Http", "HttpStream"]


class HttpStream(Iterating[_http.HttpStream, bytes]):
    """A response whose body is iterated over once, in pieces as they come."""

    @property
    def status(self) -> int:
        """The status."""
        return self._of.status

    @property
    def headers(self) -> list[tuple[str, str]]:
        """As in HttpReply."""
        return self._of.headers


class Http(Facade[_http.Http]):
    """HTTP from a node's place in the network; see `execnode.client.Http`."""

    request = blocking(_http.Http.request)
    stream = context(_http.Http.stream, HttpStream)
