"""docs/files.md says what the file messages are."""

import msgspec
import pytest

from execnode.protocol import files, methods
from execnode.protocol.messages import EmptyResponse
from execnode.server.router import ROUTES
from tests.docs.markdown import ROOT, tables
from tests.docs.spelling import members

TABLES = {(each.heading, each.columns[0]): each for each in tables(ROOT / "docs" / "files.md")}
# What is documented under a method's name besides its parameters.
RESULTS: dict[str, type[msgspec.Struct]] = {
    methods.FS_READ_FILE: files.ReadFileResponse,
    methods.FS_WRITE_FILE: EmptyResponse,
    methods.FS_CREATE_DIRECTORY: EmptyResponse,
    methods.FS_GET_METADATA: files.GetMetadataResponse,
    methods.FS_CANONICALIZE: files.CanonicalizeResponse,
    methods.FS_READ_DIRECTORY: files.ReadDirectoryResponse,
    methods.FS_WALK: files.WalkResponse,
    methods.FS_REMOVE: EmptyResponse,
    methods.FS_COPY: EmptyResponse,
    methods.FS_OPEN: files.OpenResponse,
    methods.FS_READ_BLOCK: files.ReadBlockResponse,
    methods.FS_WRITE_BLOCK: EmptyResponse,
    methods.FS_CLOSE: EmptyResponse,
    methods.FS_DIGEST: files.DigestResponse,
    methods.FS_OPEN_ARCHIVE: files.OpenResponse,
    methods.FS_WATCH_MISSING: files.WatchMissingResponse,
    methods.FS_WATCH: EmptyResponse,
    methods.FS_UNWATCH: EmptyResponse,
}
NOTIFICATIONS: dict[str, type[msgspec.Struct]] = {
    methods.FS_MISSING_CHANGED: files.MissingChangedNotification,
    methods.FS_CHANGED: files.ChangedNotification,
}
TYPES = (files.WalkOptions, files.WalkEntry, files.WalkError, files.DirectoryEntry, files.Change)


def documented(heading: str, kind: str) -> list[tuple[str, str]]:
    return [(name, spelled) for name, spelled, *_ in TABLES[heading, kind].rows]


@pytest.mark.parametrize("method", RESULTS)
def test_the_members_of_a_method_are_those_of_its_messages(method: str) -> None:
    assert documented(method, "param") == members(ROUTES[method].params)
    if members(RESULTS[method]):
        assert documented(method, "result") == members(RESULTS[method])


@pytest.mark.parametrize("name", NOTIFICATIONS)
def test_the_members_of_a_notification_are_those_of_its_message(name: str) -> None:
    assert documented(name, "param") == members(NOTIFICATIONS[name])


@pytest.mark.parametrize("struct", TYPES, ids=lambda each: str(each.__name__))
def test_the_members_of_a_type_are_those_of_its_struct(struct: type[msgspec.Struct]) -> None:
    assert documented(struct.__name__, "member") == members(struct)


def test_every_file_method_is_documented() -> None:
    assert set(RESULTS) == {method for method in ROUTES if method.startswith("fs/")}
    known = {getattr(methods, name) for name in vars(methods) if name.startswith("FS_")}
    assert known == {*RESULTS, *NOTIFICATIONS}
