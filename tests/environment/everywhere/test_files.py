"""The files service, the same in every environment."""

import hashlib
import io
import os
import random
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from execnode.client import RpcError, Sandbox, SandboxReport
from tests.environment.everywhere.places import Open
from tests.workspace import workspace

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def test_whole_files(place: Open, tmp_path: Path) -> None:
    async with place() as here:
        files = here.files
        path = tmp_path / "a file ä"
        for data in (b"", b"hello\n", bytes(range(256)), noise(3 * MIB)):
            await files.write(path, data)
            assert path.read_bytes() == data
            assert await files.read(path) == data
        path.chmod(0o640)
        await files.write(path, b"new", atomic=True)
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)


async def test_errors_are_those_of_the_system(place: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "full" / "inner").mkdir(parents=True)
    async with place() as here:
        files = here.files
        with pytest.raises(FileNotFoundError) as caught:
            await files.read(tmp_path / "no")
        assert caught.value.filename == str(tmp_path / "no")
        assert caught.value.strerror == "No such file or directory"
        with pytest.raises(NotADirectoryError):
            await files.listdir(tmp_path / "file")
        with pytest.raises(FileExistsError):
            await files.mkdir(tmp_path / "full", parents=False)
        with pytest.raises(OSError, match="not empty"):
            await files.remove(tmp_path / "full")
        with pytest.raises(FileNotFoundError):
            await files.copy(tmp_path / "no", tmp_path / "other")
        with pytest.raises(IsADirectoryError):
            await files.write(tmp_path, b"x")
        with pytest.raises(RpcError, match="is not a file"):
            await files.read(tmp_path)
        with pytest.raises(ValueError, match="absolute"):
            await files.read("relative")


async def test_names_that_are_no_text(place: Open, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff\n"
    async with place() as here:
        await here.files.write(odd, b"odd")
        assert Path(os.fsdecode(odd)).read_bytes() == b"odd"
        (entry,) = await here.files.listdir(tmp_path)
        assert os.fsencode(entry.path) == odd
        assert await here.files.read(entry.path) == b"odd"


async def test_what_is_there(place: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    async with place() as here:
        files = here.files
        told = await files.stat(tmp_path / "link")
        assert (told.is_file, told.is_dir, told.is_symlink, told.size) == (True, False, True, 5)
        assert abs(told.modified - (tmp_path / "file").stat().st_mtime) < 0.002
        assert (await files.stat(tmp_path)).is_dir
        fifo = await files.stat(tmp_path / "fifo")
        assert (fifo.is_file, fifo.is_dir, fifo.is_symlink) == (False, False, False)
        assert await files.exists(tmp_path / "file")
        assert not await files.exists(tmp_path / "no")
        assert not await files.exists(tmp_path / "file" / "below")
        with pytest.raises(RpcError, match="symbolic link"):
            await files.stat(tmp_path / "link", follow_symlinks=False)
        found = {
            entry.name: (entry.is_file, entry.is_dir) for entry in await files.listdir(tmp_path)
        }
        assert found == {
            "file": (True, False),
            "folder": (False, True),
            "link": (True, False),
            "fifo": (False, False),
        }
        assert await files.realpath(tmp_path / "folder" / ".." / "link") == str(
            (tmp_path / "file").resolve()
        )


async def test_making_copying_walking_and_removing(place: Open, tmp_path: Path) -> None:
    async with place() as here:
        files = here.files
        await files.mkdir(tmp_path / "a" / "b" / "c")
        await files.write(tmp_path / "a" / "one", b"1")
        await files.write(tmp_path / "a" / "b" / "two", b"2")
        await files.copy(tmp_path / "a", tmp_path / "z", recursive=True)
        walk = await files.walk(tmp_path / "z")
        assert walk.entries == [
            (f"{tmp_path}/z/b", "directory"),
            (f"{tmp_path}/z/one", "file"),
            (f"{tmp_path}/z/b/c", "directory"),
            (f"{tmp_path}/z/b/two", "file"),
        ]
        assert (walk.errors, walk.truncated) == ([], False)
        assert (await files.walk(tmp_path / "z", max_entries=1)).truncated
        await files.copy(tmp_path / "a" / "one", tmp_path / "copied")
        assert (tmp_path / "copied").read_bytes() == b"1"
        await files.remove(tmp_path / "z", recursive=True)
        assert not (tmp_path / "z").exists()
        await files.remove(tmp_path / "copied")
        with pytest.raises(FileNotFoundError):
            await files.remove(tmp_path / "copied")
        await files.remove(tmp_path / "copied", force=True)


async def test_handles(place: Open, tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with place() as here:
        async with await here.files.open(path, "replace") as file:
            await file.write(5, b"world")
            await file.write(0, b"hello")
        assert path.read_bytes() == b"helloworld"
        async with await here.files.open(path) as file:
            assert file.size == 10
            assert await file.read(3, 4) == b"lowo"
            assert await file.read(8, 4) == b"ld"
            assert await file.read(100, 4) == b""
            digest = await file.digest(offset=5)
            assert digest == (5, f"sha256:{hashlib.sha256(b'world').hexdigest()}")
        with pytest.raises(RpcError, match="unknown file handle"):
            await file.read(0)
        with suppress(KeyError):
            async with await here.files.open(path, "replace", atomic=True) as file:
                await file.write(0, b"half")
                raise KeyError
        assert path.read_bytes() == b"helloworld"


@pytest.mark.parametrize("size", [0, 1, MIB, 9 * MIB + 7])
async def test_down_and_up(place: Open, tmp_path: Path, size: int) -> None:
    there, here_, back = tmp_path / "there", tmp_path / "here", tmp_path / "back"
    data = noise(size)
    there.write_bytes(data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    async with place() as here:
        files = here.files
        assert await files.download(there, here_) == (size, size, digest)
        assert here_.read_bytes() == data
        assert await files.upload(here_, back) == (size, size, digest)
        assert back.read_bytes() == data
        assert await files.upload(here_, back, atomic=True) == (size, size, digest)
        assert back.read_bytes() == data


async def test_parts_and_what_was_begun_before(place: Open, tmp_path: Path) -> None:
    data = noise(5 * MIB)
    there, part, up = tmp_path / "there", tmp_path / "part", tmp_path / "up"
    there.write_bytes(data)
    async with place() as here:
        files = here.files
        got = await files.download(there, part, offset=MIB + 1, length=2 * MIB)
        assert part.read_bytes() == data[MIB + 1 : 3 * MIB + 1]
        assert got.size == 2 * MIB
        part.write_bytes(data[:1234])
        got = await files.download(there, part, resume=True)
        assert (part.read_bytes(), got.bytes) == (data, 5 * MIB - 1234)
        up.write_bytes(data[: 2 * MIB])
        sent = await files.upload(part, up, resume=True)
        assert (up.read_bytes(), sent.bytes) == (data, 3 * MIB)
        up.write_bytes(b"something else")
        sent = await files.upload(part, up, resume=True)
        assert (up.read_bytes(), sent.bytes) == (data, 5 * MIB)


def tree(folder: Path) -> dict[str, object]:
    """What is in a folder: contents, link targets, modes."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = path.stat().st_mode & 0o777
        else:
            found[name] = (path.stat().st_mode & 0o777, path.read_bytes())
    return found


async def test_trees_both_ways(place: Open, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / ("x" * 120) / "folder").mkdir(parents=True)
    (source / "program").write_bytes(b"#!/bin/sh\n")
    (source / "program").chmod(0o755)
    (source / "link").symlink_to("program")
    (source / "deep" / "big").write_bytes(noise(3 * MIB + 5))
    async with place() as here:
        await here.files.download_tree(source, tmp_path / "down")
        assert tree(tmp_path / "down") == tree(source)
        await here.files.mkdir(tmp_path / "up")
        await here.files.upload_tree(source, tmp_path / "up")
        assert tree(tmp_path / "up") == tree(source)
        stream = b"".join([chunk async for chunk in here.files.read_archive(source)])
        with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
            names = archive.getnames()
        assert {"program", "link", "deep/big"} <= {name.removeprefix("./") for name in names}
        with pytest.raises(FileNotFoundError):
            await here.files.download_tree(tmp_path / "no", tmp_path / "nothing")


async def test_an_archive_that_ends_too_early_is_no_success(place: Open, tmp_path: Path) -> None:
    async def half() -> AsyncIterator[bytes]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w|") as archive:
            member = tarfile.TarInfo("file")
            member.size = 100_000
            archive.addfile(member, io.BytesIO(bytes(100_000)))
        yield buffer.getvalue()[:50_000]

    async with place() as here:
        with pytest.raises((OSError, RpcError)):
            await here.files.write_archive(half(), tmp_path)


async def test_changes_are_told(place: Open, tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with place() as here, here.files.watch(tmp_path) as watch:
            path = tmp_path / "file"
            path.write_bytes(b"x")
            seen: set[tuple[str, str]] = set()
            while (str(path), "created") not in seen:
                seen |= {(change.path, change.kind) for change in (await anext(watch)).changes}
            path.unlink()
            while (str(path), "deleted") not in seen:
                seen |= {(change.path, change.kind) for change in (await anext(watch)).changes}


async def test_a_watch_of_nothing_is_an_error(place: Open, tmp_path: Path) -> None:
    async with place() as here:
        with pytest.raises(FileNotFoundError):
            async with here.files.watch(tmp_path / "no"):
                pass


async def test_missing_files_that_appear(place: Open, tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with place() as here:
            async with here.files.watch_missing([tmp_path / "a" / "b"], present=tmp_path) as watch:
                assert watch is not None
                (tmp_path / "a").mkdir()
                await watch.wait()
            async with here.files.watch_missing([tmp_path / "a"]) as watch:
                assert watch is None


# --- in a sandbox ---------------------------------------------------------------------------------


@pytest.fixture
def work() -> Iterator[Path]:
    with workspace() as folder:
        (folder / "ws").mkdir()
        (folder / "ws/.git").mkdir()
        (folder / "ws/file").write_text("data")
        (folder / "secret").write_text("secret")
        yield folder


async def test_files_within_a_sandbox(place: Open, work: Path) -> None:
    inner = work / "ws"
    writing = Sandbox.workspace_write(inner, temporary=False, deny=[work / "secret"])
    async with place() as here:
        inside = here.files.within(writing)
        assert (inside.sandbox, here.files.sandbox) == (None, None)
        await inside.write(inner / "new", b"new")
        assert inside.sandbox == SandboxReport("namespaces")
        assert await inside.read(inner / "new") == b"new"
        assert not await here.files.within(Sandbox.read_only()).exists(inner / "no")
        for refused in (inner / ".git/x", work / "x"):
            with pytest.raises(OSError, match="Read-only"):
                await inside.write(refused, b"")
        with pytest.raises(PermissionError):
            await inside.read(work / "secret")
        assert await here.files.read(work / "secret") == b"secret"
        assert here.files.sandbox is None


async def test_one_sandbox_takes_the_place_of_another(place: Open, work: Path) -> None:
    async with place() as here:
        reading = here.files.within(Sandbox.workspace_write(work)).within(Sandbox.read_only())
        with pytest.raises(OSError, match="Read-only"):
            await reading.write(work / "x", b"")


async def test_what_takes_several_requests_within_a_sandbox(
    place: Open, work: Path, tmp_path: Path
) -> None:
    inner = work / "ws"
    async with place() as here:
        inside = here.files.within(
            Sandbox.workspace_write(inner, temporary=False, deny=[work / "secret"])
        )
        (tmp_path / "up").mkdir()
        (tmp_path / "up/one").write_bytes(noise(MIB + 5))
        await inside.upload(tmp_path / "up/one", inner / "two", atomic=True)
        assert (await inside.download(inner / "two", tmp_path / "two")).size == MIB + 5
        assert (tmp_path / "two").read_bytes() == noise(MIB + 5)
        await inside.upload_tree(tmp_path / "up", inner)
        assert (inner / "one").read_bytes() == noise(MIB + 5)
        with pytest.raises(OSError, match="Read-only"):
            await inside.upload(tmp_path / "up/one", work / "two")
        with pytest.raises(PermissionError):
            await inside.download(work / "secret", tmp_path / "secret")
        with pytest.raises(RpcError, match="Permission denied"):
            await inside.download_tree(work / "secret", tmp_path / "secrets")
        with pytest.raises((OSError, RpcError), match="Read-only"):
            await inside.upload_tree(tmp_path / "up", work / "other")
        assert inside.sandbox == SandboxReport("namespaces")
        with anyio.fail_after(20):
            async with inside.watch(inner) as watch, here.files.watch(work) as outside:
                (inner / "late").write_bytes(b"")
                for each in (watch, outside):
                    seen: set[str] = set()
                    while str(inner / "late") not in seen:
                        seen |= {change.path for change in (await anext(each)).changes}
