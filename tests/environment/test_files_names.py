"""Folders and names: everything in a folder can be seen and reached."""

import errno
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from execnode.protocol.errors import INTERNAL_ERROR, INVALID_REQUEST, NOT_FOUND
from execnode.protocol.files import (
    CanonicalizeParams,
    CopyParams,
    CreateDirectoryParams,
    DirectoryEntry,
    GetMetadataParams,
    ReadDirectoryParams,
    ReadFileParams,
    RemoveParams,
    WalkParams,
    WriteFileParams,
)
from execnode.protocol.uri import format_path_uri, parse_path_uri
from tests.environment.filing import Box, box, far, let_everybody_in, refused

pytestmark = pytest.mark.trio


async def listed(b: Box, name: str | bytes = b"") -> dict[str, DirectoryEntry]:
    answer = await b.files.read_directory(ReadDirectoryParams(b.uri(name)))
    return {entry.file_name: entry for entry in answer.entries}


async def test_links_that_lead_nowhere_are_listed(tmp_path: Path) -> None:
    """The recorded server leaves them out."""
    async with box(tmp_path) as b:
        os.symlink("nowhere", b.path("dangling"))
        os.symlink("loop", b.path("loop"))
        os.symlink(".", b.path("here"))
        os.mkfifo(b.path("fifo"))
        b.make("f")
        kinds = {name: (e.is_directory, e.is_file) for name, e in (await listed(b)).items()}
        assert kinds == {
            "dangling": (False, False),
            "loop": (False, False),
            "here": (True, False),
            "fifo": (False, False),
            "f": (False, True),
        }


async def test_names_that_are_not_utf8_or_hold_a_newline_are_not_lost(tmp_path: Path) -> None:
    """The recorded server's listings lose them: what it gives does not lead to the file."""
    async with box(tmp_path) as b:
        names = [b"\xff", b"a\nb", b"\xc3", b"%41", b" ", b"\xe2\x82\xac", b"x" * 255, b"\\", b"C:"]
        for name in names:
            b.make(name, name)
        entries = (await b.files.read_directory(ReadDirectoryParams(b.uri()))).entries
        found = set()
        for entry in entries:
            uri = entry.path or b.uri(entry.file_name)
            assert bytes(
                (await b.files.read_file(ReadFileParams(uri))).data_base64
            ) == os.path.basename(parse_path_uri(uri))
            found.add(os.path.basename(parse_path_uri(uri)))
        assert found == set(names)
        assert sum(entry.path is not None for entry in entries) == 2
        walked = await b.files.walk(WalkParams(b.uri(), far()))
        assert {os.path.basename(parse_path_uri(each.path)) for each in walked.entries} == set(
            names
        )
        assert not walked.errors


NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..")
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(NAMES, min_size=1, max_size=6))
async def test_any_name_goes_round(tmp_path: Path, names: set[bytes]) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    async with box(folder) as b:
        for name in names:
            await b.files.write_file(WriteFileParams(b.uri(name), name))
        assert set(os.listdir(b.path())) == names
        entries = (await b.files.read_directory(ReadDirectoryParams(b.uri()))).entries
        uris = [entry.path or b.uri(entry.file_name) for entry in entries]
        assert {os.path.basename(parse_path_uri(uri)) for uri in uris} == names
        for uri in uris:
            real = await b.files.canonicalize(CanonicalizeParams(uri))
            assert real.path == uri
            await b.files.remove(RemoveParams(real.path, recursive=False, force=False))
        assert os.listdir(b.path()) == []


async def test_metadata_is_that_of_the_target(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f", b"12345")
        os.utime(b.path("f"), ns=(0, 1_500_000_000_123_999_999))
        os.symlink("f", b.path("link"))
        os.mkfifo(b.path("fifo"))
        answer = await b.files.get_metadata(GetMetadataParams(b.uri("link")))
        assert (answer.is_file, answer.is_directory, answer.is_symlink) == (True, False, True)
        assert (answer.size, answer.modified_at_ms) == (5, 1_500_000_000_123)
        fifo = await b.files.get_metadata(GetMetadataParams(b.uri("fifo")))
        assert (fifo.is_file, fifo.is_directory, fifo.is_symlink) == (False, False, False)
        root = await b.files.get_metadata(GetMetadataParams("/", follow_symlinks=False))
        assert root.is_directory
        error = await refused(
            b.files.get_metadata(GetMetadataParams(b.uri("link"), follow_symlinks=False))
        )
        assert (error.code, error.message) == (INVALID_REQUEST, "path contains a symbolic link")


async def test_errors_of_paths_have_the_codes_of_the_dialect(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f")
        os.symlink("loop", b.path("loop"))
        for name, code, number in (
            ("missing", NOT_FOUND, errno.ENOENT),
            ("f/x", INTERNAL_ERROR, errno.ENOTDIR),
            ("loop", INTERNAL_ERROR, errno.ELOOP),
            ("x" * 256, INTERNAL_ERROR, errno.ENAMETOOLONG),
        ):
            for call in (
                b.files.get_metadata(GetMetadataParams(b.uri(name))),
                b.files.canonicalize(CanonicalizeParams(b.uri(name))),
                b.files.read_file(ReadFileParams(b.uri(name))),
                b.files.walk(WalkParams(b.uri(name), far(follow_directory_symlinks=True))),
            ):
                error = await refused(call)
                assert (error.code, error.message) == (
                    code,
                    f"{os.strerror(number)} (os error {number})",
                )


@pytest.mark.parametrize(
    ("name", "recursive", "follow", "number"),
    [
        ("f", True, None, errno.EEXIST),
        ("f", False, None, errno.EEXIST),
        ("f/x", True, None, errno.ENOTDIR),
        ("d", False, None, errno.EEXIST),
        ("d", True, None, None),
        ("d/e/g", None, None, None),
        ("p/q", False, None, errno.ENOENT),
        ("to_d", True, None, None),
        ("to_d", True, False, errno.ENOTDIR),
        ("to_d/n", True, False, errno.ENOTDIR),
        ("to_d/n", False, False, errno.ENOTDIR),
        ("to_d/n", True, True, None),
        ("to_f", True, None, errno.EEXIST),
        ("dangling", True, None, errno.EEXIST),
        ("dangling", False, None, errno.EEXIST),
        (b"", True, None, None),
    ],
)
async def test_folders_are_made(
    tmp_path: Path, name: str, recursive: bool | None, follow: bool | None, number: int | None
) -> None:
    async with box(tmp_path) as b:
        b.make("f")
        os.mkdir(b.path("d"))
        os.symlink("d", b.path("to_d"))
        os.symlink("f", b.path("to_f"))
        os.symlink("nowhere", b.path("dangling"))
        call = b.files.create_directory(CreateDirectoryParams(b.uri(name), recursive, follow))
        if number is None:
            await call
            assert os.path.isdir(b.path(name))
        else:
            assert (await refused(call)).message.endswith(f"(os error {number})")


async def test_the_real_path_has_no_links(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("d/f")
        os.symlink("d", b.path("l"))
        os.symlink("l/f", b.path("m"))
        answer = await b.files.canonicalize(CanonicalizeParams(b.uri("m")))
        assert answer.path == format_path_uri(os.path.realpath(b.path("d/f")))


async def test_a_path_longer_than_the_kernel_takes_is_reached(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        deep = "/".join(["d" * 200] * 30)
        await b.files.create_directory(CreateDirectoryParams(b.uri(deep)))
        await b.files.write_file(WriteFileParams(b.uri(deep + "/f"), b"deep"))
        await b.files.write_file(WriteFileParams(b.uri(deep + "/g"), b"1", atomic=True))
        for follow in (None, False):
            answer = await b.files.read_file(ReadFileParams(b.uri(deep + "/f"), follow))
            assert bytes(answer.data_base64) == b"deep"
            about = await b.files.get_metadata(GetMetadataParams(b.uri(deep), follow))
            assert about.is_directory
        assert set(await listed(b, deep)) == {"f", "g"}
        await b.files.copy(CopyParams(b.uri("d" * 200), b.uri("copy"), True))
        walked = await b.files.walk(WalkParams(b.uri("copy"), far()))
        assert [e.kind for e in walked.entries[-2:]] == ["file", "file"]
        assert len(parse_path_uri(walked.entries[-1].path)) > 5900
        assert not walked.errors
        for name in ("d" * 200, "copy"):
            await b.files.remove(RemoveParams(b.uri(name)))
        assert os.listdir(b.path()) == []


async def test_what_a_user_may_not_is_refused(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can be another user")
    async with box(tmp_path) as b:
        b.make("f", b"secret", 0o600)
        b.make("d/f", b"", 0o666)
        os.chmod(b.path("d"), 0o555)
        let_everybody_in(tmp_path)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: b.files.read_file(ReadFileParams(b.uri("f"))),
            lambda: b.files.write_file(WriteFileParams(b.uri("f"), b"")),
            lambda: b.files.write_file(WriteFileParams(b.uri("d/new"), b"")),
            lambda: b.files.write_file(WriteFileParams(b.uri("d/f"), b"", atomic=True)),
            lambda: b.files.remove(RemoveParams(b.uri("d/f"))),
            lambda: b.files.remove(RemoveParams(b.uri("d"))),
            lambda: b.files.copy(CopyParams(b.uri("f"), b.uri("d/c"), False)),
        ]
        os.seteuid(65534)  # of all threads, by the C library
        try:
            errors = [await refused(call()) for call in calls]
        finally:
            os.seteuid(0)
        for error in errors:
            assert (error.code, error.message) == (
                INVALID_REQUEST,
                f"{os.strerror(errno.EACCES)} (os error {errno.EACCES})",
            )
        assert b.read("f") == b"secret"
