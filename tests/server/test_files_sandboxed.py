"""Files under a sandbox, over the wire, for each user; and what a killed node leaves."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from execnode.environment.local.confined.pool import SandboxSettings
from execnode.server.router import ROUTES
from tests.server.conftest import Launch
from tests.server.running import FileSettings, NodeProcess, NodeSettings
from tests.server.test_sandbox import without_namespaces
from tests.server.wire import Json, Wire, eventually
from tests.workspace import workspace

NOBODY = 65534
ROOT: Json = {"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"}


@pytest.fixture(params=["root", "nobody"])
def owned(request: pytest.FixtureRequest, node: NodeProcess, launch: Launch) -> NodeProcess:
    """A node of each user that a node may be run by."""
    uid = os.geteuid()
    if request.param == "nobody" and uid == 0:
        if not all(
            folder.stat().st_mode & 0o001 for folder in Path(sys.executable).resolve().parents
        ):
            pytest.skip("another user cannot reach the interpreter")
        return launch(uid=NOBODY)
    if request.param == "root" and uid != 0:
        pytest.skip("only root may be root")
    return node


@pytest.fixture
def work(request: pytest.FixtureRequest) -> Iterator[Path]:
    with workspace() as folder:
        (folder / "ws/hidden").mkdir(parents=True)
        (folder / "ws/hidden/file").write_text("hidden")
        (folder / "ws/file").write_text("ws")
        if "nobody" in request.node.name and os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield folder / "ws"


def entry(path: Path, access: str) -> Json:
    return {"path": {"type": "path", "path": path.as_uri()}, "access": access}


def sandbox(work: Path) -> Json:
    entries = [ROOT, entry(work, "write"), entry(work / "hidden", "deny")]
    files = {"type": "restricted", "entries": entries}
    permissions = {"type": "managed", "file_system": files, "network": "restricted"}
    return {"permissions": permissions, "windowsSandboxLevel": "disabled"}


def error(wire: Wire, method: str, **params: object) -> tuple[int, str]:
    refusal = wire.refused(method, **params)
    return refusal.code, refusal.message


def test_each_user_is_held_to_the_profile(owned: NodeProcess, work: Path) -> None:
    with owned.connect(sessionTtlMs=0) as wire:
        asked = sandbox(work)
        new = {"path": f"{work.as_uri()}/new", "sandbox": asked}
        wire.request("fs/writeFile", dataBase64=b"new", **new)
        assert wire.request("fs/readFile", **new)["dataBase64"] == b"new"
        assert (work / "new").stat().st_uid == work.stat().st_uid
        read_only = (-32603, "Read-only file system (os error 30)")
        for path in (f"{work.as_uri()}/.git/x", f"{work.parent.as_uri()}/x"):
            params = {"path": path, "dataBase64": b"", "sandbox": asked}
            assert error(wire, "fs/writeFile", **params) == read_only
        hidden = {"path": f"{work.as_uri()}/hidden/file", "sandbox": asked}
        assert error(wire, "fs/readFile", **hidden) == (-32600, "Permission denied (os error 13)")


# --- what the answers tell ------------------------------------------------------------------------


def requests(work: Path) -> list[tuple[str, Json]]:
    """One of each method that takes a sandbox, in an order in which all succeed."""
    file, new = f"{work.as_uri()}/file", f"{work.as_uri()}/new"
    limits = {"maxDepth": 1, "maxDirectories": 9, "maxEntries": 9, "followDirectorySymlinks": False}
    return [
        ("fs/readFile", {"path": file}),
        ("fs/writeFile", {"path": new, "dataBase64": b"new"}),
        ("fs/createDirectory", {"path": f"{new}-folder"}),
        ("fs/getMetadata", {"path": file}),
        ("fs/canonicalize", {"path": file}),
        ("fs/readDirectory", {"path": work.as_uri()}),
        ("fs/walk", {"path": work.as_uri(), "options": limits}),
        ("fs/copy", {"sourcePath": file, "destinationPath": new, "recursive": False}),
        ("fs/remove", {"path": new}),
        ("fs/open", {"handleId": "f", "path": file}),
        ("fs/openArchive", {"handleId": "a", "path": work.as_uri(), "mode": "read"}),
        ("fs/watchMissing", {"watchId": 1, "missing": [f"{new}-no"]}),
        ("fs/watch", {"watchId": 1, "path": work.as_uri()}),
    ]


def reports(wire: Wire, work: Path, **asked: object) -> list[Json | None]:
    """What the answers tell of the sandbox, each once."""
    told: list[Json | None] = []
    for method, params in requests(work):
        report = wire.request(method, **params, **asked).get("sandbox")
        if report not in told:
            told.append(report)
    return told


def test_every_method_that_takes_a_sandbox_is_here(work: Path) -> None:
    takes = {
        method
        for method, route in ROUTES.items()
        if method.startswith("fs/") and "sandbox" in route.params.__struct_fields__
    }
    assert {method for method, _ in requests(work)} == takes


def test_every_answer_tells_how_its_sandbox_is_enforced(node: NodeProcess, work: Path) -> None:
    disabled = {"permissions": {"type": "disabled"}, "windowsSandboxLevel": "disabled"}
    for asked, told in (
        ({"sandbox": sandbox(work)}, {"path": "namespaces"}),
        ({"sandbox": disabled}, {"path": "none"}),
        ({}, None),
    ):
        with node.connect(sessionTtlMs=0) as wire:
            assert reports(wire, work, **asked) == [told]


def test_what_follows_in_a_handle_does_not_tell_it_again(node: NodeProcess, work: Path) -> None:
    path = f"{work.as_uri()}/file"
    with node.connect(sessionTtlMs=0) as wire:
        opened = wire.request("fs/open", handleId="h", path=path, sandbox=sandbox(work))
        assert opened == {"handleId": "h", "size": 2, "sandbox": {"path": "namespaces"}}
        block = wire.request("fs/readBlock", handleId="h", offset=0, len=9)
        assert block == {"chunk": b"ws", "eof": True}
        assert wire.request("fs/close", handleId="h") == {}


def test_an_accepted_loss_is_in_every_answer_about_files(launch: Launch, work: Path) -> None:
    accepted = SandboxSettings(accept_missing=("namespaces",))
    settings = NodeSettings(files=FileSettings(sandboxes=accepted))
    node = launch(settings, prepare=without_namespaces)
    with node.connect() as wire:
        lost = {"path": "landlock", "lost": ["namespaces"]}
        asked = sandbox(work)
        assert reports(wire, work, sandbox=asked) == [lost]
        roots = [
            {"id": "in", "path": work.as_uri(), "sandbox": asked},
            {"id": "out", "path": work.as_uri()},
        ]
        found = wire.request("capabilityRoots/discoverV1", roots=roots)["roots"]
        assert [root.get("sandbox") for root in found] == [lost, None]


def test_a_client_of_the_plain_dialect_is_told_nothing_of_it(launch: Launch, work: Path) -> None:
    asked = sandbox(work)
    node = launch(NodeSettings(), "ws://127.0.0.1:0")
    with node.connect(node.urls[1]) as wire:
        assert reports(wire, work, sandbox=asked) == [None]
        roots = [{"id": "in", "path": work.as_uri(), "sandbox": asked}]
        found = wire.request("capabilityRoots/discoverV1", roots=roots)["roots"]
        assert "sandbox" not in found[0]
    with node.connect(node.urls[1], additions=True) as wire:
        assert reports(wire, work, sandbox=asked) == [{"path": "namespaces"}]
        path = f"{work.as_uri()}/file"
        read = wire.request("fs/readFile", path=path, sandbox=asked)
        assert read == {"dataBase64": b"ws", "sandbox": {"path": "namespaces"}}


# --- the processes --------------------------------------------------------------------------------


def test_requests_do_not_wait_for_each_other(node: NodeProcess, work: Path) -> None:
    asked = sandbox(work)
    with node.connect(sessionTtlMs=0) as wire:
        ids = [
            wire.call(
                "fs/writeFile", path=f"{work.as_uri()}/n{i}", dataBase64=b"%d" % i, sandbox=asked
            )
            for i in range(50)
        ]
        assert [wire.answer(each) for each in ids] == [{"sandbox": {"path": "namespaces"}}] * 50
    assert [(work / f"n{i}").read_bytes() for i in range(50)] == [b"%d" % i for i in range(50)]


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").iterdir():
            below = [int(each) for each in (task / "children").read_text().split()]
            found |= set(below)
            waiting += below
    return found


def alive(pid: int) -> bool:
    try:
        return b"State:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_node_leaves_no_worker_and_no_placeholder(
    launch: Launch, work: Path, number: signal.Signals
) -> None:
    node = launch()
    with node.connect(sessionTtlMs=0) as wire:
        uri = work.as_uri()
        asked = sandbox(work)
        wire.request("fs/writeFile", path=f"{uri}/new", dataBase64=b"", sandbox=asked)
        wire.request("fs/openArchive", handleId="h", path=uri, mode="read", sandbox=asked)
        made = descendants(node.pid)
        assert len(made) >= 4
        assert (work / ".git").exists()
        os.kill(node.pid, number)
        node.popen.wait()
    eventually(lambda: not any(map(alive, made)))
    eventually(lambda: {path.name for path in work.iterdir()} == {"file", "hidden", "new"})
