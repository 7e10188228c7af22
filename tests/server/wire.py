"""A client of a few lines that knows nothing of ours: sockets, and the dialect's rules.

It checks what it is told as it arrives: records of a process come in order, each once, with the
right offsets, and nothing follows `closed`.
"""

import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, Self
from urllib.parse import urlsplit

from tests.server.speech import Frames, Json, Speech, web_socket

__all__ = [
    "PATH",
    "PATIENCE",
    "Json",
    "Refused",
    "Seen",
    "Wire",
    "attempts",
    "eventually",
    "frame",
    "starting",
]

PATH: Final = "/usr/local/bin:/usr/bin:/bin"
# Seconds that anything may take: far more than it does, since the machine may be busy.
PATIENCE: Final = 15.0


class Refused(Exception):
    """An error answer."""

    def __init__(self, error: Json) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        assert set(error) <= {"code", "message", "data"}
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data: Any = error.get("data")


class Seen:
    """What a client has been told of one process, from the record after `after` on.

    after: None for wherever it begins.
    """

    def __init__(self, after: int | None = 0) -> None:
        self._anywhere = after is None
        self.seq = after or 0
        self.streams: dict[str, bytearray] = defaultdict(bytearray)
        self.offsets: dict[str, int] | None = {} if after == 0 else None
        self.chunks: list[Json] = []
        self.gaps: list[Json] = []
        self.exited: Json | None = None
        self.closed: Json | None = None

    def take(self, message: Json) -> None:
        kind, params = message["method"].removeprefix("process/"), message["params"]
        assert self.closed is None, f"{message} after closed"
        first = params["fromSeq"] if kind == "gap" else params["seq"]
        assert first == self.seq + 1 or self._anywhere, f"{kind} {first} follows {self.seq}"
        self._anywhere = False
        self.seq = params["toSeq"] if kind == "gap" else first
        if kind == "output":
            self._output(params)
        elif kind == "gap":
            self.gaps.append(params)
            for stream, count in params["bytes"].items():
                if self.offsets is not None:
                    self.offsets[stream] = self.offsets.get(stream, 0) + count
        elif kind == "exited":
            assert self.exited is None
            self.exited = params
        else:
            assert kind == "closed"
            assert self.exited is not None or self.offsets is None
            self.closed = params

    def _output(self, params: Json) -> None:
        stream, chunk = params["stream"], params["chunk"]
        assert type(chunk) is bytes
        assert chunk
        if self.offsets is not None:
            offset = self.offsets.get(stream, 0)
            assert params.get("offset", offset) == offset  # the plain dialect has none
            self.offsets[stream] = offset + len(chunk)
        self.streams[stream] += chunk
        self.chunks.append(params)

    @property
    def stdout(self) -> bytes:
        return bytes(self.streams["stdout"])

    @property
    def stderr(self) -> bytes:
        return bytes(self.streams["stderr"])

    @property
    def pty(self) -> bytes:
        return bytes(self.streams["pty"])

    @property
    def exit_code(self) -> int:
        assert self.exited is not None
        code = self.exited["exitCode"]
        assert isinstance(code, int)
        return code

    @property
    def lost(self) -> int:
        """Bytes of all gaps."""
        return sum(sum(gap["bytes"].values()) for gap in self.gaps)


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


class Wire:
    """One connection."""

    def __init__(self, sock: socket.socket, speech: Speech | None = None) -> None:
        sock.settimeout(PATIENCE)
        self.socket = sock
        self.speech = speech or Frames()
        self.session = ""
        self.answers: dict[Any, Json] = {}
        self.notifications: deque[Json] = deque()
        self.seen: dict[str, Seen] = {}
        self._arrived: deque[Json] = deque()
        self._ids = 0

    @classmethod
    def to(cls, url: str, **options: Any) -> Self:
        """Connect to a node. options: of speech.WebSocket."""
        parts = urlsplit(url)
        if parts.scheme == "ws":
            return cls(*web_socket(url, PATIENCE, **options))
        if parts.scheme == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(parts.path)
        else:
            assert parts.hostname
            sock = socket.create_connection((parts.hostname, parts.port), PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    # --- out --------------------------------------------------------------------------------------

    def send(self, *messages: object) -> None:
        """Send messages, in one piece."""
        self.socket.sendall(b"".join(map(self.speech.pack, messages)))

    def call(self, method: str, /, **params: object) -> int:
        """Send a request and return its id."""
        self._ids += 1
        self.send({"id": self._ids, "method": method, "params": params})
        return self._ids

    def notify(self, method: str, **params: object) -> None:
        self.send({"method": method, "params": params})

    # --- in ---------------------------------------------------------------------------------------

    def receive(self) -> Json:
        """The next message, whatever it is. Raises EOFError at the end, TimeoutError."""
        while not self._arrived:
            self._fill()
        return self._arrived.popleft()

    def _fill(self) -> None:
        data = self.socket.recv(1 << 18)
        if not data:
            assert not self.speech.partial, "the end came in the middle of a message"
            raise EOFError
        self._arrived += self.speech.feed(data)

    def step(self) -> Json:
        """Take the next message and keep it where it belongs."""
        message = self.receive()
        if "id" in message:
            assert set(message) in ({"id", "result"}, {"id", "error"})
            assert message["id"] not in self.answers or message["id"] == -1
            self.answers[message["id"]] = message
        else:
            assert set(message) == {"method", "params"}
            params = message["params"]
            self.notifications.append(message)
            if message["method"].startswith("process/"):
                self.seen.setdefault(params["processId"], Seen()).take(message)
        return message

    def answer(self, request_id: object) -> Any:
        """The result of a request. Raises Refused."""
        while request_id not in self.answers:
            self.step()
        message = self.answers.pop(request_id)
        if "error" in message:
            raise Refused(message["error"])
        return message["result"]

    def until(self, condition: Callable[[], object]) -> None:
        """Take messages until something is so."""
        while not condition():
            self.step()

    def eof(self) -> list[Json]:
        """Everything that comes until the peer ends the connection."""
        messages = []
        with suppress(EOFError, ConnectionResetError):
            while True:
                messages.append(self.receive())
        return messages

    def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing arrives for a while: only to show that what must not come does not."""
        if self._arrived or self.speech.partial:
            return False
        self.socket.settimeout(seconds)
        try:
            self._fill()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        return False

    # --- the dialect ------------------------------------------------------------------------------

    def request(self, method: str, /, **params: object) -> Any:
        """The result of a request. Raises Refused."""
        return self.answer(self.call(method, **params))

    def refused(self, method: str, /, **params: object) -> Refused:
        """The error that a request is answered with."""
        try:
            result = self.request(method, **params)
        except Refused as error:
            return error
        raise AssertionError(f"{method} was not refused: {result}")

    def handshake(self, **params: object) -> Json:
        """`initialize` and `initialized`; returns the result of the first."""
        result = self.request("initialize", **{"clientName": "wire", **params})
        assert isinstance(result, dict)
        self.session = result["sessionId"]
        self.notify("initialized")
        return result

    def start(self, argv: list[Any] | str, name: str = "p", **params: object) -> Json:
        """Start a program; a string is a script for the shell. Raises Refused."""
        result = self.request("process/start", **starting(argv, name, **params))
        assert isinstance(result, dict)
        return result

    def ended(self, name: str = "p") -> Seen:
        """What a process has said when it is closed."""
        self.until(lambda: name in self.seen and self.seen[name].closed)
        return self.seen[name]

    def run(self, argv: list[Any] | str, name: str = "p", **params: object) -> Seen:
        """Start a program and wait for its end."""
        self.start(argv, name, **params)
        return self.ended(name)

    def says(self, text: bytes, name: str = "p") -> Seen:
        """Wait for output that contains a text."""
        self.until(
            lambda: (
                name in self.seen and any(text in data for data in self.seen[name].streams.values())
            )
        )
        return self.seen[name]

    def attach(self, name: str = "p", after: int = 0, **params: object) -> Json:
        """Have the records after `after` sent; what came before the answer does not count."""
        self.seen.pop(name, None)
        request_id = self.call("process/attach", processId=name, afterSeq=after, **params)
        while request_id not in self.answers:
            message = self.receive()
            if "id" in message:
                self.answers[message["id"]] = message
            elif message["params"]["processId"] != name:
                self.seen.setdefault(message["params"]["processId"], Seen()).take(message)
        self.seen[name] = Seen(after)
        result = self.answer(request_id)
        assert isinstance(result, dict)
        return result

    def processes(self, *, everybody: bool = False) -> list[Json]:
        result = self.request("process/list", all=everybody)["processes"]
        assert isinstance(result, list)
        return result


def starting(argv: list[Any] | str, name: str = "p", **params: object) -> Json:
    """The parameters of a start."""
    return {
        "processId": name,
        "argv": ["/bin/sh", "-c", argv] if isinstance(argv, str) else argv,
        "cwd": "file:///",
        "env": {"PATH": PATH},
        "tty": False,
        **params,
    }


def eventually(condition: Callable[[], object], within: float = PATIENCE) -> bool:
    """Whether something comes true that nothing announces."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def attempts(within: float = PATIENCE) -> Iterator[None]:
    """Turns for a client that tries again, as on -32010."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        yield
        time.sleep(0.005)
    raise AssertionError("it did not come to pass in time")


def taken_up(url: str, session: str, **params: object) -> Wire:
    """A connection that has a session's `initialize` answered, as soon as the old one is gone."""
    for _ in attempts():
        wire = Wire.to(url)
        try:
            params = {"clientName": "wire", "resumeSessionId": session, **params}
            wire.session = wire.request("initialize", **params)["sessionId"]
        except Refused as error:
            wire.close()
            if error.code != -32010:
                raise
        else:
            return wire
    raise AssertionError


def resumed(url: str, session: str, **params: object) -> Wire:
    """As `taken_up`, and through with its handshake."""
    wire = taken_up(url, session, **params)
    wire.notify("initialized")
    return wire
