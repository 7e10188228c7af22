"""The file methods on the wire."""

import hashlib
import os
import stat
from pathlib import Path

import pytest

from execnode.protocol.uri import format_path_uri
from tests.server.conftest import Launch
from tests.server.running import FileSettings, NodeProcess, NodeSettings
from tests.server.wire import Json, Wire, eventually


@pytest.fixture
def base(tmp_path: Path) -> str:
    return format_path_uri(os.fsencode(tmp_path)) + "/"


def test_a_file_lives_and_dies(wire: Wire, base: str, tmp_path: Path) -> None:
    assert wire.request("fs/createDirectory", path=base + "d/e", recursive=True, sandbox=None) == {}
    data = {"dataBase64": b"hello\n", "sandbox": None}
    assert wire.request("fs/writeFile", path=base + "d/a.txt", **data) == {}
    assert wire.request("fs/readFile", path=base + "d/a.txt") == {"dataBase64": b"hello\n"}
    about = wire.request("fs/getMetadata", path=base + "d/a.txt")
    assert about.pop("modifiedAtMs") == (tmp_path / "d/a.txt").stat().st_mtime_ns // 1_000_000
    assert about.pop("createdAtMs") >= 0
    assert about == {"isDirectory": False, "isFile": True, "isSymlink": False, "size": 6}
    entries = wire.request("fs/readDirectory", path=base + "d")["entries"]
    assert sorted(entries, key=lambda each: each["fileName"]) == [
        {"fileName": "a.txt", "isDirectory": False, "isFile": True},
        {"fileName": "e", "isDirectory": True, "isFile": False},
    ]
    real = wire.request("fs/canonicalize", path=base + "d/../d/./a.txt")
    assert real == {"path": base + "d/a.txt"}
    copy = {"sourcePath": base + "d", "destinationPath": base + "d2"}
    assert wire.request("fs/copy", **copy, recursive=True) == {}
    assert wire.request("fs/remove", path=base + "d") == {}
    options = {
        "maxDepth": 9,
        "maxDirectories": 9,
        "maxEntries": 9,
        "followDirectorySymlinks": False,
    }
    assert wire.request("fs/walk", path=base, options=options) == {
        "entries": [
            {"path": base + "d2", "kind": "directory"},
            {"path": base + "d2/a.txt", "kind": "file"},
            {"path": base + "d2/e", "kind": "directory"},
        ],
        "errors": [],
        "truncated": False,
    }


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("readFile", {}, -32602, "missing field `path`"),
        ("readFile", {"path": 5}, -32602, "invalid type: number, expected a string"),
        ("readFile", {"path": None}, -32602, "invalid type: null, expected a string"),
        ("readFile", {"path": "missing"}, -32004, "No such file or directory (os error 2)"),
        ("readFile", {"path": "f/x"}, -32603, "Not a directory (os error 20)"),
        ("writeFile", {"path": "d", "dataBase64": b""}, -32603, "Is a directory (os error 21)"),
        ("writeFile", {"path": "x", "dataBase64": "YQ=="}, -32602, None),
        ("writeFile", {"path": "x"}, -32602, "missing field `dataBase64`"),
        ("createDirectory", {"path": "d", "recursive": False}, -32603, "File exists (os error 17)"),
        ("copy", {"sourcePath": "f", "destinationPath": "g"}, -32602, "missing field `recursive`"),
        ("walk", {"path": "d", "options": {"maxDepth": 1}}, -32602, None),
        ("walk", {"path": "d", "options": {"maxDepth": -1}}, -32602, None),
        ("open", {"handleId": "h", "path": "f", "mode": "append"}, -32602, None),
        ("open", {"handleId": "h", "path": "f", "mode": None}, -32602, None),
        ("readBlock", {"handleId": "h", "offset": 0, "len": 4}, -32004, "unknown file handle `h`"),
        ("readBlock", {"handleId": "h", "offset": -1, "len": 4}, -32602, "invalid number"),
        ("watchMissing", {"watchId": "x", "missing": []}, -32602, None),
        ("watchMissing", {"watchId": 1}, -32602, "missing field `missing`"),
        ("watchMissing", {"watchId": 1, "missing": ["http://x"]}, -32602, None),
        ("digest", {"handleId": "h", "algorithm": "md5"}, -32602, None),
        ("getMetadata", {"path": "http://x/f"}, -32602, "unsupported path URI scheme `http`"),
        ("getMetadata", {"path": "file:///f?x"}, -32602, None),
        ("getMetadata", {"path": "file://other/f"}, -32600, None),
        ("getMetadata", {"path": "file:///C:/x"}, -32600, None),
        ("getMetadata", {"path": "file:///a%00b"}, -32602, None),
    ],
)
def test_what_cannot_be_done_has_its_code(
    wire: Wire,
    base: str,
    tmp_path: Path,
    method: str,
    params: Json,
    code: int,
    message: str | None,
) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    for name in ("path", "sourcePath", "destinationPath"):
        if isinstance(params.get(name), str) and ":" not in params[name]:
            params = {**params, name: base + params[name]}
    error = wire.refused(f"fs/{method}", **params)
    assert error.code == code
    assert message is None or error.message == message


def test_spellings_of_a_path_lead_to_the_same_file(wire: Wire, base: str, tmp_path: Path) -> None:
    (tmp_path / "sp ace").write_text("x")
    path = str(tmp_path)
    for spelling in (
        f"file://localhost{path}/sp%20ace",
        f"FILE://{path}/sp ace",
        f"file:{path}//sp%20ace",
        f"{base}d/../sp%20%61ce",
        f" {base}sp%20ace/ ",
        f"{path}/sp ace",  # of older clients
    ):
        assert wire.request("fs/readFile", path=spelling) == {"dataBase64": b"x"}


def test_methods_wait_for_the_handshake(node: NodeProcess, base: str) -> None:
    with Wire.to(node.url) as wire:
        error = wire.refused("fs/readFile", path=base)
        assert error.code == -32600
        assert error.message == "client must call initialize before using filesystem methods"


def test_requests_in_one_breath_are_done_one_after_the_other(wire: Wire, base: str) -> None:
    ids = []
    for number in range(100):
        data = b"%d" % number
        wire.call("fs/writeFile", path=base + "f", dataBase64=data)
        ids.append((wire.call("fs/readFile", path=base + "f"), data))
    for request_id, data in ids:
        assert wire.answer(request_id) == {"dataBase64": data}


def test_an_upload_and_a_download_in_one_breath(wire: Wire, base: str) -> None:
    data = os.urandom(3_000_000)
    parts = [(at, data[at : at + 500_000]) for at in range(0, len(data), 500_000)]
    assert wire.answer(wire.call("fs/open", handleId="w", path=base + "f", mode="replace")) == {
        "handleId": "w",
        "size": 0,
    }
    for at, part in parts:
        wire.call("fs/writeBlock", handleId="w", offset=at, chunk=part)
    digest = wire.call("fs/digest", handleId="w", algorithm="sha256")
    wire.call("fs/close", handleId="w")
    wire.call("fs/open", handleId="r", path=base + "f")
    reads = [wire.call("fs/readBlock", handleId="r", offset=at, len=500_000) for at, _ in parts]
    wire.call("fs/close", handleId="r")
    sha256 = hashlib.sha256(data).hexdigest()
    assert wire.answer(digest) == {"bytes": len(data), "digest": f"sha256:{sha256}"}
    answers = [wire.answer(each) for each in reads]
    assert b"".join(each["chunk"] for each in answers) == data
    assert not any(each["eof"] for each in answers)


def test_a_tree_is_carried_from_one_folder_to_another(
    wire: Wire, base: str, tmp_path: Path
) -> None:
    (tmp_path / "t/d").mkdir(parents=True)
    (tmp_path / "t/d/f").write_bytes(bytes(2_000_000))
    (tmp_path / "t/d/f").chmod(0o750)
    wire.request("fs/openArchive", handleId="p", path=base + "t", mode="read")
    wire.request("fs/openArchive", handleId="x", path=base + "new", mode="extract")
    offset = 0
    while True:
        block = wire.request("fs/readBlock", handleId="p", offset=offset, len=1 << 20)
        if block["chunk"]:
            wire.request("fs/writeBlock", handleId="x", offset=offset, chunk=block["chunk"])
        offset += len(block["chunk"])
        if block["eof"]:
            break
    assert wire.request("fs/close", handleId="x") == {}
    assert (tmp_path / "new/d/f").read_bytes() == bytes(2_000_000)
    assert stat.S_IMODE((tmp_path / "new/d/f").stat().st_mode) == 0o750


def test_a_missing_file_that_appears_is_told(wire: Wire, base: str, tmp_path: Path) -> None:
    missing = {"missing": [base + "AGENTS.md", base + ".git/x"], "present": base}
    assert wire.request("fs/watchMissing", watchId=1, **missing) == {"watching": True}
    assert wire.request("fs/watchMissing", watchId=1, **missing) == {"watching": False}
    (tmp_path / "AGENTS.md").touch()
    wire.until(lambda: wire.notifications)
    assert wire.notifications.popleft() == {
        "method": "fs/missingChanged",
        "params": {"watchId": 1},
    }
    assert wire.request("fs/watchMissing", watchId=2, **missing) == {"watching": False}


def test_changes_are_told_until_nobody_wants_to_know(wire: Wire, base: str, tmp_path: Path) -> None:
    assert wire.request("fs/watch", watchId=1, path=base) == {}
    (tmp_path / "f").touch()
    wire.until(lambda: wire.notifications)
    told = wire.notifications.popleft()
    assert told["method"] == "fs/changed"
    assert {"path": base + "f", "kind": "created"} in told["params"]["changes"]
    assert (told["params"]["watchId"], told["params"]["overflow"]) == (1, False)
    assert wire.request("fs/unwatch", watchId=1) == {}
    wire.notifications.clear()
    (tmp_path / "g").touch()
    assert wire.silent()


# --- sandbox --------------------------------------------------------------------------------------


def profile(*entries: Json, **context: object) -> Json:
    return {
        "permissions": {
            "type": "managed",
            "file_system": {"type": "restricted", "entries": list(entries)},
            "network": "restricted",
        },
        "windowsSandboxLevel": "disabled",
        **context,
    }


def entry(kind: str, access: str) -> Json:
    return {"path": {"type": "special", "value": {"kind": kind}}, "access": access}


def glob(pattern: str) -> Json:
    return {"path": {"type": "glob_pattern", "pattern": pattern}, "access": "deny"}


DISABLED = {"permissions": {"type": "disabled"}, "windowsSandboxLevel": "disabled"}
ROOT = entry("root", "read")
PROJECT = entry("project_roots", "write")


@pytest.mark.parametrize(
    ("sandbox", "reads", "writes"),
    [
        (DISABLED, None, None),
        ({**DISABLED, "permissions": {"type": "external", "network": "restricted"}}, None, None),
        (profile(entry("root", "write")), None, None),
        (profile(ROOT), None, -32603),
        (profile(ROOT, PROJECT, cwd="file:///"), None, -32603),
        (profile(entry("root", "write"), entry("slash_tmp", "write")), None, None),
        (profile(), -32004, -32004),
        (profile(ROOT, PROJECT), -32602, -32602),
        (profile(ROOT, PROJECT, policyContext={"cwd": "file:///"}), None, -32603),
        (profile(ROOT, PROJECT, policyContext={}, cwd="file:///"), -32602, -32602),
        (profile(ROOT, glob("*.env")), -32602, -32602),
        (profile(ROOT, glob("/x/*.env")), None, -32603),
        ({}, -32602, -32602),
        ({"permissions": {"type": "disabled"}}, -32602, -32602),
        ({**DISABLED, "permissions": {"type": "other"}}, -32602, -32602),
        ({**DISABLED, "permissions": {"type": "external"}}, -32602, -32602),
        (profile(entry("bogus", "read")), -32602, -32602),
        (profile(entry("root", "rw")), -32602, -32602),
        ({**DISABLED, "cwd": "http://x"}, -32602, -32602),
        ({**DISABLED, "windowsSandboxLevel": "x"}, -32602, -32602),
        ({"mode": "read-only", "windowsSandboxLevel": "disabled"}, -32602, -32602),
    ],
)
def test_what_a_sandbox_forbids_is_refused(
    wire: Wire, base: str, tmp_path: Path, sandbox: Json, reads: int | None, writes: int | None
) -> None:
    (tmp_path / "f").write_text("x")
    both = {"path": base + "f", "sandbox": sandbox}
    requests: list[tuple[str, Json, int | None]] = [
        ("fs/readFile", both, reads),
        ("fs/getMetadata", both, reads),
        ("fs/open", {**both, "handleId": "r"}, reads),
        ("fs/writeFile", {**both, "dataBase64": b""}, writes),
        ("fs/open", {**both, "handleId": "w", "mode": "update"}, writes),
        (
            "fs/copy",
            {
                "sourcePath": base + "f",
                "destinationPath": base + "g",
                "recursive": False,
                "sandbox": sandbox,
            },
            writes,
        ),
        ("fs/remove", {**both, "force": False}, writes),
    ]
    for method, params, code in requests:
        if code is None:
            wire.request(method, **params)
        else:
            assert wire.refused(method, **params).code == code
    assert (tmp_path / "f").exists() == (writes is not None)


# --- what a connection leaves ---------------------------------------------------------------------


def test_nothing_is_left_of_a_connection_that_was_cut(
    launch: Launch, base: str, tmp_path: Path
) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(1 << 30)
    (tmp_path / "t").mkdir()
    node = launch()
    with node.connect() as wire:  # what is made once is made now
        wire.request("fs/watch", watchId=1, path=base)
    before = node.descriptors()

    def threads() -> int:
        return len(list(Path(f"/proc/{node.pid}/task").iterdir()))

    running = threads()
    for _ in range(5):
        with node.connect() as wire:
            wire.request("fs/open", handleId="r", path=base + "large")
            wire.request("fs/open", handleId="a", path=base + "f", mode="replace", atomic=True)
            wire.request("fs/openArchive", handleId="p", path=base, mode="read")
            wire.request("fs/openArchive", handleId="x", path=base + "t", mode="extract")
            wire.request("fs/watch", watchId=1, path=base)
            wire.request("fs/watchMissing", watchId=1, missing=[base + "m"])
            wire.call("fs/digest", handleId="r", algorithm="sha256")
            wire.call("fs/readBlock", handleId="p", offset=0, len=1 << 20)
            wire.call("fs/readFile", path=base + "missing")
    assert eventually(lambda: len(node.descriptors()) <= len(before)), node.descriptors()
    assert eventually(lambda: threads() <= running + 16)  # the pool's own are kept a while
    assert eventually(lambda: sorted(os.listdir(tmp_path)) == ["large", "t"])  # noqa: PTH208


def test_a_long_look_holds_up_neither_processes_nor_other_connections(
    launch: Launch, base: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(1 << 32)
    node = launch(NodeSettings(files=FileSettings(threads=2)))
    with node.connect() as wire, node.connect() as other:
        wire.request("fs/open", handleId="r", path=base + "large")
        long = wire.call("fs/digest", handleId="r", algorithm="sha256")
        assert wire.run("echo hi").stdout == b"hi\n"
        assert other.request("fs/readFile", path="file:///proc/self/comm")["dataBase64"]
        assert long not in wire.answers


def test_memory_of_a_large_read_is_given_back(launch: Launch, base: str, tmp_path: Path) -> None:
    """The recorded server keeps 3.5 GB after a read of 512 MiB."""
    size = 128 << 20
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    node = launch(None, "ws://127.0.0.1:0")
    with node.connect(node.urls[1]) as wire:
        wire.request("fs/readFile", path=base + "large")  # loads what it takes
        before = node.resident()
        peak, received = 0, 0
        wire.call("fs/readFile", path=base + "large")
        while received < size * 4 // 3:
            received += len(wire.socket.recv(1 << 20))
            peak = max(peak, node.resident())
        assert peak < before + size + (8 << 20)
        assert eventually(lambda: node.resident() < before + (4 << 20))
