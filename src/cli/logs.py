"""Printing the output that a node has kept."""

from execnode.client.channel import Gap, Output
from execnode.client.errors import ProtocolError
from execnode.client.process import Process
from execnode.protocol.processes import OutputChunk

from .failure import Failure
from .reach import Target, find, run_async
from .sinks import JsonLines, Sink, Streams

__all__ = ["logs"]

_READ_BYTES = 1 << 20
# Seconds after which a wait for output is begun anew.
_WAIT = 30.0


def logs(target: Target, ref: str, *, follow: bool, only: str | None, as_json: bool) -> int:
    """Print it, and what follows if asked, and give the exit code. Raises Failure."""
    sink = JsonLines() if as_json else Streams()

    async def show() -> int:
        async with target.connected() as node:
            info = await find(node, ref)
            try:
                process = await node.attach(info.ref, skip_to_end=True)
                await process.aclose()  # output is asked for below; none has to be sent
                reader = _Reader(process, sink, only)
                await reader.read_all(None if follow else dict(info.bytes))
            except (ConnectionError, ProtocolError) as error:
                raise Failure(f"{error}") from None
        return 0

    return run_async(show, target)


class _Reader:
    """Asks for output piece by piece, as fast as it can be written: a slow reader misses nothing.

    Counts the bytes of each stream, to see where some are missing.
    """

    def __init__(self, process: Process, sink: Sink, only: str | None) -> None:
        self._process = process
        self._sink = sink
        self._only = only
        self._seen: dict[str, int] = {}

    async def read_all(self, until: dict[str, int] | None) -> None:
        """Up to so many bytes of each stream; None: to the end."""
        after = 0
        while until is None or any(self._seen.get(name, 0) < n for name, n in until.items()):
            answer = await self._process.read(
                after_seq=after, max_bytes=_READ_BYTES, wait=0.0 if until else _WAIT
            )
            for chunk in answer.chunks:
                await self._show(chunk)
            if not answer.chunks and (answer.closed or until is not None):
                break
            after = answer.next_seq - 1
        await self._account(until or {})

    async def _show(self, chunk: OutputChunk) -> None:
        offset = self._seen.get(chunk.stream, 0) if chunk.offset is None else chunk.offset
        await self._account({chunk.stream: offset})
        self._seen[chunk.stream] = offset + len(chunk.chunk)
        if self._shows(chunk.stream):
            await self._sink.output(Output(chunk.stream, chunk.chunk, offset, chunk.seq))

    async def _account(self, reached: dict[str, int]) -> None:
        """Tell what is missing before these positions."""
        missing = {
            stream: position - self._seen.get(stream, 0)
            for stream, position in reached.items()
            if position > self._seen.get(stream, 0)
        }
        self._seen |= {stream: reached[stream] for stream in missing}
        missing = {stream: count for stream, count in missing.items() if self._shows(stream)}
        if missing:
            await self._sink.gap(Gap(0, 0, missing))

    def _shows(self, stream: str) -> bool:
        return self._only is None or (stream == "stderr") == (self._only == "stderr")
