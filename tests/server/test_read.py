"""process/read: what is kept, where the next read goes on, and how long one waits."""

import sys
import time
from typing import Any

import pytest

from tests.server.wire import Json, Wire


@pytest.fixture
def finished(wire: Wire) -> Wire:
    """A connection with a finished process `p` of five records of ten bytes each."""
    script = 'read line; while [ -n "$line" ]; do printf 0123456789; read line; done; exit 4'
    wire.start(script, pipeStdin=True)
    for count in range(1, 6):
        wire.request("process/write", processId="p", chunk=b"go\n")
        wire.says(b"0123456789" * count)
    wire.request("process/write", processId="p", chunk=b"\n")
    seen = wire.ended()
    assert [chunk["seq"] for chunk in seen.chunks] == [1, 2, 3, 4, 5]
    assert seen.exited is not None
    assert (seen.exited["seq"], seen.seq) == (6, 7)
    return wire


def read(wire: Wire, **params: Any) -> tuple[list[int], int]:
    result = wire.request("process/read", processId="p", **params)
    return [chunk["seq"] for chunk in result["chunks"]], result["nextSeq"]


def test_everything_that_is_kept_is_read(finished: Wire) -> None:
    result = finished.request("process/read", processId="p")
    assert result["chunks"] == [
        {"seq": i, "stream": "stdout", "chunk": b"0123456789", "offset": (i - 1) * 10}
        for i in range(1, 6)
    ]
    del result["chunks"]
    assert result == {
        "nextSeq": 8,
        "exited": True,
        "exitCode": 4,
        "closed": True,
        "failure": None,
        "sandboxDenied": False,
        "reason": "exit",
    }


@pytest.mark.parametrize(
    ("params", "chunks", "next_seq"),
    [
        ({}, [1, 2, 3, 4, 5], 8),
        ({"afterSeq": 0}, [1, 2, 3, 4, 5], 8),
        ({"afterSeq": None, "maxBytes": None, "waitMs": None}, [1, 2, 3, 4, 5], 8),
        ({"maxBytes": 0}, [1], 2),
        ({"maxBytes": 1}, [1], 2),
        ({"maxBytes": 10}, [1], 2),
        ({"maxBytes": 19}, [1], 2),
        ({"maxBytes": 20}, [1, 2], 3),
        ({"maxBytes": 25}, [1, 2], 3),
        ({"maxBytes": 1000}, [1, 2, 3, 4, 5], 6),
        ({"afterSeq": 2, "maxBytes": 1000}, [3, 4, 5], 6),
        ({"afterSeq": 4, "maxBytes": 0}, [5], 6),
        ({"afterSeq": 5, "maxBytes": 1000}, [], 8),
        ({"afterSeq": 5}, [], 8),
        ({"afterSeq": 7}, [], 8),
        ({"afterSeq": 1000}, [], 8),
        ({"afterSeq": 2**63 - 1, "maxBytes": 2**63 - 1, "waitMs": 2**63 - 1}, [], 8),
    ],
    ids=str,
)
def test_a_read_gives_whole_records_and_where_to_go_on(
    finished: Wire, params: Json, chunks: list[int], next_seq: int
) -> None:
    assert read(finished, **params) == (chunks, next_seq)


def test_reading_does_not_consume(finished: Wire) -> None:
    first = finished.request("process/read", processId="p")
    assert finished.request("process/read", processId="p") == first


@pytest.mark.parametrize(
    "params",
    [
        {"afterSeq": -1},
        {"afterSeq": 2**63},
        {"afterSeq": 1.0},
        {"afterSeq": "1"},
        {"maxBytes": -1},
        {"maxBytes": True},
        {"waitMs": -1},
        {"waitMs": 2**63},
        {"processId": None},
    ],
    ids=str,
)
def test_numbers_that_are_none_are_refused(wire: Wire, params: Json) -> None:
    assert wire.refused("process/read", **{"processId": "p", **params}).code == -32602


def test_an_unknown_process_cannot_be_read(wire: Wire) -> None:
    error = wire.refused("process/read", processId="nobody", waitMs=1000)
    assert (error.code, error.message) == (-32600, "unknown process id nobody")


def test_a_read_waits_for_output_then_for_the_exit_and_no_longer(wire: Wire) -> None:
    wire.start("read x; echo $x; read y; exec 1>&- 2>&-; exit 4", pipeStdin=True)
    result = wire.request("process/read", processId="p")
    assert (result["chunks"], result["nextSeq"], result["exited"]) == ([], 1, False)
    assert result["exitCode"] is None
    waiting = wire.call("process/read", processId="p", waitMs=60_000)
    wire.request("process/write", processId="p", chunk=b"a\n")
    result = wire.answer(waiting)
    assert [chunk["chunk"] for chunk in result["chunks"]] == [b"a\n"]
    assert (result["nextSeq"], result["exited"], result["closed"]) == (2, False, False)
    waiting = wire.call("process/read", processId="p", afterSeq=1, waitMs=60_000)
    wire.request("process/write", processId="p", chunk=b"b\n")
    result = wire.answer(waiting)
    assert (result["chunks"], result["exited"], result["exitCode"]) == ([], True, 4)
    # Closed: whatever it has seen, nobody waits any more.
    wire.ended()
    assert read(wire, afterSeq=1, waitMs=60_000) == ([], 4)
    assert read(wire, afterSeq=3, waitMs=60_000) == ([], 4)


def test_the_exit_ends_a_wait_only_for_those_who_do_not_know_of_it(wire: Wire) -> None:
    wire.start("exec 3<&0; (read x; echo $x; read y) <&3 & exec true", pipeStdin=True)
    wire.until(lambda: "p" in wire.seen and wire.seen["p"].exited)
    result = wire.request("process/read", processId="p", waitMs=60_000)
    assert (result["exited"], result["closed"], result["nextSeq"]) == (True, False, 2)
    waiting = wire.call("process/read", processId="p", afterSeq=1, waitMs=60_000)
    assert wire.request("environment/status")  # the wait holds nothing up
    assert waiting not in wire.answers
    wire.request("process/write", processId="p", chunk=b"late\n")
    result = wire.answer(waiting)
    assert [chunk["chunk"] for chunk in result["chunks"]] == [b"late\n"]
    assert (result["exited"], result["exitCode"], result["closed"]) == (True, 0, False)
    wire.request("process/write", processId="p", chunk=b"end\n")
    assert wire.ended().stdout == b"late\n"


def test_a_read_comes_back_with_nothing_when_its_time_is_over(wire: Wire) -> None:
    wire.start(["sleep", "1000"])
    begin = time.monotonic()
    assert read(wire, waitMs=80) == ([], 1)
    assert time.monotonic() - begin > 0.075
    assert read(wire, waitMs=0) == ([], 1)


def test_many_may_wait_at_once_each_for_its_own(wire: Wire) -> None:
    names = [f"p{i}" for i in range(20)]
    for name in names:
        wire.start("read x; echo $x", name, pipeStdin=True)
    waits = {
        (name, i): wire.call("process/read", processId=name, waitMs=60_000)
        for name in names
        for i in range(5)
    }
    for name in reversed(names):
        wire.request("process/write", processId=name, chunk=name.encode() + b"\n")
    for (name, _), request_id in waits.items():
        chunks = wire.answer(request_id)["chunks"]
        assert [chunk["chunk"] for chunk in chunks] == [name.encode() + b"\n"]


def test_an_answer_is_bounded_and_says_where_to_go_on(wire: Wire) -> None:
    retention = {"mode": "block", "maxBytes": 16 << 20}
    seen = wire.run(["head", "-c", "9000000", "/dev/zero"], retention=retention)
    assert len(seen.stdout) == 9_000_000
    count, answers, after = 0, 0, 0
    while True:
        result = wire.request("process/read", processId="p", afterSeq=after)
        count += sum(len(chunk["chunk"]) for chunk in result["chunks"])
        answers += 1
        if result["nextSeq"] == after + 1:
            break
        after = result["nextSeq"] - 1
    assert count == 9_000_000
    assert answers == 4


def test_an_answer_has_no_more_chunks_than_a_message_may_have_values(wire: Wire) -> None:
    # Two streams in turn and slowly: few bytes are read together.
    script = """
import os
for i in range(35000):
    os.write(1 + i % 2, b"x")
    for j in range(1000): pass
"""
    seen = wire.run([sys.executable, "-S", "-c", script], retention={"mode": "block"})
    read, after = 0, 0
    while True:
        result = wire.request("process/read", processId="p", afterSeq=after)
        assert len(result["chunks"]) <= 16_384
        read += len(result["chunks"])
        if result["nextSeq"] == after + 1:
            break
        after = result["nextSeq"] - 1
    assert read == len(seen.chunks)
