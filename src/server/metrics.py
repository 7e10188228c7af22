"""What a node tells Prometheus: read from its state when it is asked, at no cost in between.

https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from execnode import __version__

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from execnode.server.node import Node

__all__ = ["render"]


def render(node: Node, accept: str = "") -> tuple[str, bytes]:
    """Return the content type and the text of all metrics of a node and its process.

    accept: the header of that name, which may ask for the OpenMetrics format. A registry is made
    for the one answer, so several nodes in a process do not meet in it.
    """
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.process_collector import ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    registry.register(_NodeCollector(node))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


class _NodeCollector:
    """A custom collector, as prometheus_client calls it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Give every metric with its value of this moment."""
        from prometheus_client.core import InfoMetricFamily

        yield InfoMetricFamily("execnode_build", "This build.", {"version": __version__})
        yield from self._clients()
        yield from self._processes()
        yield from self._output()

    def _clients(self) -> Iterator[Metric]:
        node = self._node
        attached = sum(session.connection is not None for session in node.sessions)
        yield _gauge(
            "execnode_sessions",
            "Sessions, by whether a client is connected to them.",
            _by({"attached": attached, "detached": len(node.sessions) - attached}),
            "state",
        )
        yield _gauge(
            "execnode_connections",
            "Open connections, those that have not shown who they are included.",
            {(): len(node.connections)},
        )
        yield _gauge(
            "execnode_http_streams",
            "HTTP requests whose bodies are being passed on.",
            {(): sum(len(connection.http_streams) for connection in node.connections)},
        )
        yield _counter(
            "execnode_requests",
            "Answers given, by method and outcome (ok, or the code of the error). "
            "Writes that the engine has answered by itself are not among them.",
            node.requests,
            "method",
            "outcome",
        )

    def _processes(self) -> Iterator[Metric]:
        execs, requests = self._node.execs, self._node.requests
        kept = list(execs.all())
        running = sum(not process.has_exited for process in kept)
        yield _gauge(
            "execnode_processes",
            "Processes: running, or finished and still kept.",
            _by({"running": running, "finished": len(kept) - running}),
            "state",
        )
        starts = {
            outcome: count
            for (method, outcome), count in requests.items()
            if method == "process/start"
        }
        started = starts.pop("ok", 0)
        yield _counter("execnode_process_starts", "Processes started.", {(): started})
        yield _counter(
            "execnode_process_start_failures",
            "Starts that failed or were refused, by the code of the error.",
            _by(starts),
            "code",
        )
        yield _counter(
            "execnode_process_endings",
            "Processes that have ended and said their last, by reason.",
            _by(execs.endings),
            "reason",
        )

    def _output(self) -> Iterator[Metric]:
        execs = self._node.execs
        engine, settings = execs.engine, execs.settings
        yield _counter(
            "execnode_output_bytes",
            "Bytes of output of all processes, by stream.",
            _by(execs.output_bytes()),
            "stream",
        )
        yield _gauge(
            "execnode_log_bytes",
            "Bytes that the logs of output take, by where they are.",
            _by({"memory": engine.memory_used, "disk": engine.spill_used}),
            "place",
        )
        yield _gauge(
            "execnode_log_limit_bytes",
            "Bytes that the logs of output may take, by where they are.",
            _by({"memory": settings.memory, "disk": settings.spill}),
            "place",
        )


def _gauge(name: str, about: str, values: Mapping[tuple[str, ...], int], *labels: str) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, about: str, values: Mapping[tuple[str, ...], int], *labels: str) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _by(values: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    """Return values of a single label in the form of those with several."""
    return {(key,): value for key, value in values.items()}
