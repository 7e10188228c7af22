"""Messages in a byte stream, however it is cut."""

import pytest

from execnode.client.framing import Framing, LengthFraming, LineFraming

MESSAGES = [b'{"a":1}', b"x" * 300, b'"two words"']


@pytest.mark.parametrize("kind", [LengthFraming, LineFraming])
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_messages_come_out_as_they_went_in(kind: type[Framing], step: int) -> None:
    sender, receiver = kind(), kind()
    stream = b"".join(map(sender.wrap, MESSAGES))
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert [message for piece in pieces for message in receiver.feed(piece)] == MESSAGES


def test_blank_lines_say_nothing() -> None:
    assert list(LineFraming().feed(b"\n \r\n{}\n\n")) == [b"{}"]
