"""Trees: fs/walk, fs/remove and fs/copy by the service."""

import errno
import os
import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execnode.environment.local.files import remove as removing
from execnode.protocol.errors import INTERNAL_ERROR, INVALID_REQUEST, NOT_FOUND
from execnode.protocol.files import CopyParams, RemoveParams, WalkParams
from execnode.protocol.uri import parse_path_uri
from tests.environment.filing import Box, box, far, let_everybody_in, refused

pytestmark = pytest.mark.trio


async def walked(b: Box, name: str | bytes = b"", **limits: Any) -> tuple[list[str], bool]:
    """Paths below a start (folders with a slash), and whether some are left out; no errors."""
    answer = await b.files.walk(WalkParams(b.uri(name), far(**limits)))
    assert not answer.errors
    start = b.path(name)
    return [
        os.fsdecode(parse_path_uri(each.path)[len(start) + 1 :])
        + ("/" if each.kind == "directory" else "")
        for each in answer.entries
    ], answer.truncated


def plant(b: Box) -> None:
    for name in (".hid/4", "1", "a/2", "a/b/3"):
        b.make(name)
    os.mkdir(b.path("e"))
    os.symlink("a", b.path("la"))
    os.symlink("1", b.path("lf"))
    os.symlink("..", b.path("a/up"))
    os.mkfifo(b.path("fifo"))


@pytest.mark.parametrize(
    ("limits", "expected", "truncated"),
    [
        ({}, ".hid/ 1 a/ e/ .hid/4 a/2 a/b/ a/b/3", False),
        ({"max_depth": 0}, ".hid/ 1 a/ e/", False),
        ({"max_depth": 1}, ".hid/ 1 a/ e/ .hid/4 a/2 a/b/", False),
        ({"max_directories": 2}, ".hid/ 1 a/ e/ .hid/4", True),
        ({"max_directories": 5}, ".hid/ 1 a/ e/ .hid/4 a/2 a/b/ a/b/3", False),
        ({"max_depth": 0, "max_directories": 1}, ".hid/ 1 a/ e/", False),
        ({"max_entries": 3}, ".hid/ 1 a/", True),
        ({"max_entries": 8}, ".hid/ 1 a/ e/ .hid/4 a/2 a/b/ a/b/3", False),
        (
            {"follow_directory_symlinks": True},
            ".hid/ 1 a/ e/ la/ .hid/4 a/2 a/b/ a/up/ a/b/3",
            False,
        ),
        ({"prune_hidden_directories": True}, ".hid/ 1 a/ e/ a/2 a/b/ a/b/3", False),
    ],
)
async def test_a_walk_goes_as_far_as_it_may(
    tmp_path: Path, limits: dict[str, Any], expected: str, truncated: bool
) -> None:
    async with box(tmp_path) as b:
        plant(b)
        assert await walked(b, **limits) == (expected.split(), truncated)


async def test_starts_of_a_walk_that_are_no_folder(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        plant(b)
        os.symlink("nowhere", b.path("dangling"))
        for name in ("1", "fifo", "la", "dangling"):
            assert await walked(b, name) == ([], False)
        follow = {"follow_directory_symlinks": True}
        names, _ = await walked(b, "la", **follow)
        assert names[:4] == ["2", "b/", "up/", "b/3"]
        assert "up/a/" in names  # the start by another name: listed, and not entered again
        assert "up/a/2" not in names
        error = await refused(b.files.walk(WalkParams(b.uri("dangling"), far(**follow))))
        assert error.code == NOT_FOUND
        assert (await walked(b, ".hid", prune_hidden_directories=True))[0] == ["4"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_entries": 0}, "must be greater than zero"),
        ({"max_directories": 0}, "must be greater than zero"),
        ({"max_depth": 65}, "depth=64, directories=10000, entries=50000"),
        ({"max_directories": 10_001}, "depth=64, directories=10000, entries=50000"),
        ({"max_entries": 50_001}, "depth=64, directories=10000, entries=50000"),
    ],
)
async def test_limits_of_a_walk_have_limits(
    tmp_path: Path, limits: dict[str, Any], message: str
) -> None:
    async with box(tmp_path) as b:
        error = await refused(b.files.walk(WalkParams(b.uri(), far(**limits))))
        assert error.code == INVALID_REQUEST
        assert message in error.message


def reference(root: bytes, depth: int, directories: int, entries: int) -> tuple[list[str], bool]:
    """The words of the dialect, said simply: for trees without links."""
    out: list[str] = []
    queue, read = deque([(b"", 0)]), 0
    while queue:
        if read == directories:
            return out, True
        read += 1
        above, level = queue.popleft()
        for name in sorted(os.listdir(root + b"/" + above)):
            if len(out) == entries:
                return out, True
            path = above + b"/" + name if above else name
            folder = os.path.isdir(root + b"/" + path)
            out.append(os.fsdecode(path) + ("/" if folder else ""))
            if folder and level < depth:
                queue.append((path, level + 1))
    return out, False


TREES = st.recursive(
    st.none(), lambda below: st.dictionaries(st.sampled_from("abcd.-"), below, max_size=4)
)


def grow(path: Path, tree: Any) -> None:
    if tree is None:
        path.touch()
        return
    path.mkdir(exist_ok=True)
    for name, below in tree.items():
        grow(path / ("x" + name), below)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.dictionaries(st.sampled_from("abcd.-"), TREES, max_size=5),
    depth=st.integers(0, 4),
    directories=st.integers(1, 8),
    entries=st.integers(1, 12),
)
async def test_a_walk_is_what_the_reference_says(
    tmp_path: Path, tree: Any, depth: int, directories: int, entries: int
) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    grow(folder, tree)
    async with box(folder) as b:
        limits: dict[str, Any] = {
            "max_depth": depth,
            "max_directories": directories,
            "max_entries": entries,
        }
        expected = reference(b.path(), depth, directories, entries)
        assert await walked(b, **limits) == expected
        await b.files.copy(CopyParams(b.uri(), b.uri() + "-copy", True))
        copied = await b.files.walk(WalkParams(b.uri() + "-copy", far()))
        assert len(copied.entries) == len(reference(b.path(), 64, 10**6, 10**6)[0])
        await b.files.remove(RemoveParams(b.uri() + "-copy"))
        assert not os.path.exists(b.path() + b"-copy")


async def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can be another user")
    async with box(tmp_path) as b:
        b.make("closed/f")
        b.make("open/f")
        os.chmod(b.path("closed"), 0)
        let_everybody_in(tmp_path)
        os.seteuid(65534)
        try:
            answer = await b.files.walk(WalkParams(b.uri(), far()))
        finally:
            os.seteuid(0)
        assert [each.path for each in answer.entries] == [
            b.uri("closed"),
            b.uri("open"),
            b.uri("open/f"),
        ]
        [error] = answer.errors
        assert (error.path, error.message) == (
            b.uri("closed"),
            f"{os.strerror(errno.EACCES)} (os error {errno.EACCES})",
        )


# --- remove ---------------------------------------------------------------------------------------


async def test_a_tree_is_removed_and_nothing_that_links_in_it_lead_to(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("kept/f", b"kept")
        b.make("t/a/b/f")
        os.symlink("../kept", b.path("t/link"))
        os.symlink("../../kept/f", b.path("t/a/link"))
        os.mkfifo(b.path("t/fifo"))
        os.symlink("t", b.path("to_t"))
        await b.files.remove(RemoveParams(b.uri("to_t")))
        assert os.path.isdir(b.path("t/a"))
        await b.files.remove(RemoveParams(b.uri("t")))
        assert os.listdir(b.path()) == [b"kept"]
        assert b.read("kept/f") == b"kept"


@pytest.mark.parametrize(
    ("name", "options", "code", "text"),
    [
        ("missing", {"force": False}, NOT_FOUND, "os error 2"),
        ("missing", {}, None, ""),
        ("missing/x", {}, None, ""),
        ("full/f/x", {}, INTERNAL_ERROR, "os error 20"),
        ("full", {"recursive": False}, INTERNAL_ERROR, "os error 39"),
        ("link", {"follow_symlinks": False}, INTERNAL_ERROR, "no-follow removal is unsupported"),
        (
            "link",
            {"follow_symlinks": False, "recursive": False},
            INVALID_REQUEST,
            "path contains a symbolic link",
        ),
        ("link/f", {"follow_symlinks": False, "recursive": False}, INTERNAL_ERROR, "os error 20"),
    ],
)
async def test_removals_that_are_refused_or_need_not_be_done(
    tmp_path: Path, name: str, options: dict[str, Any], code: int | None, text: str
) -> None:
    async with box(tmp_path) as b:
        b.make("full/f")
        os.symlink("full", b.path("link"))
        call = b.files.remove(RemoveParams(b.uri(name), **options))
        if code is None:
            await call
        else:
            error = await refused(call)
            assert error.code == code
            assert text in error.message
        assert os.path.exists(b.path("link/f"))


@pytest.mark.parametrize("root", ["file:///", "//", "/..", "/usr/..", "/usr/bin/../../."])
async def test_the_root_is_not_removed_and_nothing_below_it(
    tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removing, "_empty", lambda *_: pytest.fail("it would be emptied"))
    async with box(tmp_path) as b:
        error = await refused(b.files.remove(RemoveParams(root)))
        assert error.message.endswith(f"(os error {errno.EBUSY})")


async def test_a_tree_too_deep_for_any_path_or_number_of_descriptors_is_removed(
    tmp_path: Path,
) -> None:
    async with box(tmp_path) as b:
        at = os.open(b.path(), os.O_RDONLY)
        for _ in range(3000):
            os.mkdir(b"deep", dir_fd=at)
            below = os.open(b"deep", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        os.close(at)
        answer = await b.files.walk(WalkParams(b.uri(), far()))
        assert len(answer.entries) == 65
        await b.files.remove(RemoveParams(b.uri("deep")))
        assert os.listdir(b.path()) == []


async def test_a_folder_that_becomes_a_link_while_it_is_removed_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with box(tmp_path) as b:
        b.make("kept/f")
        b.make("t/d/f")
        looked = removing._unlink_files

        def exchange(folder: int) -> list[bytes]:
            """At the moment in which a race would do it: the folder is known to be one."""
            found = looked(folder)
            if b"d" in found:
                os.rename(b.path("t/d"), b.path("moved"))
                os.symlink("../kept", b.path("t/d"))
            return found

        monkeypatch.setattr(removing, "_unlink_files", exchange)
        error = await refused(b.files.remove(RemoveParams(b.uri("t"))))
        assert error.message.endswith((f"(os error {errno.ENOTDIR})", f"(os error {errno.ELOOP})"))
        assert os.path.exists(b.path("kept/f"))
        assert os.path.exists(b.path("moved/f"))


# --- copy -----------------------------------------------------------------------------------------


async def test_a_copy_of_a_file_onto_itself_does_not_empty_it(tmp_path: Path) -> None:
    """The recorded server empties it."""
    async with box(tmp_path) as b:
        b.make("f", b"precious")
        os.link(b.path("f"), b.path("hard"))
        os.symlink("f", b.path("soft"))
        for name in ("f", "hard", "soft"):
            error = await refused(b.files.copy(CopyParams(b.uri("f"), b.uri(name), False)))
            assert error.code == INVALID_REQUEST
            assert b.read("f") == b"precious"


async def test_a_tree_is_copied_into_what_is_there(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("s/x", b"new", 0o750)
        b.make("s/d/y", b"y", 0o444)
        b.make("s/sealed/z", b"z")
        os.symlink("nowhere", b.path("s/link"))
        os.mkfifo(b.path("s/fifo"))
        os.chmod(b.path("s/sealed"), 0o555)
        b.make("t/x", b"old and longer", 0o600)
        b.make("t/other", b"stays")
        await b.files.copy(CopyParams(b.uri("s"), b.uri("t"), True))
        assert sorted(os.listdir(b.path("t"))) == [b"d", b"link", b"other", b"sealed", b"x"]
        assert (b.read("t/x"), b.read("t/d/y"), b.read("t/other")) == (b"new", b"y", b"stays")
        modes = {
            name: os.stat(b.path(f"t/{name}")).st_mode & 0o777 for name in ("x", "d/y", "sealed")
        }
        assert modes == {"x": 0o750, "d/y": 0o444, "sealed": 0o555}
        assert os.readlink(b.path("t/link")) == b"nowhere"
        await b.files.copy(CopyParams(b.uri("s"), b.uri("no/such/folder"), True))
        assert b.read("no/such/folder/sealed/z") == b"z"


@pytest.mark.parametrize(
    ("source", "destination", "recursive", "code", "text"),
    [
        ("missing", "x", False, NOT_FOUND, "os error 2"),
        ("d", "x", False, INVALID_REQUEST, "fs/copy requires recursive: true when sourcePath"),
        ("d", "d", True, INVALID_REQUEST, "cannot copy a directory to itself or one of its desc"),
        ("d", "d/e/f", True, INVALID_REQUEST, "cannot copy a directory to itself or one of its"),
        ("d", "to_d", True, INVALID_REQUEST, "cannot copy a directory to itself or one of its"),
        ("d", "to_d/x", True, INVALID_REQUEST, "cannot copy a directory to itself or one of its"),
        ("d", "f", True, INTERNAL_ERROR, "os error 17"),
        ("f", "d", False, INTERNAL_ERROR, "os error 21"),
        ("f", "no/x", False, NOT_FOUND, "os error 2"),
        ("to_d", "f", False, INTERNAL_ERROR, "os error 17"),
        ("fifo", "x", False, INVALID_REQUEST, "only supports regular files, directories, and sym"),
    ],
)
async def test_copies_that_are_refused(
    tmp_path: Path, source: str, destination: str, recursive: bool, code: int, text: str
) -> None:
    async with box(tmp_path) as b:
        b.make("f", b"f")
        b.make("d/g")
        os.symlink("d", b.path("to_d"))
        os.mkfifo(b.path("fifo"))
        error = await refused(
            b.files.copy(CopyParams(b.uri(source), b.uri(destination), recursive))
        )
        assert error.code == code
        assert text in error.message
        assert b.read("f") == b"f"


async def test_a_sibling_whose_name_goes_on_is_not_below(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("d/f")
        await b.files.copy(CopyParams(b.uri("d"), b.uri("d2"), True))
        assert os.path.exists(b.path("d2/f"))


async def test_copies_between_file_systems_and_of_pseudo_files(tmp_path: Path) -> None:
    other = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        async with box(tmp_path) as b:
            data = bytes(range(256)) * 20_000
            b.make("f", data)
            await b.files.copy(CopyParams(b.uri("f"), f"file://{other}/f", False))
            assert (other / "f").read_bytes() == data
            await b.files.copy(CopyParams("/proc/self/environ", b.uri("environ"), False))
            assert b.read("environ") == Path("/proc/self/environ").read_bytes()
            os.symlink("/dev/full", b.path("full"))
            error = await refused(b.files.copy(CopyParams(b.uri("f"), b.uri("full"), False)))
            assert error.message.endswith("is not a file")
    finally:
        shutil.rmtree(other)


async def test_a_change_whose_caller_is_cancelled_is_brought_to_its_end(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        for number in range(300):
            b.make(f"d/{number}/f")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(b.files.remove, RemoveParams(b.uri("d")))
                await trio.sleep(0.001)
                scope.cancel()
        with trio.fail_after(15):
            while os.path.exists(b.path("d")):  # noqa: ASYNC110
                await trio.sleep(0.002)
