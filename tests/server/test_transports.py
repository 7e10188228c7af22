"""Every transport and encoding carries the same conversation."""

import hashlib
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.running import NodeProcess, gone, piped_wire
from tests.server.wire import Refused, Wire, starting

NETWORK = {
    "unix-cbor": (0, False),
    "tcp-cbor": (1, False),
    "ws-json": (2, False),
    "ws-cbor": (2, True),
}
EVERYWHERE = [*NETWORK, "stdio-json", "stdio-cbor"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("transports")
    with NodeProcess(folder, None, "tcp://127.0.0.1:0", "ws://127.0.0.1:0") as node:
        yield node
        node.check()


@pytest.fixture(params=EVERYWHERE)
def anywhere(request: pytest.FixtureRequest, shared: NodeProcess) -> Iterator[Wire]:
    """A client that is through with its handshake."""
    kind: str = request.param
    with ExitStack() as stack:
        if kind in NETWORK:
            index, binary = NETWORK[kind]
            url = shared.urls[index]
            wire = shared.connect(url, binary=binary, additions=True, sessionTtlMs=0)
            yield stack.enter_context(wire)
            return
        folder = Path(tempfile.mkdtemp(prefix="xn-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        encoding = kind.removeprefix("stdio-")
        node = NodeProcess(folder, None, "stdio", stdio=True, encoding=encoding)
        stack.enter_context(node)
        wire = stack.enter_context(piped_wire(node, json=encoding == "json"))
        wire.handshake(additions=True)
        yield wire


def test_streams_apart_and_the_exit(anywhere: Wire) -> None:
    seen = anywhere.run("printf 'a\\0b'; printf '\\377' >&2; exit 7")
    assert seen.streams == {"stdout": b"a\0b", "stderr": b"\xff"}
    assert seen.exit_code == 7
    assert seen.closed is not None
    assert seen.closed["streams"]["stdout"]["bytes"] == 3


def test_every_byte_of_much_output(anywhere: Wire) -> None:
    data = random.Random(1).randbytes(1_000_003) * 7
    anywhere.start("cat; cat >&2 <&-; exit 1", pipeStdin=True)
    for start in range(0, len(data), 500_000):
        chunk = data[start : start + 500_000]
        anywhere.call("process/write", processId="p", chunk=chunk, writeId=str(start))
    anywhere.call("process/closeStdin", processId="p")
    seen = anywhere.ended()
    assert hashlib.sha256(seen.stdout).digest() == hashlib.sha256(data).digest()


class _Has:
    """Whether so many bytes of output have come."""

    def __init__(self, wire: Wire, size: int) -> None:
        self._wire, self._size = wire, size

    def __call__(self) -> bool:
        return "p" in self._wire.seen and len(self._wire.seen["p"].stdout) == self._size


def test_chunks_one_byte_of_every_length_up_to_a_few_hundred(anywhere: Wire) -> None:
    """Base64 has three ends, and length fields grow."""
    anywhere.start("cat", pipeStdin=True)
    sent = b""
    for size in [*range(1, 40), 125, 126, 127, 253, 254, 255, 256, 257]:
        data = bytes(i % 256 for i in range(size))
        anywhere.request("process/write", processId="p", chunk=data, writeId=f"{size}")
        sent += data
        anywhere.until(_Has(anywhere, len(sent)))
    assert anywhere.seen["p"].stdout == sent
    assert len(anywhere.seen["p"].chunks) >= 40


@pytest.mark.parametrize(
    "name",
    [
        "",
        "plain",
        'quo"te',
        "back\\slash",
        "new\nline",
        "\x01\x1f\x7f",
        "ünïcödé 🐍",
        "\u2028",
        "n" * 4096,
    ],
)
def test_any_name_of_a_process(anywhere: Wire, name: str) -> None:
    assert anywhere.run("echo hi; echo ho >&2", name).streams == {
        "stdout": b"hi\n",
        "stderr": b"ho\n",
    }
    assert anywhere.request("process/read", processId=name)["closed"] is True


def test_a_terminal(anywhere: Wire) -> None:
    script = "trap 'echo got-int; exit 9' INT; stty size; while :; do sleep 0.01; done"
    anywhere.start(script, tty=True)
    anywhere.says(b"24 80")
    anywhere.request("process/write", processId="p", chunk=b"\x03", writeId="1")
    assert anywhere.ended().exit_code == 9
    assert set(anywhere.seen["p"].streams) == {"pty"}


def test_signals_and_ends(anywhere: Wire) -> None:
    anywhere.start("trap 'echo int; exit 5' INT; echo ready; while :; do sleep 0.01; done")
    anywhere.says(b"ready")
    assert anywhere.request("process/signal", processId="p", signal="interrupt") == {}
    assert anywhere.ended().exit_code == 5
    anywhere.start("exec sleep 1000", "q")
    assert anywhere.request("process/terminate", processId="q")["running"] is True
    assert anywhere.ended("q").exit_code == 128 + signal.SIGKILL


def test_many_at_once_are_never_mixed_up(anywhere: Wire) -> None:
    for i in range(40):
        anywhere.call(
            "process/start",
            **starting(f"for k in 1 2 3 4 5; do echo {i}; echo e{i} >&2; done", f"p{i}"),
        )
    for i in range(40):
        assert anywhere.ended(f"p{i}").streams == {
            "stdout": f"{i}\n".encode() * 5,
            "stderr": f"e{i}\n".encode() * 5,
        }


def test_a_long_poll_and_an_error(anywhere: Wire) -> None:
    anywhere.start("read x; echo $x", pipeStdin=True)
    waiting = anywhere.call("process/read", processId="p", waitMs=60_000)
    anywhere.request("process/write", processId="p", chunk=b"now\n", writeId="1")
    assert anywhere.answer(waiting)["chunks"][0]["chunk"] == b"now\n"
    assert anywhere.refused("process/read", processId="other").code == -32600
    assert anywhere.refused("no/such").code == -32601
    assert anywhere.refused("process/read").code == -32602


def test_a_digest_that_the_caller_makes(anywhere: Wire) -> None:
    seen = anywhere.run("printf abc", digest="sha256")
    assert seen.closed is not None
    digest = hashlib.sha256(b"abc").hexdigest()
    assert seen.closed["streams"]["stdout"]["digest"] == f"sha256:{digest}"


@pytest.mark.parametrize("kind", list(NETWORK))
def test_a_session_is_taken_up_by_any_other_transport(shared: NodeProcess, kind: str) -> None:
    index, binary = NETWORK[kind]
    with shared.connect(shared.urls[index], binary=binary, additions=True) as wire:
        wire.start("echo one; read x; echo $x; exec sleep 1000", pipeStdin=True)
        wire.says(b"one")
        pid = wire.processes()[0]["pid"]
    for other, binary in NETWORK.values():
        again = shared.resume(wire, shared.urls[other], binary=binary, additions=True)
        with again:
            again.attach(after=0)
            again.says(b"one")
            assert again.processes()[0]["pid"] == pid
    with shared.resume(wire, sessionTtlMs=0):
        pass
    assert gone(pid)


def test_requests_in_a_file_are_answered_before_the_end(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, None, "stdio", stdio=True, encoding="json")
    with node, piped_wire(node, json=True) as wire:
        wire.handshake()
        read = wire.call("process/read", processId="p", waitMs=200)
        wire.start("exec sleep 1000")
        waiting = wire.call("process/read", processId="p", waitMs=300)
        wire.socket.end_input()  # type: ignore[attr-defined]
        assert wire.answer(waiting)["exited"] is False
        with pytest.raises(Refused):
            wire.answer(read)
        wire.eof()
        assert node.popen.wait(10) == 0


def test_lines_that_are_blank_or_broken(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, None, "stdio", stdio=True, encoding="json")
    with node, piped_wire(node, json=True) as wire:
        wire.handshake()
        wire.socket.sendall(b"\n   \n\r\n\t\nbroken\n\xff\xfe\n[]\r\n")
        for _ in range(3):
            error = wire.receive()
            assert error["id"] == -1
            assert error["error"]["code"] == -32600
            prefix = "failed to parse JSON-RPC message from exec-server stdio: "
            assert error["error"]["message"].startswith(prefix)
        wire.socket.sendall(b'  {"id": 7, "method": "environment/status"} \r\n')
        assert wire.answer(7) == {"status": "ready"}
