"""What the file services have from the kernel beyond Python's os module."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from execnode.engine import _files
from execnode.engine._files import (
    AT_FDCWD,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    birth_ns,
    crc32c,
    openat2,
)


@pytest.fixture
def folder(tmp_path: Path) -> int:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "inside").symlink_to("d/f")
    (tmp_path / "outside").symlink_to("..")
    (tmp_path / "absolute").symlink_to("/d/f")
    return os.open(tmp_path, os.O_PATH)


def opens(folder: int, path: bytes, resolve: int) -> int:
    """0, or the errno of an attempt."""
    try:
        os.close(openat2(folder, path, os.O_RDONLY, resolve=resolve))
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.parametrize(
    ("path", "resolve", "number"),
    [
        (b"d/f", RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH, 0),
        (b"inside", RESOLVE_BENEATH, 0),
        (b"inside", RESOLVE_NO_SYMLINKS, errno.ELOOP),
        (b"outside", RESOLVE_BENEATH, errno.EXDEV),
        (b"absolute", RESOLVE_BENEATH, errno.EXDEV),
        (b"absolute", RESOLVE_IN_ROOT, 0),
        (b"..", RESOLVE_BENEATH, errno.EXDEV),
        (b"..", RESOLVE_IN_ROOT, 0),
        (b"/proc/self/exe", RESOLVE_NO_MAGICLINKS, errno.ELOOP),
        (b"missing", 0, errno.ENOENT),
        (b"d/f", 1 << 40, errno.EINVAL),
    ],
)
def test_a_path_leads_only_where_it_may(
    folder: int, path: bytes, resolve: int, number: int
) -> None:
    assert opens(folder, path, resolve) == number
    os.close(folder)


def test_descriptors_do_not_reach_children_and_new_files_have_a_mode(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "new")
    descriptor = openat2(AT_FDCWD, path, os.O_CREAT | os.O_WRONLY, mode=0o640)
    assert not os.get_inheritable(descriptor)
    assert os.fstat(descriptor).st_mode & 0o777 == 0o640
    os.close(descriptor)


def test_the_time_of_birth_is_that_of_the_file_or_of_the_link(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    born = birth_ns(AT_FDCWD, os.fsencode(tmp_path / "f"))
    if born is None:
        pytest.skip("this file system keeps no time of birth")
    assert abs(time.time_ns() - born) < 3600 * 10**9
    (tmp_path / "dangling").symlink_to("nowhere")
    link = os.fsencode(tmp_path / "dangling")
    assert birth_ns(AT_FDCWD, link, follow=False) is not None
    with pytest.raises(FileNotFoundError):
        birth_ns(AT_FDCWD, link)


def test_the_check_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4
    assert crc32c(b"6789", crc32c(bytearray(b"12345"))) == 0xE3069283
    assert crc32c(memoryview(b"")) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: _files.inotify_add(-1, b"/", 1),
        lambda: _files.inotify_remove(-1, 1),
        lambda: openat2(-1, b"x", 0),
    ],
)
def test_a_bad_descriptor_is_an_error(call: Callable[[], object]) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        call()
