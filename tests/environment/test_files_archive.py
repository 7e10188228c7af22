"""Trees as tar streams, both ways."""

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from execnode.protocol.errors import INVALID_REQUEST, NOT_FOUND
from execnode.protocol.files import (
    CloseParams,
    DigestParams,
    OpenArchiveParams,
    ReadBlockParams,
    WriteBlockParams,
)
from tests.environment.filing import Box, archivists, box, let_everybody_in, refused, until

pytestmark = pytest.mark.trio


async def packed(b: Box, name: str, size: int = 1 << 20) -> bytes:
    await b.session.open_archive(OpenArchiveParams("pack", b.uri(name), "read"))
    data = b""
    while True:
        answer = await b.session.read_block(ReadBlockParams("pack", len(data), size))
        data += answer.chunk
        if answer.eof:
            break
    await b.session.close_handle(CloseParams("pack"))
    return data


async def unpack(b: Box, name: str, data: bytes, size: int = 1 << 20) -> None:
    await b.session.open_archive(OpenArchiveParams("x", b.uri(name), "extract"))
    for offset in range(0, len(data), size):
        part = data[offset : offset + size]
        await b.session.write_block(WriteBlockParams("x", offset, part))
    await b.session.close_handle(CloseParams("x"))


def described(root: bytes) -> dict[bytes, tuple[Any, ...]]:
    """All that an archive keeps of a tree."""
    found: dict[bytes, tuple[Any, ...]] = {}
    for above, folders, files in os.walk(root):
        for name in folders + files:
            path = above + b"/" + name
            status = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            kept = (status.st_mode, status.st_mtime_ns, status.st_nlink, content)
            found[path[len(root) :]] = kept if not stat.S_ISDIR(status.st_mode) else kept[:2]
    return found


def plant(b: Box) -> None:
    b.make("t/plain", b"plain" * 50_000)
    b.make("t/empty", b"", 0o600)
    b.make("t/d/program", b"#!/bin/sh\n", 0o755)
    b.make(b"t/\xff\n\xc3", b"odd")
    b.make("t/" + "/".join(["long" * 30] * 10) + "/" + "n" * 255, b"deep")
    os.link(b.path("t/plain"), b.path("t/d/same"))
    os.symlink("d/program", b.path("t/link"))
    os.symlink("../plain", b.path("t/d/up"))
    os.symlink("nowhere", b.path("t/dangling"))
    os.symlink(b"\xfe", b.path(b"t/odd link"))
    os.mkfifo(b.path("t/fifo"))
    os.utime(b.path("t/empty"), ns=(0, 123_456_789_987_654_321))
    os.utime(b.path("t/d/program"), ns=(0, -1_500_000_001))
    os.chmod(b.path("t/d"), 0o500)
    os.utime(b.path("t/d"), ns=(0, 1_000_000_001))


@pytest.mark.parametrize("size", [1, 7, 511, 100_000, 1 << 20])
async def test_a_tree_goes_through_a_stream_whole(tmp_path: Path, size: int) -> None:
    async with box(tmp_path) as b:
        plant(b)
        if size < 500:
            os.unlink(b.path("t/plain"))
            os.unlink(b.path("t/d/same"))
        data = await packed(b, "t", max(size, 500))
        await unpack(b, "new", data, max(size, 500 if len(data) > 100_000 else size))
        expected = described(b.path("t"))
        del expected[b"/fifo"]  # what is neither file, folder nor link stays where it is
        assert described(b.path("new")) == expected
        if size > 500:
            assert os.path.samefile(b.path("new/plain"), b.path("new/d/same"))


async def test_tar_of_others_understands_it_and_is_understood(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        plant(b)
        os.unlink(b.path("t/fifo"))
        os.mkdir(b.path("gnu"))
        data = await packed(b, "t")
        await trio.run_process(["tar", "-xpf", "-", "-C", os.fsdecode(b.path("gnu"))], stdin=data)
        assert described(b.path("gnu")) == described(b.path("t"))
        for form in ("gnu", "pax"):
            command = ["tar", f"--format={form}", "-cf", "-", "-C", os.fsdecode(b.path("t")), "."]
            made = await trio.run_process(command, capture_stdout=True, stderr=subprocess.DEVNULL)
            await unpack(b, form, made.stdout)
            there, expected = described(b.path(form)), described(b.path("t"))
            if form == "gnu":  # it has whole seconds
                there = {name: (v[0], *v[2:]) for name, v in there.items()}
                expected = {name: (v[0], *v[2:]) for name, v in expected.items()}
            assert there == expected


async def test_a_single_file_is_a_member_by_its_name(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("d/f", b"data")
        await unpack(b, "new", await packed(b, "d/f"))
        assert b.read("new/f") == b"data"
        os.mkdir(b.path("nothing"))
        await unpack(b, "empty", await packed(b, "nothing"))
        assert os.listdir(b.path("empty")) == []
        error = await refused(
            b.session.open_archive(OpenArchiveParams("p", b.uri("missing"), "read"))
        )
        assert error.code == NOT_FOUND


async def test_blocks_follow_one_another(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("t/f", b"x" * 5000)
        await b.session.open_archive(OpenArchiveParams("p", b.uri("t"), "read"))
        error = await refused(b.session.read_block(ReadBlockParams("p", 1, 10)))
        assert error.code == INVALID_REQUEST
        first = await b.session.read_block(ReadBlockParams("p", 0, 10))
        error = await refused(b.session.read_block(ReadBlockParams("p", 0, 10)))
        assert error.message.endswith("the next offset is 10")
        # Asked for all at once, they are read in the order of asking.
        parts: dict[int, bytes] = {}

        async def read(offset: int, call: Any) -> None:
            parts[offset] = (await call).chunk

        async with trio.open_nursery() as nursery:
            for offset in range(10, 1000, 10):
                call = b.session.read_block(ReadBlockParams("p", offset, 10))
                nursery.start_soon(read, offset, call)
        assert len(first.chunk + b"".join(parts.values())) == 1000
        error = await refused(b.session.digest(DigestParams("p", "sha256")))
        assert error.code == INVALID_REQUEST
        error = await refused(b.session.write_block(WriteBlockParams("p", 1000, b"x")))
        assert error.code == INVALID_REQUEST
        await b.session.open_archive(OpenArchiveParams("x", b.uri("new"), "extract"))
        error = await refused(b.session.write_block(WriteBlockParams("x", 1, b"x")))
        assert error.code == INVALID_REQUEST
        error = await refused(b.session.read_block(ReadBlockParams("x", 0, 1)))
        assert error.code == INVALID_REQUEST


def member(name: str, kind: bytes = tarfile.REGTYPE, **more: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


def stream(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for each in members:
            tar.addfile(each, io.BytesIO(bytes(each.size)))
    return out.getvalue()


SYM, LNK = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ([member("/etc/x")], "/etc/x"),
        ([member("../x")], "../x"),
        ([member("a/../../x")], "a/../../x"),
        ([member("dev", tarfile.CHRTYPE)], "dev"),
        ([member("dev", tarfile.BLKTYPE)], "dev"),
        ([member("fifo", tarfile.FIFOTYPE)], "fifo"),
        ([member("l", SYM, linkname="/etc")], "l"),
        ([member("l", SYM, linkname="../x")], "l"),
        ([member("d/l", SYM, linkname="../../x")], "d/l"),
        ([member("d/l", SYM, linkname="x/../../..")], "d/l"),
        ([member("l", SYM, linkname="."), member("l/x")], "l/x"),
        ([member("h", LNK, linkname="/etc/passwd")], "h"),
        ([member("h", LNK, linkname="../outside")], "h"),
        ([member("out/x")], "out/x"),
        ([member("h", LNK, linkname="out/outside")], "h"),
        ([member("x", pax_headers={"mtime": "1e999999999"})], "x"),
        ([member("x", pax_headers={"mtime": "nan"})], "x"),
    ],
)
async def test_nothing_in_a_stream_leads_out(
    tmp_path: Path, members: list[tarfile.TarInfo], named: str
) -> None:
    async with box(tmp_path) as b:
        b.make("outside", b"safe")
        os.mkdir(b.path("new"))
        os.symlink("..", b.path("new/out"))
        error = await refused(unpack(b, "new", stream(*members)))
        assert named in error.message
        assert sorted(os.listdir(b.path())) == [b"new", b"outside"]
        assert b.read("outside") == b"safe"
        assert os.stat(b.path("outside")).st_nlink == 1


async def test_links_that_stay_inside_are_unpacked(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        await unpack(
            b,
            "new",
            stream(
                member("d/f", size=3),
                member("d/e/l", SYM, linkname="../../d/f"),
                member("s", SYM, linkname="./d//f"),
                member("h", LNK, linkname="d/f"),
            ),
        )
        assert os.path.samefile(b.path("new/d/e/l"), b.path("new/d/f"))
        assert os.path.samefile(b.path("new/s"), b.path("new/h"))


@pytest.mark.parametrize(
    "cut",
    [lambda data: data[:700], lambda data: data[:1536], lambda data: b"", lambda data: data[:100]],
)
async def test_a_stream_that_was_cut_is_told_from_a_whole_one(
    tmp_path: Path, cut: Callable[[bytes], bytes]
) -> None:
    async with box(tmp_path) as b:
        whole = stream(member("f", size=1024), member("g", size=10))
        error = await refused(unpack(b, "new", cut(whole)))
        assert error.code == INVALID_REQUEST
        assert error.message.startswith("not a whole tar stream: ")
        error = await refused(unpack(b, "new", b"\xff" * 10_000))
        assert error.message.startswith("not a whole tar stream: ")


async def test_an_extended_header_may_not_fill_the_memory(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        huge = member("x", tarfile.GNUTYPE_LONGNAME, size=1 << 30).tobuf(tarfile.GNU_FORMAT)
        error = await refused(unpack(b, "new", huge + bytes(1 << 20)))
        assert error.message.endswith("an extended header of 1073741824 bytes")


async def test_a_tree_that_cannot_be_read_is_no_whole_stream(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can be another user")
    async with box(tmp_path) as b:
        b.make("t/a", b"a")
        b.make("t/b", b"b", 0)
        let_everybody_in(tmp_path)
        os.seteuid(65534)
        try:
            error = await refused(packed(b, "t"))
        finally:
            os.seteuid(0)
        assert error.code == INVALID_REQUEST
        assert error.message.endswith(os.fsdecode(b.path("t/b")))


async def test_archives_that_are_left_are_given_up(tmp_path: Path) -> None:
    """Descriptors and threads: `box` looks for them."""
    async with box(tmp_path) as b:
        os.truncate(b.make("t/large"), 1 << 30)
        await b.session.open_archive(OpenArchiveParams("p", b.uri("t"), "read"))
        await b.session.read_block(ReadBlockParams("p", 0, 1 << 20))
        await b.session.open_archive(OpenArchiveParams("q", b.uri("t"), "read"))
        await b.session.close_handle(CloseParams("q"))
        await b.session.open_archive(OpenArchiveParams("x", b.uri("new"), "extract"))
        head = member("f", size=1 << 40).tobuf(tarfile.PAX_FORMAT)
        await b.session.write_block(WriteBlockParams("x", 0, head + b"begun"))
        b.session.close()
        await until(lambda: not archivists())
