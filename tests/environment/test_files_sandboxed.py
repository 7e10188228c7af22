"""Files under a sandbox: what each method may do where, and what becomes of the processes."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from execnode.environment.local.confined.pool import SandboxSettings
from execnode.environment.local.files.names import create_directory
from execnode.environment.local.files.service import FileSettings
from execnode.policy.plan import Access, Plan, Rule
from execnode.protocol.codec import JsonCodec
from execnode.protocol.errors import RpcError
from execnode.protocol.files import (
    CanonicalizeParams,
    CloseParams,
    CopyParams,
    CreateDirectoryParams,
    GetMetadataParams,
    OpenArchiveParams,
    OpenParams,
    ReadBlockParams,
    ReadDirectoryParams,
    ReadFileParams,
    RemoveParams,
    WalkParams,
    WatchMissingParams,
    WatchParams,
    WriteBlockParams,
    WriteFileParams,
)
from execnode.protocol.sandbox import SandboxContext
from tests.environment.filing import Box, box, far, refused, until
from tests.workspace import workspace

pytestmark = pytest.mark.trio

Json = dict[str, Any]
ROOT = {"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"}
MINIMAL = {"path": {"type": "special", "value": {"kind": "minimal"}}, "access": "read"}
# Long enough to be found alive, short enough to be waited for.
SHORT = FileSettings(sandboxes=SandboxSettings(idle=0.05, idle_missing=0.05))


def managed(*entries: Json, **members: Any) -> SandboxContext:
    files = {"type": "restricted", "entries": list(entries)}
    permissions = {"type": "managed", "file_system": files, "network": "restricted"}
    raw = {"permissions": permissions, "windowsSandboxLevel": "disabled", **members}
    return JsonCodec().decode_params(SandboxContext, raw)


def entry(path: Path, access: str) -> Json:
    return {"path": {"type": "path", "path": path.as_uri()}, "access": access}


@pytest.fixture
def base() -> Iterator[Path]:
    """A workspace in the middle of other things."""
    with workspace() as base:
        for name in ("ws/carved", "ws/hidden", "ws/.git", "outside"):
            (base / name).mkdir(parents=True)
            (base / name / "file").write_text(name)
        (base / "ws/file").write_text("ws")
        (base / "ws/a.env").write_text("secret")
        (base / "seen").mkdir()
        (base / "seen/one").write_text("one")
        (base / "seen/two").write_text("two")
        yield base


def read_only(_base: Path) -> SandboxContext:
    return managed(ROOT)


def workspace_write(base: Path) -> SandboxContext:
    return managed(ROOT, entry(base / "ws", "write"))


def custom(base: Path) -> SandboxContext:
    return managed(
        MINIMAL,
        entry(base / "ws", "write"),
        entry(base / "ws/carved", "read"),
        entry(base / "ws/hidden", "deny"),
        entry(base / "seen/one", "read"),
        {"path": {"type": "glob_pattern", "pattern": "**/*.env"}, "access": "deny"},
        cwd=(base / "ws").as_uri(),
    )


# --- every method, everywhere ---------------------------------------------------------------------

OK = None
READ_ONLY = (-32603, "Read-only file system (os error 30)")
DENIED = (-32600, "Permission denied (os error 13)")
INVISIBLE = (-32004, "No such file or directory (os error 2)")

Outcome = tuple[int, str] | None


async def outcome(awaitable: Awaitable[object]) -> Outcome:
    try:
        await awaitable
    except RpcError as error:
        return (error.code, error.message)
    return OK


async def _block(b: Box, params: OpenParams) -> None:
    await b.session.open(params)
    try:
        if params.mode == "read":
            await b.session.read_block(ReadBlockParams("h", 0, 10))
        else:
            await b.session.write_block(WriteBlockParams("h", 0, b"new"))
    finally:
        await b.session.close_handle(CloseParams("h"))


async def _pack(b: Box, path: str, sandbox: SandboxContext) -> None:
    await b.session.open_archive(OpenArchiveParams("h", path, "read", sandbox))
    try:
        await b.session.read_block(ReadBlockParams("h", 0, 1 << 20))
    finally:
        await b.session.close_handle(CloseParams("h"))


async def _extract(b: Box, path: str, sandbox: SandboxContext) -> None:
    await b.session.open_archive(OpenArchiveParams("h", path, "extract", sandbox))
    await b.session.write_block(WriteBlockParams("h", 0, bytes(1024)))
    await b.session.close_handle(CloseParams("h"))


Method = Callable[[Box, str, SandboxContext], Awaitable[object]]
LOOKS: dict[str, Method] = {
    "readFile": lambda b, p, s: b.files.read_file(ReadFileParams(f"{p}/file", sandbox=s)),
    "getMetadata": lambda b, p, s: b.files.get_metadata(GetMetadataParams(f"{p}/file", sandbox=s)),
    "canonicalize": lambda b, p, s: b.files.canonicalize(CanonicalizeParams(f"{p}/file", s)),
    "readDirectory": lambda b, p, s: b.files.read_directory(ReadDirectoryParams(p, s)),
    "walk": lambda b, p, s: b.files.walk(WalkParams(f"{p}/.", far(), s)),
    "open": lambda b, p, s: _block(b, OpenParams("h", f"{p}/file", sandbox=s)),
    "openArchive": lambda b, p, s: _pack(b, f"{p}/file", s),
    "watch": lambda b, p, s: b.session.watch(WatchParams(1, p, sandbox=s)),
}
CHANGES: dict[str, Method] = {
    "writeFile": lambda b, p, s: b.files.write_file(
        WriteFileParams(f"{p}/file", b"new", sandbox=s)
    ),
    "writeFile new": lambda b, p, s: b.files.write_file(
        WriteFileParams(f"{p}/new", b"new", sandbox=s)
    ),
    "writeFile atomic": lambda b, p, s: b.files.write_file(
        WriteFileParams(f"{p}/file", b"new", sandbox=s, atomic=True)
    ),
    "createDirectory": lambda b, p, s: b.files.create_directory(
        CreateDirectoryParams(f"{p}/folder", sandbox=s)
    ),
    "remove": lambda b, p, s: b.files.remove(RemoveParams(f"{p}/file", force=False, sandbox=s)),
    "copy to": lambda b, p, s: b.files.copy(CopyParams(b.uri("ws/file"), f"{p}/copy", True, s)),
    "open replace": lambda b, p, s: _block(b, OpenParams("h", f"{p}/file", "replace", s)),
    "open update": lambda b, p, s: _block(b, OpenParams("h", f"{p}/file", "update", s)),
    "open atomic": lambda b, p, s: _block(b, OpenParams("h", f"{p}/file", "replace", s, True)),
    "extract": lambda b, p, s: _extract(b, f"{p}/tree", s),
}


def tree(base: Path) -> dict[str, str]:
    """All that is there, and what is in it."""
    return {str(path): path.read_text() if path.is_file() else "" for path in base.rglob("*")}


@pytest.mark.parametrize("method", [*LOOKS, *CHANGES])
@pytest.mark.parametrize(
    ("profile", "place", "look", "change"),
    [
        (read_only, "ws", OK, READ_ONLY),
        (workspace_write, "ws", OK, OK),
        (workspace_write, "ws/.git", OK, READ_ONLY),
        (workspace_write, "outside", OK, READ_ONLY),
        (custom, "ws", OK, OK),
        (custom, "ws/carved", OK, READ_ONLY),
        (custom, "ws/hidden", DENIED, DENIED),
        (custom, "outside", INVISIBLE, INVISIBLE),
    ],
)
async def test_a_method_does_what_the_profile_allows(
    base: Path,
    method: str,
    profile: Callable[[Path], SandboxContext],
    place: str,
    look: Outcome,
    change: Outcome,
) -> None:
    before = tree(base)
    async with box(base) as b:
        call = LOOKS.get(method) or CHANGES[method]
        got = await outcome(call(b, b.uri(place), profile(base)))
    assert got == expected(method, place, look, change)
    if method in CHANGES and change is OK:
        assert tree(base) != before
    else:
        assert tree(base) == before


def expected(method: str, place: str, look: Outcome, change: Outcome) -> Outcome:
    match method:
        case "walk" if look is DENIED:
            return OK  # it tells of it in its errors
        case "createDirectory" if change is INVISIBLE:
            return READ_ONLY  # and so is what would be above it
    return look if method in LOOKS else change


# --- what is seen ---------------------------------------------------------------------------------


async def test_only_what_is_visible_is_listed(base: Path) -> None:
    sandbox = custom(base)
    async with box(base) as b:
        entries = (
            await b.files.read_directory(ReadDirectoryParams(b.uri("seen"), sandbox))
        ).entries
        assert [each.file_name for each in entries] == ["one"]
        walked = await b.files.walk(WalkParams(b.uri(), far(), sandbox))
        paths = {each.path.removeprefix(b.uri()) for each in walked.entries}
        assert paths >= {"/ws", "/ws/file", "/ws/carved/file", "/ws/hidden", "/seen/one"}
        assert not paths & {"/outside", "/outside/file", "/ws/hidden/file", "/seen/two"}
        assert [each.message for each in walked.errors] == [DENIED[1]]
        assert await outcome(read(b, "ws/a.env", sandbox)) == DENIED
        assert await outcome(read(b, "seen/one", sandbox)) is OK
        assert await outcome(read(b, "seen/two", sandbox)) == INVISIBLE
        assert await outcome(write(b, "seen/one", sandbox)) == READ_ONLY


def read(b: Box, name: str, sandbox: SandboxContext) -> Awaitable[object]:
    return b.files.read_file(ReadFileParams(b.uri(name), sandbox=sandbox))


def write(b: Box, name: str, sandbox: SandboxContext, **members: Any) -> Awaitable[object]:
    return b.files.write_file(WriteFileParams(b.uri(name), b"new", sandbox=sandbox, **members))


@pytest.mark.parametrize("target", ["../outside/file", "hidden/file", "/etc/shadow"])
async def test_links_lead_to_nothing_that_is_not_visible(base: Path, target: str) -> None:
    (base / "ws/link").symlink_to(target)
    (base / "ws/way").symlink_to(Path(target).parent)
    sandbox = managed(entry(base / "ws", "write"), entry(base / "ws/hidden", "deny"))
    before = tree(base)
    async with box(base) as b:
        name = Path(target).name
        for path in ("ws/link", f"ws/way/{name}"):
            uri = b.uri(path)
            for call in (
                read(b, path, sandbox),
                write(b, path, sandbox),
                write(b, path, sandbox, atomic=True),
                b.files.canonicalize(CanonicalizeParams(uri, sandbox)),
                b.session.open(OpenParams("h", uri, "read", sandbox)),
                b.session.open(OpenParams("h", uri, "update", sandbox)),
                b.session.open(OpenParams("h", uri, "replace", sandbox, True)),
                b.session.open_archive(OpenArchiveParams("h", uri, "read", sandbox)),
            ):
                assert await outcome(call) in (INVISIBLE, DENIED, READ_ONLY)
        into = CopyParams(b.uri("ws/file"), b.uri("ws/way/new"), False, sandbox)
        assert await outcome(b.files.copy(into)) in (INVISIBLE, DENIED, READ_ONLY)
        await b.files.remove(RemoveParams(b.uri("ws/link"), sandbox=sandbox))
    assert tree(base) == {path: text for path, text in before.items() if "/ws/link" not in path}


async def test_links_that_are_not_to_be_followed_are_not(base: Path) -> None:
    """As without a sandbox, though there openat2(2) sees to it."""
    (base / "ws/way").symlink_to("carved")
    async with box(base) as b:
        for sandbox in (None, managed(ROOT, entry(base / "ws", "write"))):
            for path, code in (("ws/way/file", 20), ("ws/way", 40)):
                params = ReadFileParams(b.uri(path), follow_symlinks=False, sandbox=sandbox)
                error = await refused(b.files.read_file(params))
                assert error.message.endswith(f"(os error {code})")
                params2 = WriteFileParams(b.uri(path), b"", follow_symlinks=False, sandbox=sandbox)
                error = await refused(b.files.write_file(params2))
                assert error.message.endswith(f"(os error {code})")


async def test_a_pseudo_file_is_that_of_the_sandbox(base: Path) -> None:
    sandbox = custom(base)
    async with box(base) as b:
        status = await b.files.read_file(
            ReadFileParams("file:///proc/self/status", sandbox=sandbox)
        )
        lines = dict(line.split(":\t") for line in bytes(status.data_base64).decode().splitlines())
        assert int(lines["Pid"]) < 10
        assert (lines["CapEff"], lines["CapBnd"]) == ("0" * 16, "0" * 16)
        assert (lines["NoNewPrivs"], lines["Seccomp"]) == ("1", "2")
        environ = ReadFileParams(f"file:///proc/{os.getpid()}/environ", sandbox=sandbox)
        assert await outcome(b.files.read_file(environ)) == INVISIBLE


async def test_missing_names_stay_missing(base: Path) -> None:
    sandbox = workspace_write(base)
    async with box(base) as b:
        for name in (".codex", ".agents", ".aws"):
            made = CreateDirectoryParams(b.uri(f"ws/{name}"), recursive=False, sandbox=sandbox)
            assert await outcome(b.files.create_directory(made)) is not OK
            assert await outcome(write(b, f"ws/{name}", sandbox)) is not OK
            assert await outcome(write(b, f"ws/{name}/x", sandbox)) == READ_ONLY
            gone = RemoveParams(b.uri(f"ws/{name}"), sandbox=sandbox)
            assert await outcome(b.files.remove(gone)) is not OK
    assert sorted(os.listdir(base / "ws")) == [".git", "a.env", "carved", "file", "hidden"]


async def test_tmpdir_is_that_of_the_node(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(base / "outside"))
    special = {"path": {"type": "special", "value": {"kind": "tmpdir"}}, "access": "write"}
    async with box(base) as b:
        assert await outcome(write(b, "outside/new", managed(ROOT, special))) is OK
        assert await outcome(write(b, "ws/new", managed(ROOT, special))) == READ_ONLY


async def test_the_policy_context_takes_the_place_of_the_outer_folders(base: Path) -> None:
    roots = {"path": {"type": "special", "value": {"kind": "project_roots"}}, "access": "write"}
    outside = {"cwd": (base / "ws").as_uri(), "workspaceRoots": [(base / "ws").as_uri()]}
    inside = {"cwd": (base / "seen").as_uri(), "workspaceRoots": [(base / "seen").as_uri()]}
    sandbox = managed(ROOT, roots, policyContext=inside, **outside)
    async with box(base) as b:
        assert await outcome(write(b, "ws/new", sandbox)) == READ_ONLY
        assert await outcome(write(b, "seen/new", sandbox)) is OK
        without = managed(ROOT, roots, workspaceRoots=[base.as_uri()])
        assert await outcome(write(b, "ws/new", without)) == (
            -32602,
            "file system sandbox context with dynamic permissions requires cwd",
        )


# --- what stays open ------------------------------------------------------------------------------


async def test_a_handle_outlives_its_sandbox(base: Path) -> None:
    sandbox = workspace_write(base)
    async with box(base, SHORT) as b:
        await b.session.open(OpenParams("w", b.uri("ws/new"), "replace", sandbox, True))
        await b.session.write_block(WriteBlockParams("w", 0, b"whole"))
        await until(lambda: not workers())
        assert not (base / "ws/new").exists()
        await b.session.write_block(WriteBlockParams("w", 5, b"some"))
        await b.session.close_handle(CloseParams("w"))
        assert b.read("ws/new") == b"wholesome"
        assert sorted(os.listdir(base / "outside")) == ["file"]


async def test_what_was_not_finished_is_gone_with_the_client(base: Path) -> None:
    sandbox = workspace_write(base)
    before = tree(base)
    async with box(base) as b:
        await b.session.open(OpenParams("w", b.uri("ws/file"), "replace", sandbox, True))
        await b.session.write_block(WriteBlockParams("w", 0, b"lost"))
        assert any(name.startswith(".file.") for name in os.listdir(base / "ws"))
    assert tree(base) == before


async def test_an_archive_goes_in_and_out(base: Path) -> None:
    sandbox = workspace_write(base)
    (base / "ws/carved/large").write_bytes(os.urandom(5 << 20))
    async with box(base) as b:
        await b.session.open_archive(
            OpenArchiveParams("r", b.uri("ws/carved"), "read", custom(base))
        )
        await b.session.open_archive(OpenArchiveParams("w", b.uri("ws/new"), "extract", sandbox))
        offset, eof = 0, False
        while not eof:
            block = await b.session.read_block(ReadBlockParams("r", offset, 1 << 20))
            await b.session.write_block(WriteBlockParams("w", offset, block.chunk))
            offset, eof = offset + len(block.chunk), block.eof
        await b.session.close_handle(CloseParams("w"))
        await b.session.close_handle(CloseParams("r"))
        assert b.read("ws/new/large") == b.read("ws/carved/large")


async def test_an_archive_that_nobody_reads_ends_with_its_handle(base: Path) -> None:
    (base / "ws/carved/large").write_bytes(bytes(5 << 20))
    async with box(base, SHORT) as b:
        path = b.uri("ws/carved")
        await b.session.open_archive(OpenArchiveParams("r", path, "read", custom(base)))
        await b.session.read_block(ReadBlockParams("r", 0, 10))
        await b.session.close_handle(CloseParams("r"))
        await until(lambda: not workers())  # it would not be idle


async def test_a_watch_hears_what_is_visible_and_outlives_its_sandbox(base: Path) -> None:
    sandbox = custom(base)
    async with box(base, SHORT) as b:
        await b.session.watch(WatchParams(1, b.uri("ws"), sandbox=sandbox))
        await until(lambda: not workers())
        (base / "outside/file").write_text("not told")
        (base / "ws/hidden/file").write_text("not told")
        (base / "ws/folder").mkdir()
        (base / "ws/carved/file").write_text("told")
        await b.hears(lambda: {"folder", "carved/file"} <= changed(b))
        await b.files.write_file(WriteFileParams(b.uri("ws/folder/x"), b"", sandbox=sandbox))
        await b.hears(lambda: "folder/x" in changed(b))
        assert not any("hidden/" in name or "outside" in name for name in changed(b))
        assert await outcome(
            b.session.watch(WatchParams(2, b.uri("outside"), sandbox=sandbox))
        ) == (INVISIBLE)


def changed(b: Box) -> set[str]:
    """The paths in the workspace of which it was told."""
    told = [change.path for _, news in b.told for change in getattr(news, "changes", [])]
    return {path.removeprefix(b.uri("ws") + "/") for path in told}


async def test_what_is_missing_is_heard_of_when_it_appears(base: Path) -> None:
    sandbox = custom(base)
    async with box(base) as b:
        missing = [b.uri("ws/new"), b.uri("outside/file")]
        params = WatchMissingParams(1, missing, b.uri("ws/file"), sandbox)
        assert (await b.session.watch_missing(params)).watching
        (base / "outside/x").touch()
        (base / "ws/new").touch()
        await b.hears(lambda: b.told)
        again = WatchMissingParams(2, [b.uri("ws/file")], None, sandbox)
        assert not (await b.session.watch_missing(again)).watching


# --- the processes --------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(each) for each in (task / "children").read_text().split()]
    return found


def zygotes() -> list[int]:
    return [pid for pid in children(os.getpid()) if b"confined.zygote" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def workers() -> list[int]:
    """The launchers of workers; keepers of names go a little later."""
    return [
        pid
        for zygote in zygotes()
        for pid in children(zygote)
        if b"keeper" not in Path(f"/proc/{pid}/comm").read_bytes()
    ]


async def test_equal_plans_share_a_worker(base: Path) -> None:
    async with box(base) as b:
        async with trio.open_nursery() as nursery:
            for i in range(100):
                nursery.start_soon(write, b, f"ws/n{i}", workspace_write(base))
                nursery.start_soon(read, b, "ws/file", custom(base))
        assert len(workers()) == 2
        assert len(zygotes()) == 1
        assert [b.read(f"ws/n{i}") for i in range(100)] == [b"new"] * 100
    assert not zygotes()


async def test_a_sandbox_shows_what_is_there_now(base: Path) -> None:
    sandbox = custom(base)
    async with box(base) as b:
        assert await outcome(write(b, "ws/new", sandbox)) is OK
        (base / "ws").rename(base / "old")
        (base / "ws/hidden").mkdir(parents=True)
        (base / "ws/carved").mkdir()
        assert await outcome(write(b, "ws/file", sandbox)) is OK
        assert (b.read("ws/file"), b.read("old/file")) == (b"new", b"ws")
        # A file that takes the place of a hidden one, as an editor does it.
        hidden = managed(ROOT, entry(base / "ws/file", "deny"))
        assert await outcome(read(b, "ws/file", hidden)) == DENIED
        (base / "ws/other").write_text("secret")
        (base / "ws/other").rename(base / "ws/file")
        assert await outcome(read(b, "ws/file", hidden)) == DENIED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
async def test_a_sandbox_shows_what_is_mounted_now(base: Path) -> None:
    sandbox = custom(base)
    async with box(base) as b:
        assert await outcome(read(b, "ws/file", sandbox)) is OK
        (base / "ws/data").mkdir()
        await trio.run_process(["mount", "-t", "tmpfs", "none", base / "ws/data"])
        try:
            assert await outcome(write(b, "ws/data/new", sandbox)) is OK
            assert b.read("ws/data/new") == b"new"
        finally:
            await trio.run_process(["umount", "-l", base / "ws/data"])


async def test_the_node_s_environment_is_not_inside(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_NODE", "1")
    async with box(base) as b:
        params = ReadFileParams("file:///proc/self/environ", sandbox=custom(base))
        environ = bytes((await b.files.read_file(params)).data_base64)
        assert b"PYTHONPATH=" in environ
        assert b"SECRET" not in environ


async def test_nothing_is_imported_from_where_a_sandbox_may_write(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a program that embeds the node comes first in its sys.path."""
    monkeypatch.syspath_prepend(str(base / "ws"))
    for name in ("tarfile", "resource", "fcntl", "exceptiongroup", "typing_extensions", "msgspec"):
        (base / f"ws/{name}.py").write_text(f"open({str(base / 'outside/new')!r}, 'w')\n")
    async with box(base) as b:
        await write(b, "ws/new", workspace_write(base))
    assert not (base / "outside/new").exists()


async def test_an_idle_worker_ends_and_takes_its_placeholders_along(base: Path) -> None:
    async with box(base, SHORT) as b:
        await write(b, "ws/new", workspace_write(base))
        await until(lambda: not workers() and ".codex" not in os.listdir(base / "ws"))
        assert await outcome(write(b, "ws/more", workspace_write(base))) is OK


async def test_a_killed_worker_fails_its_requests_and_no_later_ones(base: Path) -> None:
    sandbox = custom(base)
    with (base / "ws/carved/endless").open("wb") as file:
        file.truncate(1 << 36)  # the killed may go on for a moment
    async with box(base) as b:
        path = b.uri("ws/carved")
        await b.session.open_archive(OpenArchiveParams("r", path, "read", sandbox))
        await b.session.read_block(ReadBlockParams("r", 0, 10))
        [worker] = workers()
        os.kill(worker, signal.SIGKILL)
        error = await refused(_read_all(b, "r", 10))
        assert (error.code, error.message) == (-32603, "the process in the sandbox has ended")
        assert await outcome(read(b, "ws/file", sandbox)) is OK


async def _read_all(b: Box, handle: str, offset: int) -> None:
    eof = False
    while not eof:
        block = await b.session.read_block(ReadBlockParams(handle, offset, 1 << 20))
        offset, eof = offset + len(block.chunk), block.eof


async def test_a_killed_zygote_is_replaced(base: Path) -> None:
    async with box(base) as b:
        await write(b, "ws/new", workspace_write(base))
        [zygote] = zygotes()
        os.kill(zygote, signal.SIGKILL)
        await until(lambda: ".codex" not in os.listdir(base / "ws"))
        assert await outcome(write(b, "ws/new", workspace_write(base))) is OK


async def test_workers_are_few(base: Path) -> None:
    settings = FileSettings(sandboxes=SandboxSettings(workers=2))
    plans = [
        managed(ROOT, entry(base / "ws" / name, "deny")) for name in ("file", "a.env", "carved")
    ]
    async with box(base, settings) as b:
        for sandbox in plans * 2:
            assert await outcome(read(b, "outside/file", sandbox)) is OK
            await until(lambda: len(workers()) <= 2)
        (base / "outside/large").write_bytes(bytes(5 << 20))
        for handle, sandbox in zip("ab", plans, strict=False):
            path = b.uri("outside/large")
            await b.session.open_archive(OpenArchiveParams(handle, path, "read", sandbox))
            await b.session.read_block(ReadBlockParams(handle, 0, 1))  # it is under way now
        error = await refused(read(b, "outside/file", plans[2]))
        assert error.code == -32600
        assert "2 sandboxes" in error.message


async def test_a_cancelled_look_stops(base: Path) -> None:
    sandbox = custom(base)
    for i in range(300):
        (base / f"ws/d{i}/e").mkdir(parents=True)
    async with box(base, SHORT) as b:
        await read(b, "ws/file", sandbox)
        with trio.move_on_after(0.001):
            for _ in range(100):
                await b.files.walk(WalkParams(b.uri("ws"), far(), sandbox))
        await until(lambda: not workers())


async def test_nothing_stays_open(base: Path) -> None:
    async with box(base) as b:
        await use_all(b, base)
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(10):
            await use_all(b, base)
        assert len(os.listdir("/proc/self/fd")) <= len(before)


async def use_all(b: Box, base: Path) -> None:
    for name, method in {**LOOKS, **CHANGES}.items():
        if name != "watch":
            for profile in (workspace_write, custom):
                await outcome(method(b, b.uri("ws/carved"), profile(base)))


async def test_what_cannot_be_enforced_is_refused(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    async with box(base) as b:
        error = await refused(write(b, "ws/new", workspace_write(base)))
        assert error.code == -32603
        assert not (base / "ws/new").exists()


async def test_a_plan_that_is_not_as_the_machine_is_is_refused(base: Path) -> None:
    """A link that came on the way of a rule meanwhile."""
    plan = Plan((Rule(os.fsencode(base) + b"/link/x", Access.WRITE),))
    (base / "link").symlink_to("ws")
    async with box(base) as b:
        hands = b.files._sandboxes.hands(plan)
        error = await refused(hands.change(create_directory, b.path("ws/x"), True, True))
        assert error.code == -32603
        assert error.message.startswith("this sandbox cannot be enforced here: options: ")
