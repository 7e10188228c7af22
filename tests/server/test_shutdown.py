"""The end of a node, and a node on standard input and output."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest

from execnode.server.connection import Peer
from execnode.server.node import Node
from tests.locate import ROOT
from tests.server.conftest import Launch
from tests.server.running import (
    ExecLimits,
    ExecSettings,
    NodeProcess,
    NodeSettings,
    alive,
    gone,
    piped_wire,
)
from tests.server.wire import Wire, eventually, frame, starting

DAEMON = "(setsid sh -c 'exec sleep 1000' >/dev/null 2>&1 & echo $!)"
POLITE = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
TOLD = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done"
DEAF = "trap '' TERM; echo ready; while :; do sleep 0.01; done"
LOOPBACK = "tcp://127.0.0.1:0"


# --- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=str)
def test_a_signal_ends_a_node_cleanly(launch: Launch, number: int) -> None:
    node = launch(None, LOOPBACK)
    path = Path(node.url.removeprefix("unix://"))
    with node.connect() as wire:
        assert node.end(number) == 0
        assert wire.eof() == []
    assert not path.exists()
    node.check()


def test_processes_are_asked_before_they_are_killed_and_their_end_is_told(launch: Launch) -> None:
    node = launch(NodeSettings(shutdown_grace=0.2))
    with node.connect() as wire:
        for name, script in (("polite", POLITE), ("deaf", DEAF)):
            wire.start(f"{DAEMON}; {script}", name)
            wire.says(b"ready", name)
        daemons = [int(wire.seen[name].stdout.split()[0]) for name in ("polite", "deaf")]
        pids = [each["pid"] for each in wire.processes()]
        waiting = wire.call("process/read", processId="deaf", afterSeq=5, waitMs=60_000)
        begin = time.monotonic()
        node.popen.terminate()
        polite = wire.ended("polite")
        assert polite.stdout.endswith(b"ready\nbye\n")
        assert polite.exit_code == 3
        deaf = wire.ended("deaf")
        assert deaf.exited is not None
        assert (deaf.exited["exitCode"], deaf.exited["reason"]) == (137, "killed")
        assert wire.answer(waiting)["exitCode"] == 137
        assert node.popen.wait(10) == 0
        assert time.monotonic() - begin < 3
        assert gone(*pids, *daemons)
    node.check()


def test_what_an_exited_process_left_behind_has_the_same_grace(launch: Launch) -> None:
    node = launch(NodeSettings(shutdown_grace=30.0))
    child = "trap 'echo child bye; exit' TERM; echo on; while :; do sleep 0.01; done"
    with node.connect() as wire:
        wire.start(f"({child}) & true")
        wire.says(b"on")
        wire.until(lambda: wire.seen["p"].exited)
        node.popen.terminate()
        assert wire.ended().stdout == b"on\nchild bye\n"
        assert wire.seen["p"].exit_code == 0
        assert node.popen.wait(5) == 0
    node.check()


def test_a_node_that_is_ending_starts_nothing_and_answers_the_rest(launch: Launch) -> None:
    node = launch(NodeSettings(shutdown_grace=30.0), LOOPBACK)
    with node.connect() as wire:
        wire.start(TOLD)
        wire.says(b"ready")
        node.popen.terminate()
        wire.says(b"asked")
        error = wire.refused("process/start", **starting(["true"], "late"))
        assert error.code == -32600
        assert "shutting down" in error.message
        assert wire.request("environment/status") == {"status": "ready"}
        # Nor is anybody else let in.
        for url in node.urls:
            with Wire.to(url) as late:
                (message,) = late.eof()
            assert "shutting down" in message["error"]["message"]
        # What is asked of it it still does.
        assert wire.request("process/terminate", processId="p", graceMs=0)["running"] is True
        assert wire.ended().exit_code == 137
        assert wire.eof() == []
        assert node.popen.wait(5) == 0
    node.check()


def test_a_second_signal_ends_a_node_at_once(launch: Launch) -> None:
    node = launch(NodeSettings(shutdown_grace=60.0))
    with node.connect() as wire:
        wire.start(TOLD)
        wire.says(b"ready")
        pid = wire.processes()[0]["pid"]
        node.popen.terminate()
        wire.says(b"asked")
        assert alive(pid)
        assert node.end(signal.SIGINT, within=5) == 0
        assert gone(pid)
    assert "ending at once" in node.log
    node.check()


def test_a_client_that_never_reads_does_not_keep_a_node_from_ending(launch: Launch) -> None:
    node = launch(NodeSettings(shutdown_grace=0.1))
    with node.connect() as deaf:
        deaf.call("process/start", **starting(["yes"]))
        for _ in range(100):
            deaf.call("process/read", processId="p", waitMs=60_000)
        time.sleep(0.1)  # until it cannot send any more
        begin = time.monotonic()
        assert node.end() == 0
        assert time.monotonic() - begin < 8
    node.check()


def test_detached_sessions_end_with_the_node(launch: Launch) -> None:
    node = launch(NodeSettings(shutdown_grace=0.1))
    with node.connect() as wire:
        wire.start(f"{DAEMON}; exec sleep 1000")
        wire.says(b"\n")
        pids = [int(wire.seen["p"].stdout), wire.processes()[0]["pid"]]
    assert all(map(alive, pids))
    assert node.end() == 0
    assert gone(*pids)


def test_children_are_left_alone_when_told_so(launch: Launch) -> None:
    node = launch(NodeSettings(execs=ExecSettings(keep=True), shutdown_grace=0.1))
    pids: list[int] = []
    try:
        with node.connect() as wire:
            for name, tty in (("p", False), ("t", True)):
                script = "trap '' HUP; echo ready; exec sleep 1000 >/dev/null 2>&1"
                wire.start(script, name, tty=tty)
                wire.says(b"ready", name)
            pids = [each["pid"] for each in wire.processes()]
            assert node.end() == 0
        assert all(map(alive, pids))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    assert gone(*pids)


def test_the_cgroups_of_a_node_go_with_it(launch: Launch) -> None:
    node = launch()
    with node.connect() as wire:
        wire.run(["true"])
        found = node.cgroups()
        assert node.end() == 0
    for path in found:
        assert not path.exists()


# --- standard input and output -------------------------------------------------------------------


@pytest.fixture
def piped(socket_dir: Path) -> Iterator[tuple[NodeProcess, Wire]]:
    """A node on pipes, and a client at their other ends."""
    with NodeProcess(socket_dir, None, "stdio", stdio=True) as node, piped_wire(node) as wire:
        yield node, wire


def test_a_node_serves_its_standard_input(piped: tuple[NodeProcess, Wire]) -> None:
    node, wire = piped
    wire.handshake()
    assert wire.run("echo hello").stdout == b"hello\n"
    size = 3_000_000
    seen = wire.run(["head", "-c", str(size), "/dev/zero"], "long")
    assert len(seen.stdout) == size
    wire.start("cat", "cat", pipeStdin=True)
    wire.request("process/write", processId="cat", chunk=b"x" * 300_000)
    wire.request("process/closeStdin", processId="cat")
    assert len(wire.ended("cat").stdout) == 300_000
    # Others may come by the socket meanwhile.
    with node.connect() as other:
        assert other.run("echo hello").stdout == b"hello\n"


def test_a_node_ends_with_its_standard_input(piped: tuple[NodeProcess, Wire]) -> None:
    node, wire = piped
    wire.handshake()
    wire.start(f"{DAEMON}; exec sleep 1000")
    wire.says(b"\n")
    pids = [int(wire.seen["p"].stdout), wire.processes()[0]["pid"]]
    last = [wire.call("environment/status") for _ in range(500)]
    wire.socket.end_input()  # type: ignore[attr-defined]
    # What was asked before the end is answered.
    for each in last:
        assert wire.answer(each)
    wire.eof()
    assert node.popen.wait(10) == 0
    assert gone(*pids)
    node.check()


def test_a_signal_ends_a_node_on_standard_input(piped: tuple[NodeProcess, Wire]) -> None:
    node, wire = piped
    wire.handshake()
    wire.start(POLITE)
    wire.says(b"ready")
    node.popen.terminate()
    assert wire.ended().exit_code == 3
    wire.eof()
    assert node.popen.wait(10) == 0
    node.check()


def test_a_node_whose_output_nobody_reads_any_more_ends(piped: tuple[NodeProcess, Wire]) -> None:
    node, wire = piped
    wire.handshake()
    wire.start(["yes"])
    wire.says(b"y\n")
    assert node.popen.stdout is not None
    node.popen.stdout.close()
    assert node.popen.wait(10) == 0
    node.check()


_STDIO = """
import trio
from execnode.server.listeners import Address, ListenError
from execnode.server.node import NodeSettings, serve
try:
    trio.run(lambda: serve(NodeSettings(), [Address("stdio")], on_bound=lambda urls: None))
except ListenError as error:
    raise SystemExit(f"error: {error}")
"""


def test_requests_may_come_from_a_file_and_answers_go_to_one(tmp_path: Path) -> None:
    messages = [
        {"id": 1, "method": "initialize", "params": {"clientName": "file"}},
        {"method": "initialized"},
        {"id": 2, "method": "environment/status"},
    ]
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    requests.write_bytes(b"".join(frame(cbor2.dumps(message)) for message in messages))
    with answers.open("wb") as out:
        done = subprocess.Popen(
            ["sh", "-c", 'cat "$0" | exec "$1" -c "$2"', str(requests), sys.executable, _STDIO],
            cwd=ROOT,
            stdout=out,
        ).wait(30)
    assert done == 0
    data, ids = answers.read_bytes(), []
    while data:
        size = int.from_bytes(data[:4], "big")
        ids.append(cbor2.loads(data[4 : 4 + size])["id"])
        data = data[4 + size :]
    assert ids == [1, 2]


@pytest.mark.parametrize("what", ["/dev/null", "file"])
def test_standard_input_that_cannot_be_waited_for_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with open("/dev/null" if what == "/dev/null" else path, "rb") as stdin:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", _STDIO],
            cwd=ROOT,
            stdin=stdin,
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"error: stdio: standard input has to be a pipe, a socket or a terminal" in done.stderr


# --- leaks ---------------------------------------------------------------------------------------


def test_nothing_is_left_of_many_sessions_and_hundreds_of_processes(launch: Launch) -> None:
    brief = ExecSettings(limits=ExecLimits(keep_seconds=0.2))
    node = launch(NodeSettings(session_ttl=0.0, execs=brief), LOOPBACK)

    def visit(i: int) -> None:
        url = node.urls[i % 2]
        with node.connect(url, acks=bool(i % 3)) as wire:
            wire.call("process/start", **starting("echo out; echo err >&2; exit 3", "a"))
            wire.call("process/start", **starting(["/no/such"], "no"))
            wire.call("process/start", **starting("cat", "b", pipeStdin=True, timeoutMs=60_000))
            wire.call("process/start", **starting("stty size; exec cat", "t", tty=True))
            wire.call("process/write", processId="b", chunk=b"x" * 1000, writeId="w")
            wire.call("process/write", processId="b", chunk=b"x" * 100_000)
            wire.call("process/read", processId="t", waitMs=60_000)
            if i % 4:
                assert wire.ended("a").exit_code == 3
            if i % 5 == 0:
                wire.request("process/terminate", processId="b", graceMs=10)
            if i % 7 == 0:
                wire.socket.sendall(b"\xff\xff\xff\xff")
                wire.eof()

    def settle() -> None:
        with node.connect(sessionTtlMs=0) as wire:
            assert eventually(lambda: not wire.processes(everybody=True))
        assert eventually(lambda: not node.children())
        with Wire.to(node.url) as wire:
            wire.handshake(sessionTtlMs=0)

    for i in range(40):
        visit(i)
    settle()
    before, memory = node.descriptors(), node.resident()
    for i in range(150):
        visit(i)
    settle()
    assert eventually(lambda: node.holds_no_more_than(before))
    assert node.resident() - memory < 3 << 20
    assert len(node.cgroups()) <= 70
    node.check()


@pytest.mark.trio
async def test_a_connection_that_cannot_be_served_leaves_nothing_open() -> None:
    execs = ExecSettings(adopt=False, guard=False, cgroups=False)
    async with Node.open(NodeSettings(execs=execs)) as node:
        for same in (True, False):
            ends = [os.open("/dev/null", os.O_RDWR) for _ in range(2)]
            await node.connect(ends[0], ends[0 if same else 1], Peer("file"))
            assert not node.connections
            if same:
                os.close(ends[1])
            for each in ends:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(each)


@pytest.mark.trio
async def test_a_mistake_in_one_connection_does_not_end_the_node(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    execs = ExecSettings(adopt=False, guard=False, cgroups=False)
    async with Node.open(NodeSettings(execs=execs)) as node:
        monkeypatch.setattr(node.sessions, "detach", None)
        ours, theirs = socket.socketpair()
        params = {"clientName": "x"}
        ours.sendall(frame(cbor2.dumps({"id": 1, "method": "initialize", "params": params})))
        ours.shutdown(socket.SHUT_WR)
        descriptor = theirs.detach()
        await node.connect(descriptor, descriptor, Peer("test"))
        assert ours.recv(4)
        ours.close()
        assert not node.connections
    assert "test: the connection failed" in caplog.text


def test_a_node_with_few_descriptors_serves_any_number_of_commands(launch: Launch) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    node = launch(prepare=few)
    with node.connect(sessionTtlMs=0) as wire:
        for i in range(400):
            assert wire.run(["true"], f"p{i}").exit_code == 0
    node.check()


def test_an_idle_node_does_nothing(node: NodeProcess, wire: Wire) -> None:
    wire.start(["sleep", "1000"])
    before = node.processor_seconds()
    assert wire.silent(0.5)
    assert node.processor_seconds() - before < 0.1
