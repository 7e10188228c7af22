"""Output of any length in bounded memory: its beginning, its end, the exact size of the middle."""

from typing import NamedTuple

__all__ = ["Excerpt", "HeadTail"]

_CONTINUATION = range(0x80, 0xC0)


class Excerpt(NamedTuple):
    """Some output: `head`, then `omitted_bytes` that were left out, then `tail`.

    Where nothing was left out, all of it is in `head`. `omitted_lines`: newlines among what was
    left out; None when that is not known, since it never came here.
    """

    head: bytes
    tail: bytes
    omitted_bytes: int
    omitted_lines: int | None


class HeadTail:
    """Takes bytes as they come and gives each at most once, in order.

    limit: bytes that are kept until the next `take`, half of them for the beginning.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._omitted = 0
        self._lines: int | None = 0

    def __len__(self) -> int:
        """Bytes since the last `take`, kept or not."""
        return len(self._head) + self._omitted + len(self._tail)

    def append(self, data: bytes) -> None:
        """Take the next bytes."""
        if not self._omitted and not self._tail:
            room = self._limit // 2 - len(self._head)
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        excess = len(self._tail) - (self._limit - self._limit // 2)
        if excess > 0:
            self._omit(self._tail[:excess])
            del self._tail[:excess]

    def skip(self, count: int) -> None:
        """Take it that `count` bytes come next that are not to be had."""
        if count:
            self._omit(self._tail)
            self._tail.clear()
            self._omitted += count
            self._lines = None

    def discard(self) -> None:
        """Keep nothing from now on, and count what was kept as left out."""
        self._limit = 0
        self._omit(self._head + self._tail)
        self._head.clear()
        self._tail.clear()

    def take(self, budget: int, *, final: bool) -> Excerpt:
        """What came since the last call, of which at most `budget` bytes.

        Neither part is cut inside a UTF-8 character. Unless it is the final call, a character at
        the very end that has not come whole is kept for the next.
        """
        held = b"" if final else self._hold_back()
        excerpt = self._excerpt(budget)
        self._head.clear()
        self._tail.clear()
        self._omitted = 0
        self._lines = 0
        self.append(held)
        return excerpt

    def _hold_back(self) -> bytes:
        last = self._tail if self._tail or self._omitted else self._head
        whole = len(last) - _unfinished(last)
        held = bytes(last[whole:])
        del last[whole:]
        return held

    def _excerpt(self, budget: int) -> Excerpt:
        head, tail = self._head, self._tail
        if not self._omitted and len(head) + len(tail) <= budget:
            return Excerpt(bytes(head + tail), b"", 0, 0)
        first = min(len(head), max(budget // 2, budget - len(tail)))
        last = min(len(tail), budget - first)
        first -= _unfinished(head[:first])
        last -= _continued(tail[len(tail) - last :])
        self._omit(head[first:])
        self._omit(tail[: len(tail) - last])
        return Excerpt(
            bytes(head[:first]), bytes(tail[len(tail) - last :]), self._omitted, self._lines
        )

    def _omit(self, data: bytearray) -> None:
        self._omitted += len(data)
        if self._lines is not None:
            self._lines += data.count(b"\n")


def _unfinished(data: bytearray) -> int:
    """Bytes at the end that begin a UTF-8 character whose rest is missing (RFC 3629)."""
    for count in range(1, min(3, len(data)) + 1):
        byte = data[-count]
        if byte not in _CONTINUATION:
            size = 2 if 0xC2 <= byte < 0xE0 else 3 if 0xE0 <= byte < 0xF0 else 4
            return count if 0xC2 <= byte < 0xF5 and count < size else 0
    return 0


def _continued(data: bytearray) -> int:
    """Bytes at the beginning that end a UTF-8 character whose beginning is missing."""
    count = 0
    while count < min(3, len(data)) and data[count] in _CONTINUATION:
        count += 1
    return count
