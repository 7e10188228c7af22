"""Head and tail of output: the arithmetic, for output of any shape."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from execnode.unified.window import Excerpt, HeadTail

LETTERS = "a\nß€😀"
TEXT = st.text(LETTERS, max_size=60)
# A number stands for so many bytes that did not come.
PIECES = st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 50)), max_size=20)
SIZES = st.integers(0, 80)


def fed(limit: int, pieces: list[bytes | int]) -> HeadTail:
    window = HeadTail(limit)
    for piece in pieces:
        if isinstance(piece, int):
            window.skip(piece)
        else:
            window.append(piece)
    return window


def cut(data: bytes, places: list[int]) -> list[bytes | int]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(PIECES, SIZES, SIZES)
def test_every_byte_is_told_or_counted(pieces: list[bytes | int], limit: int, budget: int) -> None:
    window = fed(limit, pieces)
    total = sum(piece if isinstance(piece, int) else len(piece) for piece in pieces)
    assert len(window) == total
    told = window.take(budget, final=True)
    assert len(told.head) + told.omitted_bytes + len(told.tail) == total
    assert len(told.head) + len(told.tail) <= budget
    assert window.take(budget, final=True) == Excerpt(b"", b"", 0, 0)


@given(PIECES, SIZES, SIZES)
def test_what_is_told_stands_at_both_ends(
    pieces: list[bytes | int], limit: int, budget: int
) -> None:
    told = fed(limit, pieces).take(budget, final=True)
    gaps = [n for n, piece in enumerate(pieces) if isinstance(piece, int) and piece]
    before = pieces[: gaps[0]] if gaps else pieces
    after = pieces[gaps[-1] + 1 :] if gaps else pieces
    assert b"".join(p for p in before if isinstance(p, bytes)).startswith(told.head)
    assert b"".join(p for p in after if isinstance(p, bytes)).endswith(told.tail)


@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=5), SIZES, SIZES)
def test_lines_are_counted_and_what_fits_is_whole(
    data: bytes, places: list[int], limit: int, budget: int
) -> None:
    told = fed(limit, cut(data, places)).take(budget, final=True)
    assert told.omitted_lines is not None
    assert told.head.count(b"\n") + told.omitted_lines + told.tail.count(b"\n") == data.count(b"\n")
    if len(data) <= min(limit, budget):
        assert told == Excerpt(data, b"", 0, 0)


@given(TEXT, st.lists(st.integers(0, 300), max_size=5), SIZES, SIZES)
def test_no_character_is_cut(text: str, places: list[int], limit: int, budget: int) -> None:
    told = fed(limit, cut(text.encode(), places)).take(budget, final=True)
    assert text.startswith(told.head.decode())
    assert text.endswith(told.tail.decode())
    # Each end of a cut loses at most the rest of a character.
    if told.omitted_bytes:
        assert len(told.head) + len(told.tail) > min(limit, budget, len(text.encode())) - 7


@given(TEXT, st.lists(st.integers(0, 300), max_size=5))
def test_a_character_that_comes_in_two_answers_is_told_whole(text: str, places: list[int]) -> None:
    window = HeadTail(1000)
    parts = []
    for piece in cut(text.encode(), places):
        assert isinstance(piece, bytes)
        window.append(piece)
        parts.append(window.take(1000, final=False).head.decode())
    assert "".join(parts) == text
    assert len(window) == 0


def test_half_a_character_at_the_end_is_told_at_the_end() -> None:
    window = fed(100, [b"a\xe2\x82"])
    assert window.take(100, final=False) == Excerpt(b"a", b"", 0, 0)
    assert window.take(100, final=True) == Excerpt(b"\xe2\x82", b"", 0, 0)


def test_half_a_character_before_a_gap_does_not_wait_for_its_rest() -> None:
    window = fed(100, [b"a\xe2\x82", 5])
    assert window.take(100, final=False) == Excerpt(b"a", b"", 7, None)
    assert len(window) == 0


def test_what_is_discarded_is_counted() -> None:
    window = fed(100, [b"a\nb\n"])
    window.discard()
    window.append(b"c\n")
    assert window.take(100, final=True) == Excerpt(b"", b"", 6, 3)
