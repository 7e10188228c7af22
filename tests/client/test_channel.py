"""Events reach their reader in order and once, or their loss is told."""

import anyio
import pytest

from execnode.client.channel import Channel, Gap, Output
from execnode.client.errors import IntegrityError, ProtocolError
from execnode.protocol.processes import (
    ClosedNotification,
    ExitedNotification,
    GapNotification,
    OutputNotification,
    StreamTotal,
)


def output(seq: int, data: bytes, offset: int | None, stream: str = "stdout") -> OutputNotification:
    return OutputNotification("p", seq, stream, data, offset)  # type: ignore[arg-type]


def channel(limit: int | None = None) -> Channel:
    return Channel("p", "p: true", limit)


def taken(events: Channel) -> list[Output | Gap]:
    items = []
    while (item := events.take()) is not None:
        items.append(item)
    return items


def test_an_event_is_taken_once() -> None:
    events = channel()
    for seq in (1, 1, 2, 1, 2):
        events.deliver(output(seq, b"x", seq - 1))
    assert [item.data for item in taken(events) if isinstance(item, Output)] == [b"x", b"x"]
    assert events.failure is None


def test_a_missing_event_is_an_error_behind_what_came_before() -> None:
    events = channel()
    events.deliver(output(1, b"x", 0))
    events.deliver(output(3, b"z", 2))
    assert len(taken(events)) == 1
    assert isinstance(events.failure, ProtocolError)


def test_missing_bytes_are_an_error() -> None:
    events = channel()
    events.deliver(output(1, b"abc", 0))
    events.deliver(output(2, b"e", 4))
    assert isinstance(events.failure, IntegrityError)
    assert "stdout went on at byte 4, not at byte 3" in str(events.failure)


def test_streams_count_their_bytes_apart_and_gaps_count() -> None:
    events = channel()
    events.deliver(output(1, b"abc", 0))
    events.deliver(output(2, b"12", 0, "stderr"))
    events.deliver(GapNotification("p", 3, 5, {"stdout": 10}))
    events.deliver(output(6, b"d", 13))
    events.deliver(ExitedNotification("p", 7, 137, False, "signal", "SIGKILL"))
    totals = {"stdout": StreamTotal(14, "crc32c:00000000"), "stderr": StreamTotal(2)}
    events.deliver(ClosedNotification("p", 8, totals))
    assert events.failure is None
    assert events.closed
    assert events.exit is not None
    assert events.exit[:3] == (137, "signal", "SIGKILL")
    assert taken(events)[2] == Gap(3, 5, {"stdout": 10})


def test_a_node_that_counts_other_bytes_is_not_believed() -> None:
    events = channel()
    events.deliver(output(1, b"abc", 0))
    events.deliver(ClosedNotification("p", 2, {"stdout": StreamTotal(4)}))
    assert not events.closed
    assert isinstance(events.failure, IntegrityError)


def test_a_suspended_channel_takes_nothing() -> None:
    events = channel()
    events.deliver(output(1, b"a", 0))
    events.suspend()
    events.deliver(output(2, b"b", 1))
    events.deliver(output(9, b"z", 100))
    assert events.next_seq == 2
    events.resume()
    events.deliver(output(2, b"b", 1))
    assert events.next_seq == 3
    assert events.failure is None


def test_offsets_may_be_absent() -> None:
    events = channel()
    events.deliver(output(1, b"abc", None))
    events.deliver(output(2, b"d", None))
    assert [item.offset for item in taken(events) if isinstance(item, Output)] == [0, 3]


def test_a_limited_channel_drops_the_oldest_and_says_how_much() -> None:
    events = channel(limit=10)
    for i in range(10):
        events.deliver(output(i + 1, b"xyz", 3 * i))
        assert sum(len(i.data) for i in events.queue if isinstance(i, Output)) <= 10
    items = taken(events)
    assert items[0] == Gap(1, 7, {"stdout": 21})
    assert [item.offset for item in items[1:] if isinstance(item, Output)] == [21, 24, 27]
    events.deliver(output(11, b"xyz", 30))
    assert len(taken(events)) == 1


def test_gaps_next_to_dropped_output_become_one() -> None:
    events = channel(limit=2)
    events.deliver(output(1, b"a", 0))
    events.deliver(GapNotification("p", 2, 3, {"stdout": 5, "stderr": 1}))
    events.deliver(output(4, b"bc", 6))
    assert taken(events) == [Gap(1, 3, {"stdout": 6, "stderr": 1}), Output("stdout", b"bc", 6, 4)]


@pytest.mark.anyio
async def test_only_one_task_may_wait() -> None:
    events = channel()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(events.wait)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await events.wait()
        events.deliver(output(1, b"x", 0))
