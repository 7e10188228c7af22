"""Ways to run a command many times, and the contenders that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench import libraries
from bench.contest import Contender, Round
from bench.load import Report
from bench.tools import Tools

Runner = Callable[[int, int, Sequence[str]], Report]
"""Runs ARGV until it is closed, COUNT times, INFLIGHT at once, and receives all that it writes."""

Runners = Mapping[str, Callable[[Tools], Runner]]
"""By name of the implementation."""


def _reference(tools: Tools) -> Runner:
    spawn = tools.references
    return lambda count, inflight, argv: spawn.run("spawn", count, inflight, *argv)


RUNNERS: Runners = {
    "c": _reference,
    "execnode": lambda tools: tools.execnode.run,
    "execnode-ws": lambda tools: tools.execnode_web.run,
    "execnode-client": lambda tools: partial(libraries.run_client, tools.node.url),
    "subprocess": lambda _: libraries.run_subprocess,
    "asyncio": lambda _: libraries.run_asyncio,
    "trio": lambda _: libraries.run_trio,
    "codex": lambda tools: tools.codex.run,
    "codex-ws": lambda tools: tools.codex_web.run,
}

# Codex handles the requests of a connection one by one unless told otherwise.
CONCURRENT: Runners = {**RUNNERS, "codex-concurrent": lambda tools: tools.codex_concurrent.run}


def _stream(stream: Callable[[Sequence[str]], Report]) -> Callable[[Tools], Runner]:
    return lambda _: lambda _count, _inflight, argv: stream(argv)


def _relay(tools: Tools) -> Runner:
    return lambda _count, _inflight, argv: tools.references.run("relay", *argv)


# One command whose output is too long to be kept.
STREAMS: Runners = {
    "c": _relay,
    "execnode": RUNNERS["execnode"],
    "execnode-ws": RUNNERS["execnode-ws"],
    "execnode-client": lambda tools: (
        lambda _count, _inflight, argv: libraries.stream_client(tools.node.url, argv)
    ),
    "subprocess": _stream(libraries.stream_subprocess),
    "asyncio": _stream(libraries.stream_asyncio),
    "trio": _stream(libraries.stream_trio),
    "codex": RUNNERS["codex"],
    "codex-ws": RUNNERS["codex-ws"],
}


def contenders(
    runners: Runners,
    *,
    command: Callable[[Tools], Sequence[str]],
    cost: Callable[[Report], float],
    count: int = 1,
    inflight: int = 1,
    size: int = 0,
    fewer: Mapping[str, int] | None = None,
) -> dict[str, Contender]:
    """Let every runner run `command` `count` times, those named in `fewer` only that often.

    `size` is how many bytes must arrive in all.
    """

    def contender(name: str, prepare: Callable[[Tools], Runner]) -> Contender:
        times = (fewer or {}).get(name, count)

        def prepared(tools: Tools) -> Round:
            run, argv = prepare(tools), command(tools)

            def once() -> float:
                report = run(times, inflight, argv)
                assert report.bytes == size
                return cost(report)

            return once

        return prepared

    return {name: contender(name, prepare) for name, prepare in runners.items()}
