"""The documents of the wire tell of every method and every message, as the code has them."""

import re
from typing import get_args

import msgspec
import pytest

from execnode.protocol import (
    capabilities,
    config,
    files,
    http,
    messages,
    methods,
    processes,
    sandbox,
)
from execnode.protocol.processes import EndReason
from execnode.server.router import ROUTES
from tests.docs.markdown import Table, tables
from tests.docs.spelling import members
from tests.locate import ROOT

# Which one documents the methods of a family, by the beginning of their names.
DOCUMENTS = {
    "initialize": "transport.md",
    "process/": "process.md",
    "fs/": "files.md",
    "http/": "http.md",
    "environment": "environment.md",
    "capabilit": "environment.md",
}
TABLES = {name: list(tables(ROOT / "docs" / name)) for name in dict.fromkeys(DOCUMENTS.values())}

# What is documented under a method's name: its parameters and its result.
METHODS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    methods.INITIALIZE: (messages.InitializeParams, messages.InitializeResponse),
    methods.ENVIRONMENT_INFO: (messages.NoParams, messages.EnvironmentInfo),
    methods.ENVIRONMENT_STATUS: (messages.NoParams, messages.EnvironmentStatusResponse),
    methods.ENVIRONMENT_CONFIG_READ: (config.ConfigReadParams, config.ConfigReadResponse),
    methods.PROCESS_START: (processes.StartParams, processes.StartResponse),
    methods.PROCESS_READ: (processes.ReadParams, processes.ReadResponse),
    methods.PROCESS_WRITE: (processes.WriteParams, processes.WriteResponse),
    methods.PROCESS_SIGNAL: (processes.SignalParams, messages.EmptyResponse),
    methods.PROCESS_TERMINATE: (processes.TerminateParams, processes.TerminateResponse),
    methods.PROCESS_RESIZE: (processes.ResizeParams, messages.EmptyResponse),
    methods.PROCESS_CLOSE_STDIN: (processes.CloseStdinParams, messages.EmptyResponse),
    methods.PROCESS_ATTACH: (processes.AttachParams, processes.AttachResponse),
    methods.PROCESS_LIST: (processes.ListParams, processes.ListResponse),
    methods.FS_READ_FILE: (files.ReadFileParams, files.ReadFileResponse),
    methods.FS_WRITE_FILE: (files.WriteFileParams, files.FileResponse),
    methods.FS_CREATE_DIRECTORY: (files.CreateDirectoryParams, files.FileResponse),
    methods.FS_GET_METADATA: (files.GetMetadataParams, files.GetMetadataResponse),
    methods.FS_CANONICALIZE: (files.CanonicalizeParams, files.CanonicalizeResponse),
    methods.FS_READ_DIRECTORY: (files.ReadDirectoryParams, files.ReadDirectoryResponse),
    methods.FS_WALK: (files.WalkParams, files.WalkResponse),
    methods.FS_REMOVE: (files.RemoveParams, files.FileResponse),
    methods.FS_COPY: (files.CopyParams, files.FileResponse),
    methods.FS_OPEN: (files.OpenParams, files.OpenResponse),
    methods.FS_OPEN_ARCHIVE: (files.OpenArchiveParams, files.OpenResponse),
    methods.FS_READ_BLOCK: (files.ReadBlockParams, files.ReadBlockResponse),
    methods.FS_WRITE_BLOCK: (files.WriteBlockParams, messages.EmptyResponse),
    methods.FS_DIGEST: (files.DigestParams, files.DigestResponse),
    methods.FS_CLOSE: (files.CloseParams, messages.EmptyResponse),
    methods.FS_WATCH_MISSING: (files.WatchMissingParams, files.WatchMissingResponse),
    methods.FS_WATCH: (files.WatchParams, files.FileResponse),
    methods.FS_UNWATCH: (files.UnwatchParams, messages.EmptyResponse),
    methods.HTTP_REQUEST: (http.HttpRequestParams, http.HttpResponse),
    methods.CAPABILITY_ROOTS_DISCOVER_V1: (
        capabilities.DiscoverRootsParams,
        capabilities.DiscoverRootsResponse,
    ),
    methods.CAPABILITIES_DISCOVER_V2: (capabilities.DiscoverParams, capabilities.DiscoverResponse),
}
NOTIFICATIONS: dict[str, type[msgspec.Struct]] = {
    methods.PROCESS_ACK: processes.AckNotification,
    methods.PROCESS_OUTPUT: processes.OutputNotification,
    methods.PROCESS_EXITED: processes.ExitedNotification,
    methods.PROCESS_CLOSED: processes.ClosedNotification,
    methods.PROCESS_GAP: processes.GapNotification,
    methods.FS_MISSING_CHANGED: files.MissingChangedNotification,
    methods.FS_CHANGED: files.ChangedNotification,
    methods.HTTP_BODY_DELTA: http.HttpBodyDeltaNotification,
}
TYPES: dict[str, type[msgspec.Struct]] = {
    "EnvironmentInfo": messages.EnvironmentInfo,
    "Shell": messages.Shell,
    "EnvironmentPolicy": processes.EnvironmentPolicy,
    "StartMetadata": processes.StartMetadata,
    "ShellSnapshot": processes.ShellSnapshot,
    "Retention": processes.Retention,
    "SandboxDenial": sandbox.SandboxDenial,
    "SandboxReport": sandbox.SandboxReport,
    "TerminalSize": processes.TerminalSize,
    "Limits of a process": processes.Limits,
    "OutputChunk": processes.OutputChunk,
    "Gap": processes.Gap,
    "ProcessSummary": processes.ProcessSummary,
    "StreamTotal": processes.StreamTotal,
    "ErrorBody": messages.ErrorBody,
    "DirectoryEntry": files.DirectoryEntry,
    "WalkOptions": files.WalkOptions,
    "WalkEntry": files.WalkEntry,
    "WalkError": files.WalkError,
    "Change": files.Change,
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
# What all results of one kind have, told once, and where.
COMMON: dict[type[msgspec.Struct], str] = {files.FileResponse: "Results under a sandbox"}
ENVELOPES = {messages.Request, messages.Notification, messages.Answer, messages.ErrorAnswer}
# Of its module, the others are what profiles are made of: docs/sandbox.md.
OF_SANDBOXES = {sandbox.SandboxDenial, sandbox.SandboxReport}
MODULES = (messages, processes, files, http, config, capabilities)


def document(method: str) -> str:
    return next(name for start, name in DOCUMENTS.items() if method.startswith(start))


def table(heading: str, kind: str, *names: str) -> Table:
    found = [
        each
        for name in names or TABLES
        for each in TABLES[name]
        if each.heading == heading and each.columns[0] == kind
    ]
    assert len(found) == 1, f"{len(found)} tables of {kind}s under {heading}"
    return found[0]


def documented(heading: str, kind: str, *names: str) -> list[tuple[str, str]]:
    return [(name, spelled) for name, spelled, *_ in table(heading, kind, *names).rows]


@pytest.mark.parametrize("method", METHODS)
def test_the_members_of_a_method_are_those_of_its_messages(method: str) -> None:
    params, result = METHODS[method]
    assert ROUTES[method].params is params
    where = document(method)
    if members(params):
        assert documented(method, "param", where) == members(params)
    own = [each for each in members(result) if each not in common(result)]
    if own and result is not messages.EnvironmentInfo:
        assert documented(method, "result", where) == own


def common(result: type[msgspec.Struct]) -> list[tuple[str, str]]:
    return [each for base in COMMON if issubclass(result, base) for each in members(base)]


@pytest.mark.parametrize("base", COMMON)
def test_what_results_have_in_common_is_told_once(base: type[msgspec.Struct]) -> None:
    assert documented(COMMON[base], "member") == members(base)


def test_exactly_the_methods_that_take_a_sandbox_have_results_that_tell_of_it() -> None:
    takes = {
        name
        for name, (params, _) in METHODS.items()
        if name.startswith("fs/") and "sandbox" in params.__struct_fields__
    }
    assert takes == {
        name for name, (_, result) in METHODS.items() if issubclass(result, files.FileResponse)
    }


@pytest.mark.parametrize("name", NOTIFICATIONS)
def test_the_members_of_a_notification_are_those_of_its_message(name: str) -> None:
    assert documented(name, "param", document(name)) == members(NOTIFICATIONS[name])


@pytest.mark.parametrize("name", TYPES)
def test_the_members_of_a_type_are_those_of_its_struct(name: str) -> None:
    assert documented(name, "member") == members(TYPES[name])


def test_every_method_and_every_message_is_documented() -> None:
    assert set(METHODS) == set(ROUTES)
    names = {value for name, value in vars(methods).items() if name.isupper() and "/" in value}
    assert names <= {*METHODS, *NOTIFICATIONS}
    known = {struct for pair in METHODS.values() for struct in pair}
    named = [getattr(module, name) for module in MODULES for name in module.__all__]
    public = {each for each in named if isinstance(each, type) and issubclass(each, msgspec.Struct)}
    assert public | OF_SANDBOXES == known | {*NOTIFICATIONS.values(), *TYPES.values()} | ENVELOPES


def test_the_wire_names_every_method_and_where_it_is_documented() -> None:
    listed = {
        name
        for row in table("Methods", "page").rows
        for cell in row[1:]
        for name in re.split(r"[ ,;]+", cell)
        if "/" in name or name.startswith("initialize")
    }
    assert listed == {*METHODS, *NOTIFICATIONS, methods.INITIALIZED}


def test_every_end_reason_is_documented() -> None:
    names = ", ".join(row[0] for row in table("EndReason", "reason").rows).split(", ")
    assert set(names) == set(get_args(EndReason))


def test_the_capabilities_are_those_of_the_node() -> None:
    [row] = [row for row in table("EnvironmentInfo", "member").rows if row[0] == "capabilities?"]
    assert tuple(row[2].partition("all true: ")[2].split()) == methods.CAPABILITIES


def test_the_cost_of_a_record_is_the_documented_one() -> None:
    text = (ROOT / "docs" / "process.md").read_text()
    assert f"Count {processes.RECORD_COST} bytes for each notification" in text
