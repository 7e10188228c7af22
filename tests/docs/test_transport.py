"""docs/transport.md says what the code does."""

import re
import socket
from dataclasses import fields
from typing import get_args

import msgspec
import pytest

from execnode.environment.local.start import ExecLimits
from execnode.protocol import capabilities, config, errors, http, messages, methods
from execnode.protocol.framing import FrameDecoder, frame
from execnode.protocol.messages import EndReason
from execnode.server.node import NodeSettings
from execnode.server.router import ROUTES
from tests.docs.markdown import ROOT, Table, blocks, tables
from tests.docs.spelling import members

DOCUMENT = ROOT / "docs" / "transport.md"
TABLES = list(tables(DOCUMENT))

# What is documented under a method's name: its parameters and its result.
METHODS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    methods.INITIALIZE: (messages.InitializeParams, messages.InitializeResponse),
    methods.ENVIRONMENT_INFO: (messages.NoParams, messages.EnvironmentInfo),
    methods.ENVIRONMENT_STATUS: (messages.NoParams, messages.EnvironmentStatusResponse),
    methods.PROCESS_START: (messages.StartParams, messages.StartResponse),
    methods.PROCESS_READ: (messages.ReadParams, messages.ReadResponse),
    methods.PROCESS_WRITE: (messages.WriteParams, messages.WriteResponse),
    methods.PROCESS_SIGNAL: (messages.SignalParams, messages.EmptyResponse),
    methods.PROCESS_TERMINATE: (messages.TerminateParams, messages.TerminateResponse),
    methods.PROCESS_RESIZE: (messages.ResizeParams, messages.EmptyResponse),
    methods.PROCESS_CLOSE_STDIN: (messages.CloseStdinParams, messages.EmptyResponse),
    methods.PROCESS_ATTACH: (messages.AttachParams, messages.AttachResponse),
    methods.PROCESS_LIST: (messages.ListParams, messages.ListResponse),
    methods.HTTP_REQUEST: (http.HttpRequestParams, http.HttpResponse),
    methods.ENVIRONMENT_CONFIG_READ: (config.ConfigReadParams, config.ConfigReadResponse),
    methods.CAPABILITY_ROOTS_DISCOVER_V1: (
        capabilities.DiscoverRootsParams,
        capabilities.DiscoverRootsResponse,
    ),
    methods.CAPABILITIES_DISCOVER_V2: (capabilities.DiscoverParams, capabilities.DiscoverResponse),
}
NOTIFICATIONS: dict[str, type[msgspec.Struct]] = {
    methods.PROCESS_ACK: messages.AckNotification,
    methods.PROCESS_OUTPUT: messages.OutputNotification,
    methods.PROCESS_EXITED: messages.ExitedNotification,
    methods.PROCESS_CLOSED: messages.ClosedNotification,
    methods.PROCESS_GAP: messages.GapNotification,
    methods.HTTP_BODY_DELTA: http.HttpBodyDeltaNotification,
}
TYPES: dict[str, type[msgspec.Struct]] = {
    "EnvironmentInfo": messages.EnvironmentInfo,
    "Shell": messages.Shell,
    "EnvironmentPolicy": messages.EnvironmentPolicy,
    "StartMetadata": messages.StartMetadata,
    "ShellSnapshot": messages.ShellSnapshot,
    "Retention": messages.Retention,
    "TerminalSize": messages.TerminalSize,
    "Limits of a process": messages.Limits,
    "OutputChunk": messages.OutputChunk,
    "Gap": messages.Gap,
    "ProcessSummary": messages.ProcessSummary,
    "StreamTotal": messages.StreamTotal,
    "ErrorBody": messages.ErrorBody,
    "HttpRequestHeader": http.HttpRequestHeader,
    "HttpHeader": http.HttpHeader,
    "ConfigLayers": config.ConfigLayers,
    "ConfigLayer": config.ConfigLayer,
    "CapabilityRoot": capabilities.CapabilityRoot,
    "DiscoveredRoot": capabilities.DiscoveredRoot,
    "Plugin": capabilities.Plugin,
    "Skill": capabilities.Skill,
    "CapabilityFile": capabilities.CapabilityFile,
}
ENVELOPES = {messages.Request, messages.Notification, messages.Answer, messages.ErrorAnswer}


def table(heading: str, kind: str) -> Table:
    found = [each for each in TABLES if each.heading == heading and each.columns[0] == kind]
    assert len(found) == 1, f"{len(found)} tables of {kind}s under {heading}"
    return found[0]


def documented(heading: str, kind: str) -> list[tuple[str, str]]:
    return [(name, spelled) for name, spelled, *_ in table(heading, kind).rows]


@pytest.mark.parametrize("method", METHODS)
def test_the_members_of_a_method_are_those_of_its_messages(method: str) -> None:
    params, result = METHODS[method]
    assert ROUTES[method].params is params
    if members(params):
        assert documented(method, "param") == members(params)
    if members(result) and result is not messages.EnvironmentInfo:
        assert documented(method, "result") == members(result)


@pytest.mark.parametrize("name", NOTIFICATIONS)
def test_the_members_of_a_notification_are_those_of_its_message(name: str) -> None:
    assert documented(name, "param") == members(NOTIFICATIONS[name])


@pytest.mark.parametrize("name", TYPES)
def test_the_members_of_a_type_are_those_of_its_struct(name: str) -> None:
    assert documented(name, "member") == members(TYPES[name])


def test_every_method_and_every_message_is_documented() -> None:
    assert set(METHODS) == {method for method in ROUTES if not method.startswith("fs/")}
    names = {value for name, value in vars(methods).items() if name.isupper() and "/" in value}
    names = {name for name in names if not name.startswith("fs/")}  # docs/files.md has these
    assert names <= {*METHODS, *NOTIFICATIONS}
    known = {struct for pair in METHODS.values() for struct in pair}
    modules = (messages, http, config, capabilities)
    named = [getattr(module, name) for module in modules for name in module.__all__]
    public = {each for each in named if isinstance(each, type) and issubclass(each, msgspec.Struct)}
    assert public == known | {*NOTIFICATIONS.values(), *TYPES.values()} | ENVELOPES


def test_every_error_code_is_documented() -> None:
    codes = {value for name, value in vars(errors).items() if name in errors.__all__}
    assert {row[0] for row in table("Messages and errors", "code").rows} == {
        str(value) for value in codes if isinstance(value, int)
    }


def test_every_end_reason_is_documented() -> None:
    names = ", ".join(row[0] for row in table("EndReason", "reason").rows).split(", ")
    assert set(names) == set(get_args(EndReason))


def test_the_capabilities_are_those_of_the_node() -> None:
    [row] = [row for row in table("EnvironmentInfo", "member").rows if row[0] == "capabilities?"]
    assert tuple(row[2].partition("all true: ")[2].split()) == methods.CAPABILITIES


def amount(text: str) -> float:
    """The first number of a cell: bytes, seconds or a plain count."""
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "days": 86400}
    match = re.search(r"([\d,]+)(?: (\w+))?", text)
    assert match is not None
    return int(match[1].replace(",", "")) * units.get(match[2], 1)


def test_the_limits_are_those_of_the_node() -> None:
    rows = {row[2]: row[1] for row in table("Limits", "what").rows}
    node, execs = NodeSettings(), ExecLimits()
    assert amount(rows["--max-frame"]) == node.max_frame
    assert amount(rows["--max-sessions"]) == node.max_sessions
    assert amount(rows["--max-connections"]) == node.max_connections
    assert amount(rows["--max-processes"]) == execs.processes
    assert amount(rows["--max-retention"]) == execs.max_retention
    assert amount(rows["--memory"]) == node.execs.memory
    assert amount(rows["--spill"]) == node.execs.spill
    kept, _, seconds = rows["--keep-finished"].partition(" and ")
    assert (amount(kept), amount(seconds)) == (execs.kept, execs.keep_seconds)
    default, _, most = rows["--session-ttl, --max-session-ttl"].partition(";")
    assert (amount(default), amount(most)) == (node.session_ttl, node.max_session_ttl)
    assert {field.name for field in fields(ExecLimits)} == {
        *("retention", "max_retention", "process_memory", "processes", "kept", "keep_seconds")
    }


def test_the_cost_of_a_record_is_the_documented_one() -> None:
    assert f"Count {messages.RECORD_COST} bytes for each notification" in DOCUMENT.read_text()


def test_the_bytes_of_the_conversation_make_a_node_answer_with_the_shown_ones(
    node_url: str,
) -> None:
    sent, expected = (bytes.fromhex(bare(block.text)) for block in blocks(DOCUMENT, "hex"))
    frames = FrameDecoder()
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(node_url.removeprefix("unix://"))
        link.sendall(sent)
        received: list[bytes] = []
        while len(received) < 3:  # the answers to 1 and 2, then the output
            received += [frame(payload) for payload in frames.feed(link.recv(65536))]
    assert received[2] == expected


def bare(text: str) -> str:
    return "".join(line.partition("#")[0] for line in text.splitlines())
