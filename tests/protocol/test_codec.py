"""One suite for both codecs: whatever a message says in CBOR, it says in JSON."""

import base64
import json
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime

import cbor2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execnode.protocol import messages as m
from execnode.protocol import processes as p
from execnode.protocol.codec import MAX_DEPTH, MAX_VALUES, CborCodec, Codec, JsonCodec
from execnode.protocol.errors import INVALID_PARAMS, MalformedMessageError, RpcError
from execnode.protocol.files import WriteBlockParams, WriteFileParams
from execnode.protocol.sandbox import Disabled, SandboxContext
from execnode.protocol.text import OsMap, OsText, OsTexts

CBOR = CborCodec()
JSON = JsonCodec()

both = pytest.mark.parametrize("codec", [CBOR, JSON], ids=lambda codec: codec.name)

START = p.StartParams(
    process_id="p1",
    argv=OsTexts(["/bin/bash", "-lc", "écho ☃"]),
    cwd="file:///work",
    env=OsMap({"PATH": "/bin", "NAME": "välue"}),
    tty=True,
    arg0=OsText("sh"),
    env_policy=p.EnvironmentPolicy(
        inherit="core",
        ignore_default_excludes=True,
        exclude=OsTexts(["A*"]),
        set=OsMap({"B": "1"}),
        include_only=OsTexts(),
    ),
    sandbox=SandboxContext(Disabled(), "disabled", "file:///work"),
    metadata=p.StartMetadata(thread_id="t"),
    shell_snapshot=p.ShellSnapshot("scope", m.Shell("bash", "/bin/bash")),
    retention=p.Retention("drop-oldest", 4096),
    size=p.TerminalSize(24, 80),
    limits=p.Limits({"nofile": 64, "core": [0, 2**63 - 1]}),
    timeout_ms=1000,
    grace_ms=0,
    digest="sha256",
)

# (message, type of its params or result)
EXAMPLES: list[tuple[m.Message, type[msgspec.Struct]]] = [
    (
        m.Request(1, "initialize", m.InitializeParams("me", "s", auth_token="t", acks=True)),
        m.InitializeParams,
    ),
    (
        m.Answer(
            1,
            m.InitializeResponse(
                "s",
                m.EnvironmentInfo(
                    m.Shell("sh", "/bin/sh"), None, "1.0", capabilities={"processGap": True}
                ),
            ),
        ),
        m.InitializeResponse,
    ),
    (m.Request("text id", "process/start", START), p.StartParams),
    (m.Answer(-(2**63), p.StartResponse("p1", "none", 7, "r")), p.StartResponse),
    (m.Request("", "process/read", p.ReadParams("p", 1, 2, 3)), p.ReadParams),
    (
        m.Answer(
            2**63 - 1,
            p.ReadResponse(
                [p.OutputChunk(1, "stdout", b"\xff\x00", 0), p.OutputChunk(2, "stderr", b"x")],
                next_seq=3,
                exited=True,
                exit_code=-1,
                closed=False,
                failure=None,
                sandbox_denied=False,
                gap=p.Gap(1, 2, {"stdout": 9}),
                reason="lost",
            ),
        ),
        p.ReadResponse,
    ),
    (m.Request(3, "process/write", p.WriteParams("p", b"\x00\xff", "w")), p.WriteParams),
    (m.Answer(3, p.WriteResponse("accepted")), p.WriteResponse),
    (m.Request(4, "process/signal", p.SignalParams("p", "TERM")), p.SignalParams),
    (m.Answer(4, m.EmptyResponse()), m.EmptyResponse),
    (m.Request(5, "process/terminate", p.TerminateParams("p", 5, True)), p.TerminateParams),
    (m.Answer(5, p.TerminateResponse(True, "cgroup")), p.TerminateResponse),
    (m.Request(6, "process/resize", p.ResizeParams("p", p.TerminalSize(1, 1))), p.ResizeParams),
    (
        m.Request(7, "process/attach", p.AttachParams("p", 3, skip_to="end", ref="r")),
        p.AttachParams,
    ),
    (
        m.Answer(7, p.AttachResponse(4, False, None, False, True, pid=9, ref="r")),
        p.AttachResponse,
    ),
    (m.Request(8, "process/list", p.ListParams(all_sessions=True)), p.ListParams),
    (
        m.Answer(
            8,
            p.ListResponse(
                [
                    p.ProcessSummary(
                        process_id=None,
                        ref="r",
                        pid=9,
                        argv=OsTexts(["a"]),
                        cwd="file:///",
                        tty=False,
                        started_at_ms=1,
                        exited=True,
                        exit_code=137,
                        closed=True,
                        reason="killed",
                        client_name="c",
                        attached=False,
                        stream_bytes={"stdout": 1},
                    )
                ]
            ),
        ),
        p.ListResponse,
    ),
    (m.Notification("process/ack", p.AckNotification("p", 4)), p.AckNotification),
    (
        m.Notification("process/output", p.OutputNotification("p", 1, "pty", b"\x80", 0)),
        p.OutputNotification,
    ),
    (
        m.Notification(
            "process/exited", p.ExitedNotification("p", 2, 137, False, "signal", "SIGKILL")
        ),
        p.ExitedNotification,
    ),
    (
        m.Notification(
            "process/closed",
            p.ClosedNotification("p", 3, {"stdout": p.StreamTotal(1, "crc32c:00000000")}),
        ),
        p.ClosedNotification,
    ),
    (
        m.Notification("process/gap", p.GapNotification("p", 1, 2, {"stderr": 1})),
        p.GapNotification,
    ),
]


def body_of(message: m.Message) -> object:
    assert not isinstance(message, m.ErrorAnswer)
    return message.result if isinstance(message, m.Answer) else message.params


def read_body(codec: Codec, message: m.Message, type_: type[msgspec.Struct]) -> msgspec.Struct:
    return codec.decode_params(type_, body_of(message))


def refused(codec: Codec, data: bytes) -> str:
    with pytest.raises(MalformedMessageError) as caught:
        codec.decode(data)
    return caught.value.remark


def params_refused(codec: Codec, type_: type[msgspec.Struct], raw: object) -> RpcError:
    with pytest.raises(RpcError) as caught:
        codec.decode_params(type_, raw)
    assert caught.value.code == INVALID_PARAMS
    return caught.value


# --- the same message through both ----------------------------------------------------------------


@both
@pytest.mark.parametrize(("message", "type_"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_a_message_comes_back_as_it_was(
    codec: Codec, message: m.Message, type_: type[msgspec.Struct]
) -> None:
    again = codec.decode(codec.encode(message))
    body = read_body(codec, again, type_)
    assert body == body_of(message)
    field = "result" if isinstance(message, m.Answer) else "params"
    assert msgspec.structs.replace(again, **{field: body}) == message


@both
def test_an_error_answer_comes_back_with_its_data(codec: Codec) -> None:
    body = m.ErrorBody(-32603, "x", {"stage": "execve", "errno": 2, "name": "ENOENT"})
    message = m.ErrorAnswer("a", body)
    assert codec.decode(codec.encode(message)) == message
    error = RpcError.from_body(body)
    assert error.to_answer("a") == message


def test_names_on_the_wire_are_those_of_the_dialect() -> None:
    plain = cbor2.loads(CBOR.encode(m.Request(1, "process/start", START)))
    assert plain["params"] == {
        "processId": "p1",
        "argv": ["/bin/bash", "-lc", "écho ☃"],
        "cwd": "file:///work",
        "env": {"PATH": "/bin", "NAME": "välue"},
        "tty": True,
        "arg0": "sh",
        "envPolicy": {
            "inherit": "core",
            "ignoreDefaultExcludes": True,
            "exclude": ["A*"],
            "set": {"B": "1"},
            "includeOnly": [],
        },
        "sandbox": {
            "permissions": {"type": "disabled"},
            "windowsSandboxLevel": "disabled",
            "cwd": "file:///work",
        },
        "metadata": {"threadId": "t"},
        "shellSnapshot": {"scopeId": "scope", "shell": {"name": "bash", "path": "/bin/bash"}},
        "retention": {"mode": "drop-oldest", "maxBytes": 4096},
        "size": {"rows": 24, "cols": 80},
        "limits": {"rlimits": {"nofile": 64, "core": [0, 2**63 - 1]}},
        "timeoutMs": 1000,
        "graceMs": 0,
        "digest": "sha256",
    }
    assert json.loads(JSON.encode(m.Request(1, "process/start", START))) == plain


def test_bytes_are_base64_in_json_and_byte_strings_in_cbor() -> None:
    message = m.Notification("process/output", p.OutputNotification("p", 1, "stdout", b"\xff\xfe"))
    assert cbor2.loads(CBOR.encode(message))["params"]["chunk"] == b"\xff\xfe"
    assert json.loads(JSON.encode(message))["params"]["chunk"] == "//4="


def test_a_result_says_what_it_does_not_have_where_the_dialect_does() -> None:
    read = p.ReadResponse([], 1, False, None, False, None, False)
    assert json.loads(JSON.encode(m.Answer(1, read))) == {
        "id": 1,
        "result": {
            "chunks": [],
            "nextSeq": 1,
            "exited": False,
            "exitCode": None,
            "closed": False,
            "failure": None,
            "sandboxDenied": False,
        },
    }
    assert json.loads(JSON.encode(m.Answer(1, m.EmptyResponse()))) == {"id": 1, "result": {}}
    assert json.loads(JSON.encode(m.Answer(1, None))) == {"id": 1, "result": None}
    assert json.loads(JSON.encode(m.Notification("initialized"))) == {"method": "initialized"}


def test_an_environment_says_what_it_knows_even_when_that_is_nothing() -> None:
    info = m.EnvironmentInfo(m.Shell("sh", "/bin/sh"), cwd=None, temporary_directories=[])
    assert json.loads(JSON.encode(m.Answer(1, info)))["result"] == {
        "shell": {"name": "sh", "path": "/bin/sh"},
        "cwd": None,
        "temporaryDirectories": [],
    }
    bare = {"shell": {"name": "sh", "path": "/bin/sh"}}
    assert JSON.decode_result(m.EnvironmentInfo, bare).executor_version == "0.0.0"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ids = texts | st.integers(-(2**63), 2**63 - 1)
starts = st.builds(
    p.StartParams,
    process_id=texts,
    argv=st.lists(texts, min_size=1, max_size=4).map(OsTexts),
    cwd=texts,
    env=st.dictionaries(texts, texts, max_size=4).map(OsMap),
    tty=st.booleans(),
    arg0=st.none() | texts.map(OsText),
    timeout_ms=st.none() | st.integers(0, 2**63 - 1),
)
chunks = st.builds(
    p.OutputNotification,
    process_id=texts,
    seq=st.integers(0, 2**63 - 1),
    stream=st.sampled_from(["stdout", "stderr", "pty"]),
    chunk=st.binary(max_size=64),
    offset=st.none() | st.integers(0, 2**63 - 1),
)


@both
@given(request_id=ids, method=texts, params=starts | chunks)
def test_any_values_come_back(
    codec: Codec, request_id: m.RequestId, method: str, params: msgspec.Struct
) -> None:
    again = codec.decode(codec.encode(m.Request(request_id, method, params)))
    assert isinstance(again, m.Request)
    assert (again.id, again.method) == (request_id, method)
    assert codec.decode_params(type(params), again.params) == params


# --- text of the operating system -----------------------------------------------------------------


def test_text_that_is_not_utf8_is_a_byte_string_in_cbor() -> None:
    odd = p.StartParams("p", OsTexts([b"\xff", b"a"]), "/", OsMap({b"N\xff": b"\xfe"}), False)
    data = CBOR.encode(m.Request(1, "process/start", odd))
    plain = cbor2.loads(data)["params"]
    assert plain["argv"] == [b"\xff", "a"]
    assert plain["env"] == {b"N\xff": b"\xfe"}
    assert read_body(CBOR, CBOR.decode(data), p.StartParams) == odd


def test_json_says_that_it_cannot_carry_it() -> None:
    odd = p.StartParams("p", OsTexts([b"\xff"]), "/", OsMap(), False)
    with pytest.raises(ValueError, match="JSON cannot carry text that is not UTF-8"):
        JSON.encode(m.Request(1, "process/start", odd))


def test_a_byte_string_for_plain_text_is_the_same_text() -> None:
    params = {"processId": "p", "argv": [b"ls"], "cwd": "/", "env": {b"A": "1"}, "tty": False}
    start = CBOR.decode_params(p.StartParams, params)
    assert start.argv == OsTexts(["ls"])
    assert start.env == OsMap({"A": "1"})


def test_a_name_in_both_forms_is_given_twice() -> None:
    params = {"processId": "p", "argv": ["a"], "cwd": "/", "env": {b"A": "1", "A": "2"}, "tty": 0}
    assert "both" in params_refused(CBOR, p.StartParams, params).message


def test_what_is_decoded_is_plain_bytes() -> None:
    start = read_body(CBOR, CBOR.decode(CBOR.encode(m.Request(1, "x", START))), p.StartParams)
    assert isinstance(start, p.StartParams)
    values = [*start.argv, *start.env.keys(), *start.env.values()]
    assert start.arg0 is not None
    assert {type(value) for value in [*values, start.arg0.value]} == {bytes}


@both
def test_a_chunk_that_is_text_in_cbor_or_bad_base64_in_json_is_refused(codec: Codec) -> None:
    texts = ["YQ", "YQ=", "Y\nQ==", "YQ==!", "-_-_", "é"] if codec is JSON else ["YQ==", ""]
    for text in texts:
        error = params_refused(codec, p.WriteParams, {"processId": "p", "chunk": text})
        assert error.data == {"at": "chunk"}


# --- envelopes ------------------------------------------------------------------------------------


def json_dumps(value: object) -> bytes:
    return json.dumps(value).encode()


encoders: dict[str, Callable[[object], bytes]] = {"cbor": cbor2.dumps, "json": json_dumps}


@both
def test_shapes_of_the_envelope(codec: Codec) -> None:
    dumps = encoders[codec.name]
    shapes: list[tuple[dict[str, object], m.Message]] = [
        ({"id": 1, "method": "a"}, m.Request(1, "a")),
        ({"id": "", "method": "a", "params": None, "zzz": 1}, m.Request("", "a")),
        ({"jsonrpc": "2.0", "id": 1, "method": "a", "result": 1}, m.Request(1, "a")),
        ({"id": 1, "method": "a", "error": 1, "params": [1]}, m.Request(1, "a", [1])),
        ({"method": "a", "params": {}}, m.Notification("a", {})),
        ({"method": "a", "result": 5}, m.Notification("a")),
        ({"id": 1, "result": None}, m.Answer(1, None)),
        (
            {"id": -1, "error": {"code": -1, "message": "x", "zzz": 2}},
            m.ErrorAnswer(-1, m.ErrorBody(-1, "x")),
        ),
    ]
    for plain, message in shapes:
        assert codec.decode(dumps(plain)) == message


@both
@pytest.mark.parametrize(
    "plain",
    [
        [],
        [{"id": 1, "method": "a"}],
        None,
        1,
        "text",
        {},
        {"id": 4},
        {"result": 1},
        {"error": {"code": 1, "message": ""}},
        {"id": 4, "method": 7},
        {"id": 4, "method": None},
        {"method": []},
        {"id": None, "method": "a"},
        {"id": 1.5, "method": "a"},
        {"id": 1.0, "method": "a"},
        {"id": True, "method": "a"},
        {"id": [], "method": "a"},
        {"id": {}, "result": 1},
        {"id": 2**63, "method": "a"},
        {"id": -(2**63) - 1, "method": "a"},
        {"id": 1, "error": None},
        {"id": 1, "error": {"code": "x", "message": ""}},
        {"id": 1, "error": {"code": 1}},
    ],
    ids=str,
)
def test_what_is_no_message_is_malformed(codec: Codec, plain: object) -> None:
    assert refused(codec, encoders[codec.name](plain))


@both
def test_nesting_has_a_limit(codec: Codec) -> None:
    dumps = encoders[codec.name]

    def nested(levels: int) -> bytes:
        value: object = 0
        for _ in range(levels - 1):
            value = [value]
        return dumps({"method": "a", "params": value})

    assert isinstance(codec.decode(nested(MAX_DEPTH)), m.Notification)
    assert refused(codec, nested(MAX_DEPTH + 1))
    assert refused(codec, nested(900))


@both
def test_the_number_of_values_has_a_limit(codec: Codec) -> None:
    dumps = encoders[codec.name]
    # Names of members are no values in JSON, and are items in CBOR: stay clear of the difference.
    assert isinstance(
        codec.decode(dumps({"method": "", "params": [0] * (MAX_VALUES - 9)})), m.Notification
    )
    items: list[object] = [0, [], {}, "", [0], {"a": [{}]}]
    for item in items:
        assert "values" in refused(codec, dumps({"method": "", "params": [item] * MAX_VALUES}))


@both
def test_a_large_chunk_is_no_large_number_of_values(codec: Codec) -> None:
    chunk = bytes(range(256)) * 4096
    message = m.Request(1, "process/write", p.WriteParams("[,{" * 100_000, chunk))
    write = read_body(codec, codec.decode(codec.encode(message)), p.WriteParams)
    assert write == message.params


# --- hostile CBOR ---------------------------------------------------------------------------------


def with_params(item: bytes) -> bytes:
    """A notification whose params are these bytes of CBOR."""
    return b"\xa2" + cbor2.dumps("method") + cbor2.dumps("a") + cbor2.dumps("params") + item


def tag(number: int, content: bytes) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(number, 0))[:-1] + content


HOSTILE_CBOR = {
    "empty": b"",
    "half a head": b"\xa2\x66",
    "deep arrays": with_params(b"\x81" * 1_000_000 + b"\0"),
    "deep maps": with_params(b"\xa1\x60" * 200_000 + b"\0"),
    "deep tags": with_params(b"\xc1" * 1_000_000 + b"\0"),
    "huge array": with_params(b"\x9b" + b"\xff" * 8),
    "large array": with_params(b"\x9a\x7f\xff\xff\xff\0"),
    "huge map": with_params(b"\xbb\x7f" + b"\xff" * 7),
    "huge bytes": with_params(b"\x5b\x00\x00\x00\x7f\xff\xff\xff\xff"),
    "huge text": with_params(b"\x7b" + b"\xff" * 8),
    "date": with_params(cbor2.dumps(datetime(2020, 1, 1, tzinfo=UTC))),
    "big number": with_params(cbor2.dumps(2**64)),
    "big negative number": with_params(tag(3, b"\x5a\x00\x10\x00\x00" + b"\xff" * (1 << 20))),
    "decimal": with_params(tag(4, b"\x82\x1b" + b"\x7f" * 8 + b"\1")),
    "bigfloat": with_params(tag(5, b"\x82\x1b" + b"\x7f" * 8 + b"\1")),
    "embedded": with_params(tag(24, b"\x41\0")),
    "string reference": with_params(tag(256, b"\x82\x63aaa" + tag(25, b"\0"))),
    "shared": with_params(tag(28, b"\x81" + tag(29, b"\0"))),
    "rational": with_params(tag(30, b"\x82\1\0")),
    "pattern": with_params(tag(35, b"\x66(a+)+$")),
    "mail": with_params(tag(36, b"\x60")),
    "uuid": with_params(tag(37, b"\x50" + b"\0" * 16)),
    "set": with_params(tag(258, b"\x82\1\2")),
    "address": with_params(tag(260, b"\x44\0\0\0\0")),
    "unknown tag": with_params(tag(2**64 - 1, b"\0")),
    "self-described": tag(55799, with_params(b"\0")),
    "tagged key": with_params(b"\xa1" + tag(1, b"\0") + b"\0"),
    "indefinite array": with_params(b"\x9f\0\xff"),
    "indefinite map": with_params(b"\xbf\xff"),
    "indefinite text": with_params(b"\x7f\x61a\xff"),
    "indefinite bytes": with_params(b"\x5f\x41a\xff"),
    "break": with_params(b"\xff"),
    "repeated member": with_params(b"\xa2\x61a\0\x61a\1"),
    "repeated member in two lengths": with_params(b"\xa2\x61a\0\x78\1a\1"),
    "repeated method": b"\xa2\x66method\x61a\x66method\x61b",
    "number as key": with_params(b"\xa1\0\0"),
    "NaN as keys": with_params(b"\xa2\xf9\x7e\0\0\xf9\x7e\0\0"),
    "array as key": with_params(b"\xa1\x81\0\0"),
    "map as key": with_params(b"\xa1\xa0\0"),
    "trailing byte": with_params(b"\0") + b"\0",
    "two messages": with_params(b"\0") * 2,
    "trailing megabyte": with_params(b"\0") + b"\0" * (1 << 20),
    "not UTF-8": with_params(b"\x61\xff"),
    "surrogate": with_params(b"\x63\xed\xa0\x80"),
    "overlong": with_params(b"\x62\xc0\x80"),
    "not UTF-8 as key": with_params(b"\xa1\x61\xff\0"),
    "reserved": with_params(b"\x1c"),
    "bad simple value": with_params(b"\xf8\x10"),
    "cut": with_params(b"\x82\0"),
}


@pytest.mark.parametrize("data", HOSTILE_CBOR.values(), ids=HOSTILE_CBOR)
def test_hostile_cbor_is_malformed_at_little_cost(data: bytes) -> None:
    tracemalloc.start()
    began = time.perf_counter()
    try:
        assert refused(CBOR, data)
        assert time.perf_counter() - began < 5
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_a_frame_full_of_empty_arrays_is_refused_before_they_are_made() -> None:
    data = with_params(b"\x9a\x00\xff\x00\x00" + b"\x80" * 0xFF0000)
    tracemalloc.start()
    try:
        assert "values" in refused(CBOR, data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_simple_values_and_large_numbers_fit_no_member() -> None:
    for odd in (
        b"\xf7",
        b"\xe5",
        b"\xf8\x20",
        b"\x1b" + b"\xff" * 8,
        b"\xf9\x7e\x00",
        b"\x3b" + b"\xff" * 8,
    ):
        request = CBOR.decode(with_params(b"\xa2\x69processId\x60\x68afterSeq" + odd))
        params_refused(CBOR, p.ReadParams, body_of(request))


@given(st.binary(max_size=64))
def test_any_bytes_as_cbor_are_a_message_or_malformed(data: bytes) -> None:
    for candidate in (data, with_params(data)):
        try:
            message = CBOR.decode(candidate)
            read_body(CBOR, message, p.StartParams)
        except (MalformedMessageError, RpcError):
            pass


@both
@given(st.randoms(use_true_random=False), st.integers(1, 4))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_message_is_a_message_or_malformed(
    codec: Codec, chance: random.Random, times: int
) -> None:
    message, type_ = chance.choice(EXAMPLES)
    data = bytearray(codec.encode(message))
    for _ in range(times):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        again = codec.decode(bytes(data))
        if not isinstance(again, m.ErrorAnswer):
            read_body(codec, again, type_)
    except (MalformedMessageError, RpcError):
        pass


@both
@pytest.mark.parametrize(("message", "type_"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_a_cut_message_is_malformed(
    codec: Codec, message: m.Message, type_: type[msgspec.Struct]
) -> None:
    data = codec.encode(message)
    for end in range(len(data)):
        refused(codec, data[:end])


# --- hostile JSON ---------------------------------------------------------------------------------

HOSTILE_JSON = {
    "no JSON": b"not json",
    "blank": b" ",
    "trailing text": b'{"id":6,"method":"a"} trailing',
    "two messages": b'{"method":"a"}{"method":"a"}',
    "repeated member": b'{"id":4,"id":5,"method":"a"}',
    "repeated member below": b'{"method":"a","params":[{"b":{"x":1,"y":2,"x":1}}]}',
    "repeated member in escapes": rb'{"method":"a","params":{"a":1,"\u0061":1}}',
    "not UTF-8": b'{"method":"\xff"}',
    "UTF-16": '{"method":"a"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"method":"a"}',
    "lone high surrogate": rb'{"method":"a","params":["\ud83d"]}',
    "lone low surrogate": rb'{"method":"a","params":{"\uDE00":1}}',
    "surrogates in the wrong order": rb'{"method":"\ude00\ud83d"}',
    "surrogate in UTF-8": b'{"method":"\xed\xa0\x80"}',
    "NaN": b'{"method":"a","params":NaN}',
    "infinity": b'{"method":"a","params":-Infinity}',
    "control character": b'{"method":"a\n"}',
    "number of many digits": b'{"id":' + b"9" * 100_000 + b',"method":"a"}',
    "deep arrays": b'{"method":"a","params":' + b"[" * 1_000_000,
    "deep closed arrays": b'{"method":"a","params":' + b"[" * 99_999 + b"]" * 99_999 + b"}",
    "deep objects": b'{"a":' * 100_000,
    "closing brackets": b"]" * 1_000_000 + b"[" * 200,
    "quotes": b'"\\' * 1_000_000,
    "open string of brackets": b'{"method":"' + b"[" * 1_000_000,
    "escapes without end": b'["' + b"[\\\\" * 300_000,
}


@pytest.mark.parametrize("data", HOSTILE_JSON.values(), ids=HOSTILE_JSON)
def test_hostile_json_is_malformed_at_little_cost(data: bytes) -> None:
    began = time.perf_counter()
    assert refused(JSON, data)
    assert time.perf_counter() - began < 5


def test_brackets_and_commas_inside_strings_do_not_count() -> None:
    text = '[{,"' * 300_000
    data = json.dumps({"method": text, "params": [text, {text: "\\"}]}).encode()
    assert JSON.decode(data) == m.Notification(text, [text, {text: "\\"}])


def test_a_pair_of_escapes_is_one_character() -> None:
    assert JSON.decode(rb'{"method":"\ud83d\ude00"}') == m.Notification("\U0001f600")
    assert JSON.decode(rb'{"method":"\\ud83d"}') == m.Notification("\\ud83d")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=20,
)


def values_in(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(values_in, inner))


@given(params=json_values, ascii_only=st.booleans())
def test_values_are_counted_exactly(params: object, ascii_only: bool) -> None:
    message = {"method": "a", "params": params}
    data = json.dumps(message, ensure_ascii=ascii_only).encode()
    assert JSON.decode(data) == m.Notification("a", params)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("execnode.protocol.codec.MAX_VALUES", values_in(message))
        assert JSON.decode(data) == m.Notification("a", params)
        patch.setattr("execnode.protocol.codec.MAX_VALUES", values_in(message) - 1)
        assert "values" in refused(JSON, data)


# --- parameters -----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("type_", "raw", "message"),
    [
        (p.ReadParams, {}, "missing field `processId`"),
        (p.ReadParams, None, "invalid type: null, expected struct ReadParams"),
        (p.ReadParams, "x", "invalid type: string, expected struct ReadParams"),
        (p.ReadParams, {"processId": 5}, "invalid type: number, expected a string"),
        (p.ReadParams, {"processId": None}, "invalid type: null, expected a string"),
        (p.ReadParams, {"processId": "x", "afterSeq": -1}, "invalid number"),
        (p.ReadParams, {"processId": "x", "waitMs": 1.0}, "invalid number"),
        (p.ReadParams, {"processId": "x", "maxBytes": 2**63}, "invalid number"),
        (p.ReadParams, {"processId": "x", "maxBytes": 1e2}, "invalid number"),
        (p.ListParams, {"all": None}, "invalid type: null, expected a boolean"),
        (m.NoParams, {"a": 1}, None),
        (m.NoParams, [], None),
        (m.NoParams, 0, None),
        (p.TerminalSize, {"rows": 0, "cols": 1}, "invalid number"),
        (p.TerminalSize, {"rows": 65536, "cols": 1}, "invalid number"),
        (
            p.Retention,
            {"mode": "all"},
            "unknown variant `all`, expected `block` or `drop-oldest`",
        ),
        (p.Limits, {"rlimits": {"nofile": [1]}}, None),
        (p.Limits, {"rlimits": {"nofile": [1, 2, 3]}}, None),
        (p.Limits, {"rlimits": {"nofile": -1}}, "invalid number"),
        (p.WriteParams, {"processId": "x", "writeId": ""}, "missing field `chunk`"),
        (
            p.AttachParams,
            {"processId": "x", "skipTo": "start"},
            "unknown variant `start`, expected `end`",
        ),
        (m.InitializeParams, {"clientName": None}, "invalid type: null, expected a string"),
    ],
)
def test_wrong_parameters_are_answered_in_the_words_of_the_dialect(
    codec: Codec, type_: type[msgspec.Struct], raw: object, message: str | None
) -> None:
    error = params_refused(codec, type_, raw)
    if message is not None:
        assert error.message == message


MINIMAL = {"processId": "p", "argv": ["a"], "cwd": "/", "env": {}, "tty": False}
POLICY: dict[str, object] = {
    "inherit": "all",
    "ignoreDefaultExcludes": True,
    "exclude": [],
    "set": {},
    "includeOnly": [],
}


@both
def test_what_process_start_requires(codec: Codec) -> None:
    start = codec.decode_params(p.StartParams, MINIMAL)
    assert start == p.StartParams("p", OsTexts(["a"]), "/", OsMap(), False)
    for name in MINIMAL:
        rest = {key: value for key, value in MINIMAL.items() if key != name}
        assert params_refused(codec, p.StartParams, rest).message == f"missing field `{name}`"
        params_refused(codec, p.StartParams, MINIMAL | {name: None})


@both
@pytest.mark.parametrize("name", ["pipeStdin", "enforceManagedNetwork"])
def test_members_that_may_be_absent_but_not_null(codec: Codec, name: str) -> None:
    params_refused(codec, p.StartParams, MINIMAL | {name: None})


@both
@pytest.mark.parametrize(
    "name",
    ["arg0", "envPolicy", "sandbox", "metadata", "managedNetwork", "networkProxy", "shellSnapshot"],
)
def test_members_that_may_be_null(codec: Codec, name: str) -> None:
    codec.decode_params(p.StartParams, MINIMAL | {name: None})


@both
def test_all_five_members_of_an_environment_policy_are_required(codec: Codec) -> None:
    codec.decode_params(p.StartParams, MINIMAL | {"envPolicy": POLICY})
    for name in POLICY:
        rest = {key: value for key, value in POLICY.items() if key != name}
        error = params_refused(codec, p.StartParams, MINIMAL | {"envPolicy": rest})
        assert error.message == f"missing field `{name}`"
        assert error.data == {"at": "envPolicy"}
    error = params_refused(codec, p.StartParams, MINIMAL | {"envPolicy": POLICY | {"inherit": "x"}})
    assert error.message == "unknown variant `x`, expected one of `core`, `all`, `none`"
    patterns = {"exclude": ["x" * 9000], "includeOnly": ["x" * 9000]}
    params_refused(codec, p.StartParams, MINIMAL | {"envPolicy": POLICY | patterns})


@both
def test_values_of_process_start_that_break_a_rule(codec: Codec) -> None:
    def message(**changes: object) -> str:
        return params_refused(codec, p.StartParams, MINIMAL | changes).message

    assert message(argv=[]) == "argv must not be empty"
    assert message(argv="ls") == "invalid type: string, expected a sequence"
    assert message(argv=["ls", 5]) == "invalid type: number, expected a string"
    assert message(argv=[None]) == "invalid type: null, expected a string"
    assert message(env={"A": 5}) == "invalid type: number, expected a string"
    assert message(env=[]) == "invalid type: array, expected a map"
    assert message(digest="md5") == "unknown variant `md5`, expected `crc32c` or `sha256`"
    snapshot = {"scopeId": "é" * 129, "shell": {"name": "sh", "path": "/bin/sh"}}
    assert "256" in message(shellSnapshot=snapshot)


@both
def test_an_empty_write_id_is_refused_and_none_is_fine(codec: Codec) -> None:
    chunk: object = b"" if codec is CBOR else ""
    params = {"processId": "p", "chunk": chunk}
    assert codec.decode_params(p.WriteParams, params) == p.WriteParams("p", b"")
    error = params_refused(codec, p.WriteParams, params | {"writeId": ""})
    assert error.message == "writeId must not be empty"


@both
def test_parameters_may_be_absent_where_none_is_required(codec: Codec) -> None:
    assert codec.decode_params(m.NoParams, None) == m.NoParams()
    assert codec.decode_params(m.NoParams, {}) == m.NoParams()
    assert codec.decode_params(p.ListParams, None) == p.ListParams()


@both
def test_parameters_may_be_a_list_in_the_order_of_the_members(codec: Codec) -> None:
    read = codec.decode_params(p.ReadParams, ["p", 1, None, None])
    assert read == p.ReadParams("p", after_seq=1)
    assert params_refused(codec, p.ReadParams, []).message == "missing field `processId`"


@both
def test_a_bad_result_is_the_fault_of_the_node(codec: Codec) -> None:
    with pytest.raises(MalformedMessageError, match="not a StartResponse"):
        codec.decode_result(p.StartResponse, {"processId": 5})


def test_recorded_messages_of_the_dialect_decode() -> None:
    # As a Codex client sends them, and as its server answers.
    start = JSON.decode(
        b'{"id": 2, "method": "process/start", "params": {"processId": "t", "argv": ["/bin/sh"],'
        b' "cwd": "file:///work-dir", "env": {"PATH": "/bin"}, "tty": true, "pipeStdin": false,'
        b' "arg0": null}}'
    )
    assert read_body(JSON, start, p.StartParams) == p.StartParams(
        "t", OsTexts(["/bin/sh"]), "file:///work-dir", OsMap({"PATH": "/bin"}), True
    )
    exited = JSON.decode(
        b'{"method": "process/exited", "params": {"processId": "p", "seq": 2, "exitCode": 137,'
        b' "sandboxDenied": false}}'
    )
    assert read_body(JSON, exited, p.ExitedNotification) == p.ExitedNotification("p", 2, 137, False)
    chunk = base64.b64encode(struct.pack(">H", 0xFFFE)).decode()
    output = JSON.decode(
        json.dumps(
            {
                "method": "process/output",
                "params": {"processId": "p", "seq": 1, "stream": "pty", "chunk": chunk},
            }
        ).encode()
    )
    assert read_body(JSON, output, p.OutputNotification) == p.OutputNotification(
        "p", 1, "pty", b"\xff\xfe"
    )


@given(
    codec=st.sampled_from([CBOR, JSON]),
    data=st.binary(max_size=70_000),
    request_id=st.integers(-5, 99),
)
def test_bytes_that_are_sent_apart_belong_where_the_message_has_none(
    codec: Codec, data: bytes, request_id: int
) -> None:
    before, after = codec.around(
        m.Request(request_id, "process/write", p.WriteParams('quote"d', b"")), len(data)
    )
    apart = base64.b64encode(data) if codec.name == "json" else data
    message = codec.decode(before + apart + after)
    assert isinstance(message, m.Request)
    assert message.id == request_id
    assert codec.decode_params(p.WriteParams, message.params) == p.WriteParams('quote"d', data)


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("%%", "Invalid symbol 37, offset 0."),
        ("YQ=a", "Invalid symbol 61, offset 2."),
        ("YQ", "Invalid padding"),
        ("YQ==\n", "Invalid symbol 61, offset 2."),
        ("_-8=", "Invalid symbol 95, offset 0."),
    ],
)
def test_base64_that_is_none_has_an_answer_of_its_own_where_the_dialect_has_one(
    text: str, remark: str
) -> None:
    params = {"path": "file:///x", "dataBase64": text}
    for raw in (params, [*params.values()]):
        with pytest.raises(RpcError) as caught:
            JSON.decode_params(WriteFileParams, raw)
        assert (caught.value.code, caught.value.message) == (
            -32600,
            f"fs/writeFile requires valid base64 dataBase64: {remark}",
        )
    chunk = {"handleId": "h", "offset": 0, "chunk": text}
    params_refused(JSON, WriteBlockParams, chunk)
