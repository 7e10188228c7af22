"""Whole files: fs/readFile and fs/writeFile by the service."""

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from execnode.environment.local.files import whole
from execnode.environment.local.files.service import FileSettings
from execnode.protocol.errors import INTERNAL_ERROR, INVALID_REQUEST, NOT_FOUND
from execnode.protocol.files import ReadFileParams, WriteFileParams
from tests.environment.filing import box, refused, until

pytestmark = pytest.mark.trio


async def test_what_was_written_is_read(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        for data in (b"", b"x", bytes(range(256)) * 5000):
            await b.files.write_file(WriteFileParams(b.uri("f"), data))
            assert bytes((await b.files.read_file(ReadFileParams(b.uri("f")))).data_base64) == data
            assert b.read("f") == data


async def test_a_file_keeps_its_mode_and_a_new_one_has_the_usual(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("old", b"long before", 0o640)
        for atomic in (False, True):
            await b.files.write_file(WriteFileParams(b.uri("old"), b"new", atomic=atomic))
            assert (os.stat(b.path("old")).st_mode & 0o7777, b.read("old")) == (0o640, b"new")
            name = f"new{atomic}"
            await b.files.write_file(WriteFileParams(b.uri(name), b"", atomic=atomic))
            umask = os.umask(0)
            os.umask(umask)
            assert os.stat(b.path(name)).st_mode & 0o7777 == 0o666 & ~umask


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_write_follows_links_also_one_that_leads_nowhere(
    tmp_path: Path, atomic: bool
) -> None:
    async with box(tmp_path) as b:
        b.make("d/f", b"old")
        os.symlink("d/f", b.path("link"))
        os.symlink("d/missing", b.path("dangling"))
        for name in ("link", "dangling"):
            await b.files.write_file(WriteFileParams(b.uri(name), b"new", atomic=atomic))
            assert os.path.islink(b.path(name))
            assert b.read(name) == b"new"
        assert sorted(os.listdir(b.path("d"))) == [b"f", b"missing"]


@pytest.mark.parametrize("name", ["link", "dangling", "loop"])
async def test_a_link_that_may_not_be_followed_is_a_loop(tmp_path: Path, name: str) -> None:
    async with box(tmp_path) as b:
        b.make("f", b"safe")
        os.symlink("f", b.path("link"))
        os.symlink("nowhere", b.path("dangling"))
        os.symlink("loop", b.path("loop"))
        read = ReadFileParams(b.uri(name), follow_symlinks=False)
        write = WriteFileParams(b.uri(name), b"x", follow_symlinks=False)
        atomic = WriteFileParams(b.uri(name), b"x", follow_symlinks=False, atomic=True)
        for call in (
            b.files.read_file(read),
            b.files.write_file(write),
            b.files.write_file(atomic),
        ):
            error = await refused(call)
            assert error.code == INTERNAL_ERROR
            assert error.message.endswith("(os error 40)")
        assert b.read("f") == b"safe"
        assert sorted(os.listdir(b.path())) == [b"dangling", b"f", b"link", b"loop"]


async def test_a_link_before_the_last_name_is_no_folder(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("d/f")
        os.symlink("d", b.path("link"))
        for name in ("link/f", "link/missing", "f/x"):
            error = await refused(
                b.files.read_file(ReadFileParams(b.uri(name), follow_symlinks=False))
            )
            missing = name == "f/x"
            assert error.code == (NOT_FOUND if missing else INTERNAL_ERROR)
            assert error.message.endswith(
                f"(os error {errno.ENOENT if missing else errno.ENOTDIR})"
            )


async def test_what_is_no_file_is_neither_opened_nor_waited_for(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        os.mkfifo(b.path("fifo"))
        os.mkdir(b.path("d"))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(b.path("socket"))
        listener.close()
        for path in (b.path("fifo"), b.path("d"), b.path("socket"), b"/dev/zero", b"/dev/tty"):
            error = await refused(b.files.read_file(ReadFileParams(path.decode())))
            assert error.code == INVALID_REQUEST
            assert error.message == f"path `{path.decode()}` is not a file"
        # A writer of the FIFO would have noticed a reader.
        with pytest.raises(OSError, match="No such device"):
            os.open(b.path("fifo"), os.O_WRONLY | os.O_NONBLOCK)
        error = await refused(b.files.write_file(WriteFileParams(b.uri("fifo"), b"x")))
        assert (error.code, error.message) == (
            INTERNAL_ERROR,
            f"{os.strerror(errno.ENXIO)} (os error {errno.ENXIO})",
        )


async def test_pseudo_files_are_read_to_their_end(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        data = bytes((await b.files.read_file(ReadFileParams("/proc/self/environ"))).data_base64)
        assert data == Path("/proc/self/environ").read_bytes()
        many = bytes((await b.files.read_file(ReadFileParams("/proc/kallsyms"))).data_base64)
        assert len(many) > 1 << 17


async def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        os.truncate(b.make("large"), whole.READ_LIMIT + 1)
        error = await refused(b.files.read_file(ReadFileParams(b.uri("large"))))
        assert (error.code, error.message) == (
            INVALID_REQUEST,
            "file is too large to read: limit is 536870912 bytes",
        )


async def test_large_reads_take_turns(tmp_path: Path) -> None:
    """The recorded server needs 3.5 GB of memory for one file of 512 MiB."""
    size = 8 << 20
    async with box(tmp_path, FileSettings(read_memory=size)) as b:
        os.truncate(b.make("large"), size)
        held = b.files._memory.take(size)
        await held.__aenter__()
        done: list[int] = []

        async def read() -> None:
            answer = await b.files.read_file(ReadFileParams(b.uri("large")))
            done.append(len(answer.data_base64))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)
            await until(lambda: len(b.files._memory._queue) == 3)
            assert not done
            await held.__aexit__(None, None, None)
        assert done == [size] * 3
        assert b.files._memory._left == size


async def test_a_cancelled_read_gives_back_its_turn_and_its_file(tmp_path: Path) -> None:
    async with box(tmp_path, FileSettings(read_memory=1 << 20)) as b:
        os.truncate(b.make("large"), 64 << 20)
        for _ in range(10):
            with trio.move_on_after(0.002):
                await b.files.read_file(ReadFileParams(b.uri("large")))
        assert b.files._memory._left == 1 << 20
        assert not b.files._memory._queue


async def test_a_full_device_is_an_error(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        os.symlink("/dev/full", b.path("full"))
        error = await refused(b.files.write_file(WriteFileParams(b.uri("full"), b"x")))
        assert (error.code, error.message) == (
            INTERNAL_ERROR,
            f"{os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})",
        )
        error = await refused(b.files.write_file(WriteFileParams(b.uri("full"), b"x", atomic=True)))
        assert error.message == "path `/dev/full` is not a file"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("mounting takes privilege")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_write_that_does_not_fit_is_an_error_and_an_atomic_one_leaves_the_old_file(
    small_disk: Path,
) -> None:
    async with box(small_disk) as b:
        b.make("f", b"old")
        big = bytes(1 << 20)
        error = await refused(b.files.write_file(WriteFileParams(b.uri("f"), big, atomic=True)))
        assert error.message.endswith(f"(os error {errno.ENOSPC})")
        assert (os.listdir(b.path()), b.read("f")) == ([b"f"], b"old")
        error = await refused(b.files.write_file(WriteFileParams(b.uri("f"), big)))
        assert (error.code, error.message) == (
            INTERNAL_ERROR,
            f"{os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})",
        )


async def test_readers_see_the_old_file_or_the_new_one_and_nothing_between(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        versions = {bytes([digit]) * 200_000 for digit in range(8)}
        b.make("f", next(iter(versions)))
        seen = set()

        async def write(data: bytes) -> None:
            await b.files.write_file(WriteFileParams(b.uri("f"), data, atomic=True))

        async with trio.open_nursery() as nursery:
            for data in versions:
                nursery.start_soon(write, data)
            for _ in range(50):
                seen.add(b.read("f"))
                await trio.lowlevel.checkpoint()
        assert seen <= versions
        assert os.listdir(b.path()) == [b"f"]


async def test_an_atomic_write_where_a_folder_is(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        os.mkdir(b.path("d"))
        for name in ("d", b""):
            error = await refused(
                b.files.write_file(WriteFileParams(b.uri(name), b"", atomic=True))
            )
            assert error.message.endswith(f"(os error {errno.EISDIR})")
        error = await refused(b.files.write_file(WriteFileParams(b.uri("no/f"), b"", atomic=True)))
        assert error.code == NOT_FOUND
        assert os.listdir(b.path()) == [b"d"]
