"""The handshake: its order, what each offence leads to, and the shape of messages."""

import uuid
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execnode import __version__
from tests.server.running import NodeProcess
from tests.server.wire import Json, Wire, frame, starting

METHODS = {
    "environment/info": "environment info",
    "environment/status": "environment status",
    "process/start": "exec",
    "process/read": "exec",
    "process/write": "exec",
    "process/signal": "exec",
    "process/terminate": "exec",
    "process/resize": "exec",
    "process/closeStdin": "exec",
    "process/attach": "exec",
    "process/list": "exec",
}

# Parameters that decode, for every method.
PARAMS: dict[str, Json] = {
    "environment/info": {},
    "environment/status": {},
    "process/start": starting(["true"], env={}),
    "process/read": {"processId": "p"},
    "process/write": {"processId": "p", "chunk": b"x", "writeId": "w"},
    "process/signal": {"processId": "p", "signal": "interrupt"},
    "process/terminate": {"processId": "p"},
    "process/resize": {"processId": "p", "size": {"rows": 1, "cols": 1}},
    "process/closeStdin": {"processId": "p"},
    "process/attach": {"processId": "p"},
    "process/list": {},
}


@pytest.fixture
def raw(node: NodeProcess) -> Any:
    with Wire.to(node.url) as wire:
        yield wire


def initialize(number: object = 1) -> Json:
    params = {"clientName": "raw", "sessionTtlMs": 0}
    return {"id": number, "method": "initialize", "params": params}


def test_the_answer_to_initialize_tells_the_session_and_the_node(raw: Wire) -> None:
    result = raw.handshake(sessionTtlMs=0)
    assert set(result) == {"sessionId", "environmentInfo"}
    assert str(uuid.UUID(result["sessionId"])) == result["sessionId"]
    info = result["environmentInfo"]
    assert info["executorVersion"] == __version__
    assert info["platformOs"] == "linux"
    assert info["shell"]["path"].endswith("/" + info["shell"]["name"])
    assert info["cwd"].startswith("file:///")
    assert all(value is True for value in info["capabilities"].values())
    assert {"processAttach", "processAck", "processGap"} <= set(info["capabilities"])
    assert raw.request("environment/info") == info
    assert raw.request("environment/status") == {"status": "ready"}


def test_everything_may_be_sent_in_one_burst(raw: Wire) -> None:
    start = {"id": 2, "method": "process/start", "params": PARAMS["process/start"]}
    raw.send(initialize(), {"method": "initialized"}, start)
    assert raw.answer(1)["sessionId"]
    assert raw.answer(2)["processId"] == "p"
    assert raw.ended().exit_code == 0 or raw.seen["p"].exit_code == 127


@pytest.mark.parametrize("method", METHODS)
def test_a_request_before_initialize_or_initialized_is_refused(raw: Wire, method: str) -> None:
    error = raw.refused(method, **PARAMS[method])
    family = METHODS[method]
    assert error.code == -32600
    assert error.message == f"client must call initialize before using {family} methods"
    raw.send(initialize("first"))
    raw.answer("first")
    error = raw.refused(method, **PARAMS[method])
    assert error.code == -32600
    assert error.message == f"client must send initialized before using {family} methods"
    raw.notify("initialized")
    assert raw.request("environment/status") == {"status": "ready"}


def test_a_second_initialize_is_refused_and_the_connection_stays(raw: Wire) -> None:
    raw.handshake(sessionTtlMs=0)
    error = raw.refused("initialize", clientName="again")
    assert (error.code, error.message) == (
        -32600,
        "initialize may only be sent once per connection",
    )
    assert raw.request("environment/status")


def test_initialize_may_be_repeated_after_it_was_refused(raw: Wire) -> None:
    assert raw.refused("initialize", clientName=7).code == -32602
    unknown = raw.refused("initialize", clientName="x", resumeSessionId="none such")
    assert (unknown.code, unknown.message) == (-32600, "unknown session id none such")
    assert raw.refused("initialize", clientName="x", resumeSessionId="").code == -32600
    raw.handshake(sessionTtlMs=0, resumeSessionId=None)
    assert raw.request("environment/status")


def test_initialized_may_come_twice_and_with_any_params(raw: Wire) -> None:
    raw.handshake(sessionTtlMs=0)
    raw.send({"method": "initialized", "params": ["what", 1]}, {"method": "initialized"})
    assert raw.request("environment/status")


def test_initialized_as_a_request_is_no_method(raw: Wire) -> None:
    raw.handshake(sessionTtlMs=0)
    error = raw.refused("initialized")
    assert error.code == -32601
    assert error.message == "exec-server stub does not implement `initialized` yet"


def test_parameters_and_methods_are_looked_at_before_the_handshake(raw: Wire) -> None:
    assert raw.refused("process/read", processId=3).code == -32602
    assert raw.refused("no/such/method").code == -32601


@pytest.mark.parametrize(
    "message",
    [
        {"method": "surprise"},
        {"method": "environment/status"},
        {"method": "process/start", "params": {}},
        {"method": "initialize", "params": {"clientName": "x"}},
        {"method": "process/ack", "params": {"processId": "p", "seq": "one"}},
        {"method": "process/ack"},
        {"id": 9, "result": {}},
        {"id": 9, "result": None},
        {"id": 9, "error": {"code": 1, "message": "x"}},
    ],
    ids=str,
)
def test_what_a_client_may_not_send_ends_the_connection(raw: Wire, message: Json) -> None:
    raw.handshake(sessionTtlMs=0)
    assert raw.request("environment/status")
    raw.send(message)
    assert raw.eof() == []


@pytest.mark.parametrize("method", ["initialized", "process/ack"])
def test_a_notification_before_initialize_ends_the_connection(raw: Wire, method: str) -> None:
    raw.notify(method, processId="p", seq=1)
    assert raw.eof() == []


def test_an_ack_before_initialized_ends_the_connection(raw: Wire) -> None:
    raw.send(initialize())
    raw.answer(1)
    raw.notify("process/ack", processId="p", seq=1)
    assert raw.eof() == []


def test_acks_of_what_does_not_exist_do_nothing(wire: Wire) -> None:
    wire.notify("process/ack", processId="nobody", seq=5)
    wire.run("echo a")
    wire.notify("process/ack", processId="p", seq=2**62)
    wire.notify("process/ack", processId="p", seq=0)
    assert wire.request("environment/status")


# --- envelopes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63), "", "a", "ü", "x" * 1000])
def test_an_id_is_echoed_exactly(wire: Wire, number: object) -> None:
    wire.send({"id": number, "method": "environment/status"})
    message = wire.receive()
    assert message == {"id": number, "result": {"status": "ready"}}
    assert type(message["id"]) is type(number)


def test_an_id_that_is_used_twice_is_answered_twice(wire: Wire) -> None:
    wire.send(*[{"id": 5, "method": "environment/status"}] * 3)
    assert [wire.receive()["id"] for _ in range(3)] == [5, 5, 5]


def test_unknown_members_are_ignored(wire: Wire) -> None:
    wire.send(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "process/read",
            "params": {"processId": "nobody", "colour": "red"},
            "result": 1,
            "error": 2,
        }
    )
    message = wire.receive()
    assert message["id"] == 1
    assert message["error"]["message"] == "unknown process id nobody"


@pytest.mark.parametrize("params", [None, {}, ...], ids=["null", "empty", "absent"])
def test_a_method_without_parameters_takes_nothing_null_or_an_empty_map(
    wire: Wire, params: object
) -> None:
    request: Json = {"id": 1, "method": "environment/status"}
    if params is not ...:
        request["params"] = params
    wire.send(request)
    assert wire.answer(1) == {"status": "ready"}


@pytest.mark.parametrize("params", [1, "x", b"", [], [1], True, {"a": 1}], ids=str)
def test_a_method_without_parameters_takes_nothing_else(wire: Wire, params: object) -> None:
    wire.send({"id": 1, "method": "environment/status", "params": params})
    assert wire.receive()["error"]["code"] == -32602


@pytest.mark.parametrize("params", [None, ..., 1, "x", b"", True], ids=str)
def test_a_method_with_parameters_wants_them(wire: Wire, params: object) -> None:
    request: Json = {"id": 1, "method": "process/read"}
    if params is not ...:
        request["params"] = params
    wire.send(request)
    assert wire.receive()["error"]["code"] == -32602


MALFORMED: dict[str, object] = {
    "an array": [],
    "a batch": [{"id": 1, "method": "environment/status"}],
    "a number": 1,
    "text": "x",
    "null": None,
    "an empty map": {},
    "no method": {"id": 1, "params": {}},
    "a method that is a number": {"id": 1, "method": 5},
    "a method that is bytes": {"id": 1, "method": b"environment/status"},
    "null as id": {"id": None, "method": "environment/status"},
    "a fraction as id": {"id": 1.5, "method": "environment/status"},
    "a float as id": {"id": 1.0, "method": "environment/status"},
    "true as id": {"id": True, "method": "environment/status"},
    "bytes as id": {"id": b"1", "method": "environment/status"},
    "an id too large": {"id": 2**63, "method": "environment/status"},
    "an id too small": {"id": -(2**63) - 1, "method": "environment/status"},
    "an error that is none": {"id": 1, "error": "bad"},
    "a big number": {"id": 1, "method": "environment/status", "params": {"n": 2**70}},
    "a tag": cbor2.CBORTag(37, b"1234"),
    "a tag inside": {"id": 1, "method": "x", "params": cbor2.CBORTag(999, "t")},
    "a number as key": {"id": 1, "method": "environment/status", 3: 4},
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_message_is_answered_with_minus_one(wire: Wire, what: str) -> None:
    wire.send(MALFORMED[what])
    message = wire.receive()
    assert message["id"] == -1
    assert message["error"]["code"] == -32600
    assert message["error"]["message"].startswith("failed to parse JSON-RPC message from exec-")
    assert wire.request("environment/status") == {"status": "ready"}


BAD_BYTES = {
    "nothing": b"",
    "half an item": cbor2.dumps({"id": 1, "method": "environment/status"})[:-3],
    "bytes after the item": cbor2.dumps({"id": 1, "method": "environment/status"}) + b"\0",
    "the same key twice": b"\xa2\x61a\x01\x61a\x02",
    "an indefinite map": b"\xbf\x61a\x01\xff",
    "too deep": b"\x81" * 200 + b"\0",
    "an array of a length that is a lie": b"\x9b" + b"\x7f" * 8,
    "text that is not UTF-8": b"\xa1\x62\xff\xfe\x01",
    "a reserved head": b"\x1c",
    "a break": b"\xff",
    "JSON": b'{"id": 1, "method": "environment/status"}',
}


@pytest.mark.parametrize("what", BAD_BYTES)
def test_bytes_that_are_no_message_are_answered_with_minus_one(wire: Wire, what: str) -> None:
    wire.socket.sendall(frame(BAD_BYTES[what]))
    message = wire.receive()
    assert message["id"] == -1
    assert message["error"]["code"] == -32600
    assert wire.request("environment/status") == {"status": "ready"}


def test_too_many_values_are_refused_before_they_cost_memory(wire: Wire) -> None:
    wire.socket.sendall(frame(b"\x9a\x00\x10\x00\x00" + b"\x80" * (1 << 20)))
    assert "262144" in wire.receive()["error"]["message"]
    assert wire.request("environment/status")


# What may come back for any bytes: an answer, or the end, as for an unexpected notification.
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bodies=st.lists(
        st.binary(max_size=60)
        | st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=5) | st.booleans(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["id", "method", "params", "result", "processId", "argv", "seq"]
                    )
                    | st.text(max_size=3),
                    inner
                    | st.sampled_from([*METHODS, "initialize", "initialized", "process/ack", "p"]),
                    max_size=5,
                )
            ),
            max_leaves=10,
        ).map(cbor2.dumps),
        min_size=1,
        max_size=4,
    )
)
def test_no_bytes_harm_the_node(node: NodeProcess, bodies: list[bytes]) -> None:
    with node.connect(sessionTtlMs=0) as wire:
        wire.socket.sendall(b"".join(map(frame, bodies)))
        try:
            wire.send({"id": "last", "method": "environment/status"})
            while wire.receive().get("id") != "last":
                pass
        except (EOFError, ConnectionResetError, BrokenPipeError):
            pass
    node.check()
