"""The load generator: what it sends, what it understands, what it counts, against any server."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from bench.load import Generator, References
from bench.tools import FILE_BYTES, Tools, why_absent

pytestmark = pytest.mark.xdist_group("bench")

PATIENCE = 30.0
SERVERS = ["execnode", "execnode_web", "codex", "codex_web"]
OUTPUT = b"some output\n"
FILE = bytes(range(256)) * 12_000  # longer than what the generator usually keeps


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(tmp_path_factory.mktemp("references"))


def compact(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


class Peer:
    """A small server of the dialect that cuts its messages into frames of `cut` characters.

    It pings between any two frames, and remembers what it received.
    """

    def __init__(self, cut: int) -> None:
        self.cut = cut
        self.received: list[dict[str, Any]] = []
        self.connection: ServerConnection | None = None

    def __call__(self, connection: ServerConnection) -> None:
        self.connection = connection
        for text in connection:
            assert isinstance(text, str)
            message = json.loads(text)
            self.received.append(message)
            for answer in self.answers(message):
                connection.send(self.pieces(compact(answer)))

    def pieces(self, text: str) -> Iterator[str]:
        assert self.connection is not None
        for begin in range(0, len(text), self.cut):
            self.connection.ping()
            yield text[begin : begin + self.cut]

    def answers(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        number, params = message.get("id"), message["params"]
        match message["method"]:
            case "initialize" | "environment/status":
                yield {"id": number, "result": {"nested": [{"status": "ready"}]}}
            case "process/start":
                yield from self.started(number, params["processId"])
            case "fs/readFile" if params["path"] == "file:///there":
                yield {"id": number, "result": {"dataBase64": base64.b64encode(FILE).decode()}}
            case "fs/readFile":
                yield {"id": number, "error": {"code": -32004, "message": "not found"}}

    def started(self, number: Any, process: str) -> Iterator[dict[str, Any]]:
        chunk = {"stream": "stdout", "chunk": base64.b64encode(OUTPUT).decode()}
        yield {"method": "process/output", "params": {"processId": process, "seq": 1, **chunk}}
        yield {"id": number, "result": {"processId": process}}
        yield {
            "method": "process/exited",
            "params": {"processId": process, "seq": 2, "exitCode": 0},
        }
        yield {"method": "process/closed", "params": {"processId": process, "seq": 3}}


Connected = Callable[[Peer], Generator]


@pytest.fixture
def connected(references: References) -> Iterator[Connected]:
    with ExitStack() as stack:

        def connect(peer: Peer) -> Generator:
            server = stack.enter_context(serve(peer, "127.0.0.1", 0))
            threading.Thread(target=server.serve_forever).start()
            address, port = server.socket.getsockname()
            command = [references.path("client"), "web", f"ws://{address}:{port}"]
            return stack.enter_context(Generator(command))

        yield connect


@pytest.mark.parametrize("cut", [1, 100, 200, 100_000])
def test_messages_in_frames_of_any_length_are_put_together(connected: Connected, cut: int) -> None:
    generator = connected(Peer(cut))
    report = generator.run(5, 3, ["/bin/true"])
    assert (report.bytes, len(report.each_ns)) == (5 * len(OUTPUT), 5)
    assert len(generator.ask("status", 4).each_ns) == 4


def test_a_file_longer_than_the_buffer_is_read_and_small_messages_after_it(
    connected: Connected,
) -> None:
    generator = connected(Peer(1_000_000))
    assert generator.ask("read", 2, "/there").bytes == 2 * len(FILE)
    assert generator.run(1, 1, ["/bin/true"]).bytes == len(OUTPUT)


def test_what_is_sent_is_the_plain_dialect(connected: Connected) -> None:
    peer = Peer(1000)
    argument = "x" * 200  # a frame with a longer head
    connected(peer).run(1, 1, ["/bin/echo", argument])
    assert peer.received == [
        {"id": 0, "method": "initialize", "params": {"clientName": "bench"}},
        {"method": "initialized", "params": {}},
        {
            "id": 1,
            "method": "process/start",
            "params": {
                "processId": "p1",
                "argv": ["/bin/echo", argument],
                "cwd": "file:///",
                "env": {"PATH": "/usr/bin:/bin"},
                "tty": False,
            },
        },
    ]


def test_pings_are_answered_while_no_workload_runs(connected: Connected) -> None:
    peer = Peer(1000)
    generator = connected(peer)
    generator.ask("status", 1)
    assert peer.connection is not None
    assert peer.connection.ping("are you there?").wait(PATIENCE)


def test_an_error_answer_ends_the_generator(
    connected: Connected, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match="status 1"):
        connected(Peer(1000)).ask("read", 1, "/gone")
    assert '"code":-32004' in capfd.readouterr().err


@pytest.fixture(scope="module")
def tools() -> Iterator[Tools]:
    with Tools() as tools:
        yield tools


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_does_every_workload(tools: Tools, name: str) -> None:
    if absent := why_absent(name):
        pytest.skip(absent)
    generator: Generator = getattr(tools, name)
    writer, rawecho = map(tools.references.path, ("writer", "rawecho"))
    assert generator.run(6, 3, [writer, "bytes", "100000"]).bytes == 600_000
    assert generator.ask("echo", 3, rawecho).bytes == 3
    assert len(generator.ask("status", 3).each_ns) == 3
    assert Path(f"/proc/{generator.server}").exists()


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_sends_whole_files(tools: Tools, name: str) -> None:
    if absent := why_absent(name):
        pytest.skip(absent)
    generator: Generator = getattr(tools, name)
    assert generator.ask("read", 2, str(tools.file)).bytes == 2 * FILE_BYTES
