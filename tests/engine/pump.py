"""What stands in for an event loop and for a client in the engine's tests.

`Pump` waits for the engine's descriptor, polls, and keeps every event. It answers what has to be
answered at once (marks and gaps). `Peer` is the other end of a channel: it decodes what arrives
and checks that the records come in order, each once, with the right offsets.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any, Final, Literal

import cbor2

from execnode.engine import Channel, Engine, Process, _pty

ENV: Final = [b"PATH=/usr/local/bin:/usr/bin:/bin", b"LC_ALL=C"]

# Seconds that anything may take: much more than it does, since the machine may be busy.
PATIENCE: Final = 30.0


def sh(script: str) -> list[bytes]:
    return [b"/bin/sh", b"-c", script.encode()]


def py(script: str, *args: str) -> list[bytes]:
    """Arguments for an interpreter that starts fast: no site-packages."""
    return [each.encode() for each in (sys.executable, "-S", "-E", "-c", script, *args)]


def readable(engine: Engine, seconds: float = 0.0) -> bool:
    """Whether an event loop that waits for the engine would wake up within this time."""
    return bool(select.select([engine.fileno()], [], [], seconds)[0])


def output(process: Process, stream: str = "stdout") -> bytes:
    """Everything that the log keeps of a stream."""
    return b"".join(data for _, name, _, data in process.read(0, 1 << 40)[0] if name == stream)


def descriptors() -> set[str]:
    """What is open here, as descriptor and file."""
    links = [(path.name, _target(path)) for path in Path("/proc/self/fd").iterdir()]
    return {f"{name} {target}" for name, target in links if target}


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except FileNotFoundError:  # the one that lists the folder
        return ""


def apart(script: str) -> str:
    """Run Python in a process of its own, where it may do as it likes; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(script)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rests(pid: int) -> bool:
    """Whether a process and its descendants sleep, are stopped or have ended."""
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        children = (process / f"task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "STZ" and all(rests(int(child)) for child in children)


class Pump:
    """An engine, what drives it, and every event it has told of."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: list[tuple[Any, ...]] = []
        self.peers: list[Peer] = []
        self.children: list[int] = []
        self.answering = True
        self.on_event: Callable[[tuple[Any, ...]], object] = lambda _: None

    def start(self, argv: list[bytes], **options: Any) -> Process:
        options.setdefault("env", ENV)
        options.setdefault("cwd", b"/")
        paths = options.pop("paths", [argv[0]])
        env, cwd = options.pop("env"), options.pop("cwd")
        process = self.engine.spawn(paths, argv, env, cwd, **options)
        self.children.append(process.pid)
        return process

    def run(self, argv: list[bytes], **options: Any) -> Process:
        """Start a program and return when it has ended."""
        process = self.start(argv, **options)
        self.until_ended(process)
        return process

    def until(self, condition: Callable[[], object], *, look: float = PATIENCE) -> None:
        """Turn as an event loop does until something is so.

        It sleeps only on descriptors: a wake-up that is missing makes the test fail. `look` is
        how many seconds to wait at most for what no descriptor tells of.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            worked = self.turn()
            if condition():
                return
            left = deadline - time.monotonic()
            assert left > 0, f"it did not happen; the last events were {self.events[-10:]}"
            if not self.engine.busy and not worked:
                self.wait(min(left, look))

    def turn(self) -> bool:
        """Poll once and move what the peers can; whether they could."""
        for event in self.engine.poll():
            self.events.append(event)
            self.on_event(event)
            if self.answering and event[0] in (_pty.MARK, _pty.GAP):
                answer(event)
        return sum(peer.work() for peer in self.peers) > 0

    def wait(self, seconds: float) -> None:
        """Sleep until there is something to do, at most so long."""
        reads: list[Any] = [self.engine, *(peer.socket for peer in self.peers if peer.reading)]
        writes = [peer.socket for peer in self.peers if peer.unsent]
        self.engine.waited_for = True
        select.select(reads, writes, [], seconds)
        self.engine.waited_for = False

    def until_ended(self, *processes: Process) -> None:
        self.until(lambda: all(self.saw(_pty.ENDED, each) for each in processes))

    def until_closed(self, *streams: "Streamed") -> None:
        self.until(lambda: all(each.closed for each in streams))

    def until_idle(self) -> None:
        """Go on until nothing more happens by itself: the children sleep, and so could we."""
        self.until(self._idle, look=0)

    def _idle(self) -> bool:
        if self.engine.busy or not all(map(rests, self.children)):
            return False
        reads: list[Any] = [self.engine, *(peer.socket for peer in self.peers if peer.reading)]
        return not select.select(reads, [], [], 0.02)[0]

    def saw(self, kind: int, subject: object) -> bool:
        return any(event[0] == kind and event[1] is subject for event in self.events)

    def of(self, kind: int) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] == kind]


def answer(event: tuple[Any, ...]) -> None:
    """Send what stands for a mark or a gap."""
    _, channel, process, first, last = event[:5]
    if event[0] == _pty.MARK:
        method = "exited" if last == _pty.MARK_EXITED else "closed"
        seq, params = first, {"seq": first}
    else:
        method = "gap"
        seq, params = last, {"fromSeq": first, "toSeq": last, "bytes": event[5]}
    params["processId"] = event[-1]
    channel.pass_on(process, seq, cbor2.dumps({"method": f"process/{method}", "params": params}))


class Streamed:
    """What a peer has of one process."""

    def __init__(self, after: int = 0) -> None:
        self.seq = after
        self.from_start = after == 0
        self.bytes: dict[str, bytearray] = defaultdict(bytearray)
        self.pieces: list[tuple[str, int, bytes]] = []
        self.offsets: Counter[str] = Counter()
        self.gaps: list[dict[str, int]] = []
        self.marks: list[tuple[int, str]] = []
        self.order: list[str] = []

    def take(self, method: str, params: dict[str, Any]) -> None:
        """Check a notification against what came before it."""
        first = params["fromSeq"] if method == "gap" else params["seq"]
        assert first == self.seq + 1, f"{method} {first} follows {self.seq}"
        self.seq = params.get("toSeq", first)
        assert self.seq >= first
        self.order.append(method)
        if method == "output":
            stream, offset, chunk = params["stream"], params["offset"], params["chunk"]
            assert chunk
            assert offset == self.offsets[stream] or not self.from_start
            self.offsets[stream] = offset + len(chunk)
            self.bytes[stream] += chunk
            self.pieces.append((stream, offset, chunk))
        elif method == "gap":
            self.offsets.update(params["bytes"])
            self.gaps.append(params["bytes"])
        else:
            self.marks.append((first, method))

    @property
    def lost(self) -> Counter[str]:
        """Bytes of all gaps, by stream."""
        return sum(map(Counter, self.gaps), Counter[str]())

    @property
    def closed(self) -> bool:
        return any(method == "closed" for _, method in self.marks)


class Peer:
    """The other end of a channel, as careful as a client has to be."""

    framing: Literal[0, 1, 2] = _pty.FRAMES

    def __init__(
        self, pump: Pump, *, hot: bool = True, acks: bool = False, buffer: int | None = None
    ) -> None:
        ours, theirs = socket.socketpair()
        if buffer is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        theirs.setblocking(False)
        self.socket = theirs
        descriptor = ours.detach()
        self.channel: Channel = pump.engine.open_channel(
            descriptor, descriptor, max_frame=1 << 24, framing=self.framing
        )
        if hot:
            self.channel.ready(max_frame=1 << 24, acks=acks)
        self.reading = True
        self.at_once = 1 << 20
        self.unsent = bytearray()
        self.received = 0
        self.eof = False
        self.messages: list[dict[str, Any]] = []
        self.streams: dict[str, Streamed] = defaultdict(Streamed)
        self.on_message: Callable[[dict[str, Any]], object] = lambda _: None
        self._buffer = bytearray()
        pump.peers.append(self)

    def attach(self, process: Process, name: str = "p", after: int = 0, **options: Any) -> Streamed:
        """Stream a process to this peer; returns what it gets of it."""
        process.owner = name
        self.streams[name] = Streamed(after)
        self.channel.attach(process, name.encode(), after, **options)
        return self.streams[name]

    def request(self, number: object, method: str, **params: object) -> None:
        self.send(self.encode({"id": number, "method": method, "params": params}))

    def notify(self, method: str, **params: object) -> None:
        self.send(self.encode({"method": method, "params": params}))

    def encode(self, message: dict[str, Any]) -> bytes:
        return cbor2.dumps(message)

    def decode(self, body: bytes) -> dict[str, Any]:
        message: dict[str, Any] = cbor2.loads(body)
        return message

    def send(self, body: bytes) -> None:
        self.unsent += len(body).to_bytes(4, "big") + body

    @property
    def answers(self) -> dict[Any, Any]:
        """Results by the id of their request."""
        return {each["id"]: each["result"] for each in self.messages if "id" in each}

    def work(self) -> bool:
        """Send and receive what can be. True when something was."""
        return self._send() | (self.reading and self._receive())

    def _send(self) -> bool:
        try:
            sent = self.socket.send(self.unsent) if self.unsent else 0
        except (BlockingIOError, BrokenPipeError):
            return False
        del self.unsent[:sent]
        return sent > 0

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(self.at_once)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # closed with something of ours unread
            data = b""
        if not data:
            self.eof, self.reading = True, False
        self.received += len(data)
        self._buffer += data
        for body in self._frames():
            self._take(self.decode(body))
        return bool(data)

    def _frames(self) -> Iterator[bytes]:
        at = 0
        while len(self._buffer) - at >= 4:
            size = int.from_bytes(self._buffer[at : at + 4], "big")
            if len(self._buffer) - at - 4 < size:
                break
            yield bytes(self._buffer[at + 4 : at + 4 + size])
            at += 4 + size
        del self._buffer[:at]

    def _take(self, message: dict[str, Any]) -> None:
        self.on_message(message)
        method, params = message.get("method", ""), message.get("params", {})
        if "id" not in message and method.startswith("process/") and "processId" in params:
            self.streams[params["processId"]].take(method.removeprefix("process/"), params)
        else:
            self.messages.append(message)


@contextmanager
def opened(**options: Any) -> Iterator[Pump]:
    """Yield a pump on an engine of its own; everything is closed afterwards."""
    options.setdefault("memory_limit", 1 << 28)
    engine = Engine(**options)
    pump = Pump(engine)
    try:
        yield pump
    finally:
        for peer in pump.peers:
            peer.socket.close()
        engine.close()
        for pid in pump.children:
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    os.killpg(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
