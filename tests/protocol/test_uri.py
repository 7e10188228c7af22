import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from execnode.protocol.errors import INVALID_PARAMS, INVALID_REQUEST, RpcError
from execnode.protocol.uri import format_path_uri, parse_cwd_uri, parse_path_uri


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///a/b", b"/a/b"),
        ("file:/a/b", b"/a/b"),
        ("file:a/b", b"/a/b"),
        ("FILE:///a/b", b"/a/b"),
        ("file://localhost/a/b", b"/a/b"),
        ("file://LocalHost/a/b", b"/a/b"),
        ("  file:///a/b\n", b"/a/b"),
        ("fi\tle:///a/\nb", b"/a/b"),
        ("file:\\\\\\a\\b", b"/a/b"),
        ("file://localhost\\a/b", b"/a/b"),
        ("file:///a//b", b"/a/b"),
        ("file:////a/b", b"/a/b"),
        ("file:///a/./b", b"/a/b"),
        ("file:///a/%2e/b", b"/a/b"),
        ("file:///a/x/../b", b"/a/b"),
        ("file:///a/x/%2E%2e/b", b"/a/b"),
        ("file:///a/x/.%2e/b", b"/a/b"),
        ("file:///../../a/b", b"/a/b"),
        ("file:///a/b/", b"/a/b"),
        ("file:///a/b/.", b"/a/b"),
        ("file:///a/b/c/..", b"/a/b"),
        ("file:///a/..b", b"/a/..b"),
        ("file:///a/...", b"/a/..."),
        ("file://", b"/"),
        ("file:", b"/"),
        ("file:///", b"/"),
        ("file://localhost", b"/"),
        ("file:///sp ace", b"/sp ace"),
        ("file:///sp%20ace", b"/sp ace"),
        ("file:///\u00e9\u2603", "/\u00e9\u2603".encode()),
        ("file:///%C3%A9", "/\u00e9".encode()),
        ("file:///%FF%fe", b"/\xff\xfe"),
        ("file:///%", b"/%"),
        ("file:///%4", b"/%4"),
        ("file:///%zz%41", b"/%zzA"),
        ("file:///%2541", b"/%41"),
        ("file:///a%2Fb", b"/a/b"),
        ("file:///%3f%23", b"/?#"),
        ("file:///a/C:/b", b"/a/C:/b"),
        ("file:///CC:/b", b"/CC:/b"),
        ("file:///%00/bad/path/L2EvLi4vYg", b"/a/../b"),
        ("/a/b", b"/a/b"),
        ("/a/../b//c/", b"/a/../b//c/"),
        ("/a%20b?c#d", b"/a%20b?c#d"),
    ],
)
def test_spellings_of_a_path(text: str, path: bytes) -> None:
    assert parse_path_uri(text) == path
    assert parse_cwd_uri(text) == path


RELATIVE = "invalid URI: relative URL without a base"
QUERY = "query parameters are not allowed in path URIs"
FRAGMENT = "fragments are not allowed in path URIs"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", INVALID_PARAMS, RELATIVE),
        ("a/b", INVALID_PARAMS, RELATIVE),
        ("./a", INVALID_PARAMS, RELATIVE),
        (" /a", INVALID_PARAMS, RELATIVE),
        ("//host/a", None, None),  # a native path with two slashes
        ("http://x/f", INVALID_PARAMS, "unsupported path URI scheme `http`"),
        ("HTTP://x/f", INVALID_PARAMS, "unsupported path URI scheme `http`"),
        ("C:\\x", INVALID_PARAMS, "unsupported path URI scheme `c`"),
        ("file:///a?x=1", INVALID_PARAMS, QUERY),
        ("file:///a?", INVALID_PARAMS, QUERY),
        ("file:?", INVALID_PARAMS, QUERY),
        ("file:///a#x", INVALID_PARAMS, FRAGMENT),
        ("file:///a#?", INVALID_PARAMS, FRAGMENT),
        ("file://user@localhost/a", INVALID_PARAMS, "invalid URI: invalid host"),
        ("file://localhost:80/a", INVALID_PARAMS, "invalid URI: invalid host"),
        ("file://a b/c", INVALID_PARAMS, "invalid URI: invalid host"),
        ("file://%00/c", INVALID_PARAMS, "invalid URI: invalid host"),
        ("file:///a%00b", INVALID_PARAMS, "'file:///a%00b' is invalid on 'linux'"),
        ("file:///a\0b", INVALID_PARAMS, "'file:///a\0b' is invalid on 'linux'"),
        ("/a\0b", INVALID_PARAMS, "'/a\0b' is invalid on 'linux'"),
        ("file:///%00/bad/path/!", INVALID_PARAMS, None),
        ("file:///%00/bad/path/", INVALID_PARAMS, None),
        ("file:///%00/bad/path/YQ", INVALID_PARAMS, None),  # not absolute
        ("file:///%00/bad/path/LwAv", INVALID_PARAMS, None),  # a NUL inside
        ("file:///%00/bad/path/\u00e9", INVALID_PARAMS, None),
        ("file://other/a", INVALID_REQUEST, "'file://other/a' is invalid on 'linux'"),
        ("file://[::1]/a", INVALID_REQUEST, "'file://[::1]/a' is invalid on 'linux'"),
        ("file://127.0.0.1/a", INVALID_REQUEST, "'file://127.0.0.1/a' is invalid on 'linux'"),
        ("file:///C:/x", INVALID_REQUEST, "'file:///C:/x' is invalid on 'linux'"),
        ("file:///c|/x", INVALID_REQUEST, "'file:///c|/x' is invalid on 'linux'"),
        ("file://C:/x", INVALID_REQUEST, "'file://C:/x' is invalid on 'linux'"),
        ("file:///C:/..", INVALID_REQUEST, "'file:///C:/..' is invalid on 'linux'"),
        ("file:C:", INVALID_REQUEST, "'file:C:' is invalid on 'linux'"),
    ],
)
def test_what_is_no_path_here(text: str, code: int | None, message: str | None) -> None:
    if code is None:
        assert parse_path_uri(text) == text.encode()
        return
    with pytest.raises(RpcError) as caught:
        parse_path_uri(text)
    assert caught.value.code == code
    if message is not None:
        assert caught.value.message == message


def test_native_paths_can_be_refused_as_the_dialect_does() -> None:
    with pytest.raises(RpcError, match=re.escape(RELATIVE)) as caught:
        parse_path_uri("/work-dir", native=False)
    assert caught.value.code == INVALID_PARAMS
    with pytest.raises(RpcError, match=re.escape(RELATIVE)):
        parse_cwd_uri("/work-dir", native=False)


def test_every_error_of_a_cwd_is_one_of_parameters() -> None:
    with pytest.raises(RpcError) as caught:
        parse_cwd_uri("file://other-host/share")
    assert caught.value.code == INVALID_PARAMS
    assert caught.value.message == (
        "cwd URI `file://other-host/share` is not valid on this exec-server host: "
        "'file://other-host/share' is invalid on 'linux'"
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/", "file:///"),
        (b"/a b", "file:///a%20b"),
        (b"/\x00"[:1] + b"\x1f\x7f\x80\xff", "file:///%1F%7F%80%FF"),
        (b'/"#%<>?\\`{}', "file:///%22%23%25%3C%3E%3F%5C%60%7B%7D"),
        (b"/'()[]|^~:;=@&+$,!*", "file:///'()[]|^~:;=@&+$,!*"),
        ("/\u00e9".encode(), "file:///%C3%A9"),
        (b"/a/../b", "file:///%00/bad/path/L2EvLi4vYg"),
        (b"/C:/x", "file:///%00/bad/path/L0M6L3g"),
        (b"/a/C:/x", "file:///a/C:/x"),
    ],
)
def test_how_a_path_is_sent(path: bytes, text: str) -> None:
    assert format_path_uri(path) == text
    assert parse_path_uri(text) == path


@pytest.mark.parametrize("path", [b"", b"a", b"a/b", b"/a\0b"])
def test_only_absolute_paths_are_sent(path: bytes) -> None:
    with pytest.raises(ValueError, match="not an absolute path"):
        format_path_uri(path)


def same_file(path: bytes) -> bytes:
    """The path without doubled slashes, `.` segments and a trailing slash."""
    return b"/" + b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))


names = st.binary(min_size=1, max_size=8).map(lambda name: name.replace(b"\0", b"_"))
odd_names = st.sampled_from([b".", b"..", b"C:", b"c|", b"", b"%2e", b"%00", b"\\", b" ", b"\n"])
paths = st.lists(names | odd_names, max_size=6).map(lambda parts: b"/" + b"/".join(parts))


@given(paths)
@example(b"/./C:")
@example(b"//C:/")
@example(b"/%00/bad/path/YQ")
@example(b"/localhost")
def test_any_absolute_path_comes_back(path: bytes) -> None:
    text = format_path_uri(path)
    assert text.isascii()
    back = parse_path_uri(text, native=False)
    assert back in (path, same_file(path))
    assert parse_cwd_uri(f" {text}\n") == back


def path_or_code(text: str) -> bytes | int:
    try:
        return parse_path_uri(text)
    except RpcError as error:
        return error.code


@given(st.text(max_size=20))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    for candidate in (text, f"file:{text}", f"file://{text}", f"file:///{text}"):
        outcome = path_or_code(candidate)
        if isinstance(outcome, bytes):
            assert outcome.startswith(b"/")
            assert b"\0" not in outcome
        else:
            assert outcome in (INVALID_PARAMS, INVALID_REQUEST)
