import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execnode.protocol.errors import FrameTooLargeError
from execnode.protocol.framing import FrameDecoder, frame


def test_a_frame_is_its_length_and_its_payload() -> None:
    assert frame(b"abc") == b"\0\0\0\3abc"
    assert frame(b"") == b"\0\0\0\0"


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(1, 30), min_size=1))
def test_payloads_survive_any_cutting_of_the_stream(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, payloads))
    decoder = FrameDecoder()
    received: list[bytes] = []
    turn = 0
    while stream:
        size = cuts[turn % len(cuts)]
        received += decoder.feed(stream[:size])
        stream = stream[size:]
        turn += 1
    assert received == payloads
    assert decoder.pending == 0


def test_pending_tells_of_half_a_frame() -> None:
    decoder = FrameDecoder()
    assert list(decoder.feed(frame(b"abc") + b"\0\0")) == [b"abc"]
    assert decoder.pending == 2
    assert list(decoder.feed(b"\0\2x")) == []
    assert decoder.pending == 5
    assert list(decoder.feed(b"y")) == [b"xy"]
    assert decoder.pending == 0


def test_frames_before_one_that_is_too_large_are_still_handed_out() -> None:
    decoder = FrameDecoder(max_frame=3)
    frames = decoder.feed(frame(b"abc") + b"\0\0\0\4abcd")
    assert next(frames) == b"abc"
    with pytest.raises(FrameTooLargeError, match="frame of 4 bytes is larger than the limit of 3"):
        next(frames)


def test_a_length_over_the_limit_is_refused_before_the_payload_comes() -> None:
    decoder = FrameDecoder()
    with pytest.raises(FrameTooLargeError):
        list(decoder.feed(b"\xff\xff\xff\xff"))


def test_too_large_a_payload_is_not_sent() -> None:
    assert frame(b"abc", max_frame=3)
    with pytest.raises(FrameTooLargeError):
        frame(b"abcd", max_frame=3)


def test_frames_may_be_taken_later() -> None:
    decoder = FrameDecoder()
    first = decoder.feed(frame(b"a") + frame(b"b"))
    assert next(first) == b"a"
    assert list(decoder.feed(frame(b"c"))) == [b"b", b"c"]
    assert list(first) == []


def test_a_large_frame_in_small_pieces_is_copied_once() -> None:
    payload = bytes(8 << 20)
    stream = frame(payload)
    decoder = FrameDecoder()
    tracemalloc.start()
    try:
        received = [
            whole
            for start in range(0, len(stream), 4096)
            for whole in decoder.feed(stream[start : start + 4096])
        ]
        assert received == [payload]
        assert decoder.pending == 0
        # One buffer that grows by an eighth when it has to, and the payload.
        assert tracemalloc.get_traced_memory()[1] < 3 * len(payload)
    finally:
        tracemalloc.stop()
