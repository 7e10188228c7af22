import pytest

from execnode.protocol.text import OsMap, OsText, OsTexts, text_to_bytes


def test_texts_are_a_sequence_of_bytes() -> None:
    texts = OsTexts(["a", b"\xff", "é"])
    assert list(texts) == [b"a", b"\xff", "é".encode()]
    assert texts.items == tuple(texts)
    assert (len(texts), texts[0], texts[1:]) == (3, b"a", (b"\xff", "é".encode()))
    assert b"\xff" in texts
    assert texts == OsTexts([b"a", b"\xff", "é"])
    assert texts != OsTexts()
    assert hash(texts) == hash(OsTexts(texts))
    assert repr(OsTexts(["a"])) == "OsTexts([b'a'])"


def test_a_map_is_a_mapping_of_bytes() -> None:
    env = OsMap({"A": "1", "B": "é"})
    assert dict(env) == {b"A": b"1", b"B": "é".encode()} == env.entries
    assert (len(env), env[b"A"], list(env)) == (2, b"1", [b"A", b"B"])
    assert list(env.keys()) == [b"A", b"B"]
    assert list(env.values()) == [b"1", "é".encode()]
    assert dict(env.items()) == env.entries
    assert env == OsMap({b"B": "é".encode(), b"A": b"1"})
    assert env != OsMap()
    assert repr(OsMap({"A": "1"})) == "OsMap({b'A': b'1'})"
    with pytest.raises(TypeError, match="unhashable"):
        hash(env)


def test_one_text() -> None:
    assert OsText("é") == OsText("é".encode())
    assert bytes(OsText("a")) == OsText("a").value == b"a"
    assert OsText("a") != OsText("b")
    assert hash(OsText("a")) == hash(OsText(b"a"))
    assert repr(OsText("a")) == "OsText(b'a')"


def test_only_text_and_bytes_are_text() -> None:
    assert text_to_bytes("a") == text_to_bytes(b"a") == b"a"
    for value in (1, None, bytearray(b"a"), ["a"]):
        with pytest.raises(TypeError, match="Expected `str`"):
            text_to_bytes(value)


def test_text_with_a_surrogate_is_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        OsTexts(["\udcff"])
