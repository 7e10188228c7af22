"""What a node tells Prometheus, after real sessions with it."""

import gc
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from execnode import __version__
from execnode.environment.local.exec import ExecSettings
from execnode.environment.local.start import ExecLimits
from execnode.server.connection import Peer
from execnode.server.metrics import render
from execnode.server.node import Node, NodeSettings
from tests.server.wire import Wire

MEMORY, SPILL = 64 << 20, 128 << 20


class Running:
    """A node in this event loop; its clients are in threads."""

    def __init__(self, node: Node, nursery: trio.Nursery) -> None:
        self.node = node
        self._nursery = nursery

    def connect(self) -> Wire:
        ours, theirs = socket.socketpair()
        descriptor = theirs.detach()
        self._nursery.start_soon(self.node.connect, descriptor, descriptor, Peer("test"))
        return Wire(ours)

    def value(self, name: str, **labels: str) -> float:
        """One sample; 0 for a counter that nothing was counted for."""
        samples = [
            sample
            for family in text_string_to_metric_families(render(self.node)[1].decode())
            for sample in family.samples
            if sample.name == name
        ]
        assert samples or labels, f"no {name}"
        return sum(sample.value for sample in samples if sample.labels == labels)

    async def until(self, expected: float, name: str, **labels: str) -> None:
        """Wait for what the node does by and by."""
        with trio.fail_after(15):
            while self.value(name, **labels) != expected:  # noqa: ASYNC110
                await trio.sleep(0.002)


@asynccontextmanager
async def running(keep_seconds: float = 80.0) -> AsyncIterator[Running]:
    execs = ExecSettings(
        limits=ExecLimits(keep_seconds=keep_seconds),
        memory=MEMORY,
        spill=SPILL,
        adopt=False,
        guard=False,
        cgroups=False,
    )
    with trio.fail_after(30):
        async with Node.open(NodeSettings(execs=execs)) as node, trio.open_nursery() as nursery:
            yield Running(node, nursery)
            nursery.cancel_scope.cancel()


async def do(story: Callable[..., object], *args: object) -> None:
    await trio.to_thread.run_sync(story, *args)


def a_day(wire: Wire) -> None:
    """Two processes that end in different ways, one that stays, and some refusals."""
    wire.handshake()
    wire.run("printf 12345; printf 123 >&2", "a")
    wire.run("kill -9 $$", "b")
    wire.start("echo up; exec sleep 1000", "c")
    wire.says(b"up", "c")
    wire.refused("process/start", processId="d")
    wire.refused("process/resize", processId="nobody", size={"rows": 1, "cols": 1})
    for number in range(3):
        wire.refused(f"made/up{number}")


@pytest.mark.trio
async def test_a_fresh_node_has_nothing_to_tell() -> None:
    async with running() as node:
        assert node.value("execnode_build_info", version=__version__) == 1
        assert node.value("execnode_sessions", state="attached") == 0
        assert node.value("execnode_connections") == 0
        assert node.value("execnode_processes", state="running") == 0
        assert node.value("execnode_process_starts_total") == 0
        assert node.value("execnode_log_limit_bytes", place="memory") == MEMORY
        assert node.value("execnode_log_limit_bytes", place="disk") == SPILL


@pytest.mark.trio
async def test_what_is_there_and_what_has_been() -> None:
    async with running() as node:
        wire = node.connect()
        await do(a_day, wire)
        assert node.value("execnode_sessions", state="attached") == 1
        assert node.value("execnode_connections") == 1
        assert node.value("execnode_http_streams") == 0
        assert node.value("execnode_processes", state="running") == 1
        assert node.value("execnode_processes", state="finished") == 2
        assert node.value("execnode_process_starts_total") == 3
        assert node.value("execnode_process_start_failures_total", code="-32602") == 1
        await node.until(1, "execnode_process_endings_total", reason="exit")
        await node.until(1, "execnode_process_endings_total", reason="signal")
        assert node.value("execnode_output_bytes_total", stream="stdout") == len("12345up\n")
        assert node.value("execnode_output_bytes_total", stream="stderr") == len("123")
        assert node.value("execnode_log_bytes", place="memory") > 0
        wire.close()
        await node.until(0, "execnode_connections")
        assert node.value("execnode_sessions", state="detached") == 1


@pytest.mark.trio
async def test_requests_by_method_and_outcome() -> None:
    async with running() as node:
        with node.connect() as wire:
            await do(a_day, wire)
        counted = {key: int(value) for key, value in node.node.requests.items()}
        assert counted == {
            ("initialize", "ok"): 1,
            ("process/start", "ok"): 3,
            ("process/start", "-32602"): 1,
            ("process/resize", "-32600"): 1,
            ("unknown", "-32601"): 3,
        }
        name = "execnode_requests_total"
        assert node.value(name, method="process/start", outcome="ok") == 3
        assert node.value(name, method="unknown", outcome="-32601") == 3


@pytest.mark.trio
async def test_requests_that_wait_are_counted_when_they_are_answered() -> None:
    async with running() as node:
        with node.connect() as wire:
            await do(wire.handshake)
            await do(lambda: wire.start("read line; echo $line", pipeStdin=True))
            request_id = wire.call("process/read", processId="p", waitMs=10_000)
            assert node.value("execnode_requests_total", method="process/read", outcome="ok") == 0
            await do(lambda: wire.request("process/write", processId="p", chunk=b"x\n"))
            await do(wire.answer, request_id)
            assert node.value("execnode_requests_total", method="process/read", outcome="ok") == 1


@pytest.mark.trio
async def test_output_of_forgotten_processes_still_counts() -> None:
    async with running(keep_seconds=0.02) as node:
        with node.connect() as wire:
            await do(lambda: (wire.handshake(), wire.run("echo 123")))
            with trio.fail_after(15):
                while list(node.node.execs.all()):  # noqa: ASYNC110
                    await trio.sleep(0.002)
        assert node.value("execnode_output_bytes_total", stream="stdout") == 4
        assert node.value("execnode_processes", state="finished") == 0


@pytest.mark.trio
async def test_the_process_itself() -> None:
    async with running() as node:
        gc.collect()
        assert node.value("process_resident_memory_bytes") > 1 << 20
        descriptors = sum(1 for _ in os.scandir("/proc/self/fd"))
        assert abs(node.value("process_open_fds") - descriptors) < 10
        assert node.value("python_gc_collections_total", generation="2") > 0


@pytest.mark.trio
async def test_several_nodes_in_a_process_do_not_meet() -> None:
    async with running() as one, running() as other:
        with one.connect() as wire:
            await do(wire.handshake)
            assert one.value("execnode_connections") == 1
            assert other.value("execnode_connections") == 0


@pytest.mark.trio
async def test_both_formats_that_there_are() -> None:
    async with running() as node:
        with node.connect() as wire:
            await do(a_day, wire)
        content_type, text = render(node.node)
        assert content_type.startswith("text/plain; version=")
        assert list(text_string_to_metric_families(text.decode()))
        content_type, text = render(node.node, "application/openmetrics-text; version=1.0.0")
        assert content_type.startswith("application/openmetrics-text")
        families = openmetrics_families(text.decode())  # type: ignore[no-untyped-call]
        names = {family.name for family in families}
        assert {"execnode_requests", "execnode_build", "execnode_output_bytes"} <= names
