"""Open files: blocks at offsets, uploads that go on, digests."""

import errno
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execnode.engine._files import crc32c
from execnode.protocol.errors import INTERNAL_ERROR, INVALID_REQUEST, NOT_FOUND
from execnode.protocol.files import (
    CloseParams,
    DigestParams,
    OpenParams,
    ReadBlockParams,
    WriteBlockParams,
)
from tests.environment.filing import Box, box, descriptors, refused

pytestmark = pytest.mark.trio


async def opened(b: Box, name: str, handle: str = "h", **options: Any) -> int | None:
    return (await b.session.open(OpenParams(handle, b.uri(name), **options))).size


async def block(b: Box, offset: int, length: int, handle: str = "h") -> tuple[bytes, bool]:
    answer = await b.session.read_block(ReadBlockParams(handle, offset, length))
    return answer.chunk, answer.eof


async def write(b: Box, offset: int, chunk: bytes, handle: str = "h") -> None:
    await b.session.write_block(WriteBlockParams(handle, offset, chunk))


async def close(b: Box, handle: str = "h") -> None:
    await b.session.close_handle(CloseParams(handle))


async def test_the_end_is_told_exactly_when_fewer_bytes_came(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f", b"0123456789")
        assert await opened(b, "f") == 10
        assert await block(b, 0, 4) == (b"0123", False)
        assert await block(b, 4, 6) == (b"456789", False)
        assert await block(b, 4, 7) == (b"456789", True)
        assert await block(b, 50, 4) == (b"", True)
        await close(b)
        await close(b)
        error = await refused(b.session.read_block(ReadBlockParams("h", 0, 4)))
        assert (error.code, error.message) == (NOT_FOUND, "unknown file handle `h`")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.none() | st.binary(max_size=50),
    mode=st.sampled_from(["replace", "update"]),
    blocks=st.lists(st.tuples(st.integers(0, 100), st.binary(min_size=1, max_size=30)), max_size=8),
    reads=st.lists(st.tuples(st.integers(0, 150), st.integers(1, 60)), max_size=8),
)
async def test_blocks_are_bytes_at_offsets(
    tmp_path: Path,
    before: bytes | None,
    mode: Any,
    blocks: list[tuple[int, bytes]],
    reads: list[tuple[int, int]],
) -> None:
    model = bytearray(before or b"" if mode == "update" else b"")
    async with box(Path(tempfile.mkdtemp(dir=tmp_path))) as b:
        if before is not None:
            b.make("f", before)
        assert await opened(b, "f", mode=mode) == len(model)
        for offset, chunk in blocks:
            await write(b, offset, chunk)
            model += bytes(max(0, offset - len(model)))
            model[offset : offset + len(chunk)] = chunk
        digest = await b.session.digest(DigestParams("h", "sha256"))
        assert (digest.total, digest.digest) == (
            len(model),
            f"sha256:{hashlib.sha256(model).hexdigest()}",
        )
        await close(b)
        assert b.read("f") == model
        await opened(b, "f")
        for offset, length in reads:
            part = bytes(model[offset : offset + length])
            assert await block(b, offset, length) == (part, len(part) < length)
            digest = await b.session.digest(DigestParams("h", "crc32c", offset, length))
            assert (digest.total, digest.digest) == (len(part), f"crc32c:{crc32c(part):08x}")


async def test_an_interrupted_upload_goes_on_where_it_was(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    async with box(tmp_path) as b:
        await opened(b, "f", mode="update")
        await write(b, 0, data[:100_000])
        b.session.close()
        b.session = b.files.open_session(b._notified)
        size = await opened(b, "f", mode="update")
        assert size == 100_000
        digest = await b.session.digest(DigestParams("h", "sha256", 0, size))
        assert digest.digest == f"sha256:{hashlib.sha256(data[:size]).hexdigest()}"
        await write(b, size, data[size:])
        await close(b)
        assert b.read("f") == data


async def test_an_atomic_upload_is_there_when_it_is_closed_and_not_before(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f", b"old", 0o640)
        await opened(b, "f", mode="replace", atomic=True)
        await write(b, 0, b"new")
        assert b.read("f") == b"old"
        await close(b)
        assert (os.listdir(b.path()), b.read("f")) == ([b"f"], b"new")
        assert os.stat(b.path("f")).st_mode & 0o777 == 0o640


async def test_a_client_that_leaves_during_an_atomic_upload_leaves_nothing(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f", b"old")
        await opened(b, "f", mode="replace", atomic=True)
        await write(b, 0, b"new")
        assert len(os.listdir(b.path())) == 2
        b.session.close()
        assert (os.listdir(b.path()), b.read("f")) == ([b"f"], b"old")
        error = await refused(opened(b, "f", mode="read", atomic=True))
        assert error.code == INVALID_REQUEST


async def test_handles_are_for_reading_or_for_writing(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f", b"0123")
        await opened(b, "f")
        error = await refused(write(b, 0, b"x"))
        assert (error.code, error.message) == (
            INTERNAL_ERROR,
            f"{os.strerror(errno.EBADF)} (os error {errno.EBADF})",
        )
        assert await block(b, 0, 4) == (b"0123", False)
        await opened(b, "g", "w", mode="replace")
        error = await refused(block(b, 0, 4, "w"))
        assert error.message.endswith(f"(os error {errno.EBADF})")
        error = await refused(write(b, 0, b"x", "w"))  # that was its end
        assert error.code == NOT_FOUND


async def test_sizes_are_checked_before_anything_else_and_end_no_handle(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        await opened(b, "f", mode="replace")
        for length in (0, (1 << 20) + 1):
            error = await refused(block(b, 0, length, "unknown"))
            assert (error.code, error.message) == (
                INVALID_REQUEST,
                "file read block length must be between 1 and 1048576",
            )
            error = await refused(write(b, 0, bytes(length)))
            assert (error.code, error.message) == (
                INVALID_REQUEST,
                "file write block length must be between 1 and 1048576",
            )
        error = await refused(write(b, 2**63 - 1, b"x"))
        assert error.message == "file write range exceeds the signed 64-bit file offset limit"
        await write(b, 0, b"x" * (1 << 20))
        error = await refused(write(b, 2**62, b"x"))  # no file system has so much
        assert error.message.endswith(f"(os error {errno.EFBIG})")
        assert (await refused(write(b, 0, b"x"))).code == NOT_FOUND


async def test_ids_are_short_and_each_used_once(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f")
        await opened(b, "f", "")
        for handle in ("a" * 33, "é" * 17):
            error = await refused(opened(b, "f", handle))
            assert error.message == "file handle ID must not exceed 32 bytes"
        for number in range(127):
            await opened(b, "f", str(number))
        error = await refused(opened(b, "f", "0"))
        assert error.message == "file handle `0` already exists"
        error = await refused(opened(b, "missing", "one more"))
        assert error.message == "at most 128 file handles may be open per connection"
        await close(b, "0")
        error = await refused(opened(b, "missing", "one more"))
        assert error.code == NOT_FOUND
        await opened(b, "f", "one more")


@pytest.mark.parametrize("mode", ["read", "replace", "update"])
async def test_only_files_are_opened(tmp_path: Path, mode: Any) -> None:
    async with box(tmp_path) as b:
        os.mkfifo(b.path("fifo"))
        os.symlink("/dev/null", b.path("null"))
        os.mkdir(b.path("d"))
        before = descriptors()
        for name in ("fifo", "null", "d"):
            error = await refused(opened(b, name, mode=mode))
            if mode == "read" or name == "null":
                assert error.message == f"path `{os.fsdecode(b.path(name))}` is not a file"
            else:
                number = errno.EISDIR if name == "d" else errno.ENXIO
                assert error.message.endswith(f"(os error {number})")
        assert descriptors() == before


async def test_opening_and_leaving_at_any_moment_loses_no_descriptor(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f", b"x" * 100_000)
        for pause in range(12):
            session = b.files.open_session(b._notified)
            with trio.move_on_after(pause * 0.0002):
                await session.open(OpenParams("r", b.uri("f")))
                await session.open(OpenParams("w", b.uri("g"), "replace", atomic=True))
                await session.digest(DigestParams("r", "sha256"))
                await session.write_block(WriteBlockParams("w", 0, b"x"))
                await session.read_block(ReadBlockParams("r", 0, 1 << 20))
            session.close()
        with trio.fail_after(15):
            while os.listdir(b.path()) != [b"f"]:  # noqa: ASYNC110
                await trio.sleep(0.002)
