"""The frames, and what a hostile wrapper may put into them."""

import struct
from contextlib import suppress
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execnode.escalation import protocol
from execnode.escalation.protocol import ExecRequest, ProtocolError

TEXT = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"\1"))


def request(*strings: bytes, argc: int = 1, envc: int = 0, umask: int = 0o22) -> bytes:
    return struct.pack(">III", argc, envc, umask) + b"".join(each + b"\0" for each in strings)


def test_a_request_is_read_as_it_was_meant() -> None:
    payload = request(b"/w", b"/f", b"a0", b"", b"V=1", b"odd", argc=2, envc=2, umask=0o7777)
    expected = ExecRequest(b"/f", (b"a0", b""), b"/w", (b"V=1", b"odd"), 0o777)
    assert protocol.parse_request(payload) == expected


@pytest.mark.parametrize(
    ("workdir", "file", "absolute"),
    [
        (b"/w", b"f", b"/w/f"),
        (b"/", b"f", b"/f"),
        (b"/w", b"../f", b"/w/../f"),
        (b"/w", b"/f", b"/f"),
        (b"", b"f", b"f"),
    ],
)
def test_a_file_is_looked_for_from_the_folder(workdir: bytes, file: bytes, absolute: bytes) -> None:
    assert protocol.parse_request(request(workdir, file, b"a")).file == absolute


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0" * 11,
        struct.pack(">III", 0, 0, 0),
        request(b"/w", b"/f", argc=0),
        request(b"/w", b"/f", b"a", argc=2),
        request(b"/w", b"/f", b"a", b"b"),
        request(b"/w", b"/f", b"a", argc=2**32 - 1, envc=2**32 - 1),
        request(b"/w", b"/f", *[b""] * (1 << 20), argc=1 << 20),
        request(b"/w", b"", b"a"),
        request(b"w", b"/f", b"a"),
        request(b"/w", b"/f", b"a")[:-1],
    ],
)
def test_what_is_no_request_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse_request(payload)


@given(st.binary(max_size=200))
def test_nothing_else_is_raised_for_any_bytes(payload: bytes) -> None:
    with suppress(ProtocolError):
        assert protocol.parse_request(payload).argv


@given(st.lists(TEXT, min_size=1), st.lists(TEXT))
def test_any_arguments_and_environment_come_through(argv: list[bytes], env: list[bytes]) -> None:
    payload = request(b"/w", b"/f", *argv, *env, argc=len(argv), envc=len(env))
    parsed = protocol.parse_request(payload)
    assert (parsed.argv, parsed.env) == (tuple(argv), tuple(env))


def test_memory_counts_what_strings_take_beside_their_bytes() -> None:
    short = ExecRequest(b"/f", (b"ab",) * 1000, b"/w", (b"V=1",) * 1000, 0)
    assert short.memory > 1000 * (getsizeof(b"ab") + getsizeof(b"V=1"))
    assert ExecRequest(b"/f", (b"a" * 9000,), b"/w", (), 0).memory > getsizeof(b"a" * 9000)


def test_lengths_are_bounded() -> None:
    most = protocol.REQUEST_MAX
    assert protocol.parse_head(b"Q" + most.to_bytes(4, "big")) == (b"Q", most)
    for kind, length in ((b"Q", most + 1), (b"S", 65), (b"F", 1 << 31), (b"?", 65)):
        with pytest.raises(ProtocolError):
            protocol.parse_head(kind + length.to_bytes(4, "big"))


def test_descriptors_are_those_asked_for() -> None:
    assert protocol.open_ones(b"\1\0\1", (0, 1, 7), 2) == (0, 7)
    for payload, attached in ((b"\1\1\1", 2), (b"\1\1", 2), (b"\0\0\0", 1), (b"\1\1\1\1", 4)):
        with pytest.raises(ProtocolError):
            protocol.open_ones(payload, (0, 1, 7), attached)


def test_a_reason_is_cut_to_what_the_wrapper_reads() -> None:
    frame = protocol.deny_frame("é" * 10_000 + "\udcff")
    assert int.from_bytes(frame[1:5], "big") == len(frame) - 5 <= 4096
