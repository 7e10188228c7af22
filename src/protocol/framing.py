"""Length-prefixed frames: four bytes, big-endian, then as many bytes of one message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .errors import FrameTooLargeError

__all__ = ["HEADER_BYTES", "MAX_FRAME_BYTES", "FrameDecoder", "frame"]

HEADER_BYTES: Final = 4
# What either side takes unless it was set up otherwise; the header is not counted.
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024


def frame(payload: bytes, max_frame: int = MAX_FRAME_BYTES) -> bytes:
    """Return the payload behind its length; FrameTooLargeError for over `max_frame` bytes."""
    if len(payload) > max_frame:
        raise FrameTooLargeError(len(payload), max_frame)
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class FrameDecoder:
    """Cuts a byte stream into frames.

    A frame is copied once into the buffer and once out of it, however small the pieces it comes in.
    """

    def __init__(self, max_frame: int = MAX_FRAME_BYTES) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._start = 0  # of the first frame that was not handed out

    @property
    def pending(self) -> int:
        """Bytes that wait for the rest of their frame; not 0 at the end of a stream: it was cut."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes as they came; return an iterator over the payloads that are now whole.

        The iterator raises FrameTooLargeError at a length over the limit, after the frames before
        it; nothing that follows can be read then.
        """
        self._buffer += data
        return self._frames()

    def _frames(self) -> Iterator[bytes]:
        buffer = self._buffer
        while len(buffer) - self._start >= HEADER_BYTES:
            begin = self._start + HEADER_BYTES
            size = int.from_bytes(buffer[self._start : begin], "big")
            if size > self._max_frame:
                raise FrameTooLargeError(size, self._max_frame)
            if len(buffer) - begin < size:
                break
            self._start = begin + size
            with memoryview(buffer) as view:
                payload = bytes(view[begin : self._start])
            yield payload
        # What is left came with the last feed, so moving it to the front costs no more than that.
        del buffer[: self._start]
        self._start = 0
