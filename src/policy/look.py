"""The only part of the policy that looks at the machine: where paths lead, and what matches.

It reads the metadata of files, the names in folders and the small text files by which a git
worktree tells its repository. It changes nothing. A search for a pattern visits a whole tree, so
whoever has an event loop calls this in a thread.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from execnode.policy.glob import Glob
from execnode.policy.plan import join, parent

__all__ = [
    "End",
    "Match",
    "Place",
    "git_folders",
    "identity",
    "is_file",
    "is_folder",
    "is_placeholder",
    "matches",
    "resolve",
]

_LINKS_MAX: Final = 40  # path_resolution(7)
_GIT_FILE_MAX: Final = 8192
# The mode of an empty folder that a sandbox has put where no name may come into being (missing.h):
# for another sandbox the name is missing, too.
_PLACEHOLDER: Final = stat.S_IFDIR | stat.S_ISVTX | 0o555
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
# Bytes of the path of a folder that is searched: with a name in it, it is still a path.
_SEARCHED_MAX: Final = 3800


class End(Enum):
    """How the way along a path ends."""

    FOUND = auto()
    MISSING = auto()  # `real` is a folder, which has no such name
    NO_FOLDER = auto()  # `real` is none, and the path goes on
    SHUT = auto()  # we may not look into `real`
    NEVER = auto()  # too many links, or a name too long: no such file can be made either


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads.

    links: the symbolic links on the way, each by a path without links.
    real: the last file or folder on the way that there is.
    rest: the names after it.
    """

    end: End
    links: tuple[bytes, ...]
    real: bytes
    rest: tuple[bytes, ...] = ()

    @property
    def target(self) -> bytes:
        """The whole path without links, whether it exists or not."""
        path = self.real
        for name in self.rest:
            path = join(path, name)
        return path


@dataclass(frozen=True, slots=True)
class Match:
    """A path that matches a pattern; its folder has no links in it, itself it may be one."""

    path: bytes
    link: bool


def resolve(path: bytes, may_look: Callable[[bytes], bool] | None = None) -> Place:
    """Follow an absolute path as the kernel would (path_resolution(7)).

    may_look: whether to look at what is at a path without links; what may not be looked at is SHUT.
    """
    real, folder = b"/", True
    links: list[bytes] = []
    left = _names(path)[::-1]
    while left:
        if not folder:
            return Place(End.NO_FOLDER, tuple(links), real, tuple(left[::-1]))
        name = left.pop()
        if name == b"..":
            real = parent(real)
            continue
        here = join(real, name)
        if may_look is not None and not may_look(here):
            return Place(End.SHUT, tuple(links), real, (name, *left[::-1]))
        try:
            mode = os.lstat(here).st_mode
            if _is_marked(mode) and _is_empty(here):
                return Place(End.MISSING, tuple(links), real, (name, *left[::-1]))
            link = stat.S_ISLNK(mode)
            target = os.readlink(here) if link else None  # noqa: PTH115 (bytes)
        except OSError as error:
            return Place(_end(error), tuple(links), real, (name, *left[::-1]))
        if target is None:
            real, folder = here, stat.S_ISDIR(mode)
            continue
        if len(links) == _LINKS_MAX:
            return Place(End.NEVER, tuple(dict.fromkeys(links)), real, (name, *left[::-1]))
        links.append(here)
        if target.startswith(b"/"):
            real = b"/"
        left += _names(target)[::-1]
    return Place(End.FOUND, tuple(links), real)


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name not in (b"", b".")]


def _end(error: OSError) -> End:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return End.MISSING
        case errno.ENAMETOOLONG:
            return End.NEVER
    return End.SHUT


def is_folder(path: bytes) -> bool:
    """Whether a path is a folder, and not a link to one."""
    return _is(path, stat.S_ISDIR)


def is_file(path: bytes) -> bool:
    """Whether a path is a regular file, and not a link to one."""
    return _is(path, stat.S_ISREG)


def identity(path: bytes) -> tuple[int, int]:
    """What tells the file at a path from another one there: device and inode, zeros for none."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def is_placeholder(path: bytes) -> bool:
    """Whether a path is there only because a sandbox keeps its name from being made."""
    return _is(path, _is_marked) and _is_empty(path)


def _is_marked(mode: int) -> bool:
    return mode & ~stat.S_ISGID == _PLACEHOLDER


def _is_empty(folder: bytes) -> bool:
    """Whether nothing is in a folder: a program inside may have given it any mode."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except FileNotFoundError:  # it was just removed
        return True
    except OSError:
        return False


def _is(path: bytes, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.lstat(path).st_mode)
    except OSError:
        return False


# --- patterns -------------------------------------------------------------------------------------


def matches(
    base: bytes, glob: Glob, max_depth: int | None, go_on: Callable[[], None]
) -> Iterator[Match]:
    """Find what matches below a folder, whose path has no links in it. Links are not entered.

    max_depth: levels of folders that are looked into, the base being the first; None for all. A
    folder that cannot be searched counts as a match, unless it is somebody else's who keeps us out:
    from inside it could be opened. go_on: called for each folder; what it raises ends the search.
    Raises OSError when the system has no room for one.
    """
    pending = [(base, glob.start, 1)]
    while pending:
        folder, states, depth = pending.pop()
        go_on()
        try:
            with os.scandir(folder) as entries:
                listed = [
                    (entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False))
                    for entry in entries
                ]
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            if not _is_out_of_reach(folder, error):
                yield Match(folder, False)
            continue
        for name, link, is_dir in listed:
            after, matched = glob.step(states, name)
            path = join(folder, name)
            if matched and not (is_dir and is_placeholder(path)):
                yield Match(path, link)
            if not (is_dir and after and (max_depth is None or depth < max_depth)):
                continue
            if len(path) > _SEARCHED_MAX:
                yield Match(path, False)
            else:
                pending.append((path, after, depth + 1))


def _is_out_of_reach(folder: bytes, error: OSError) -> bool:
    """Whether nobody inside can list a folder that we cannot; it may also be gone."""
    if not isinstance(error, PermissionError):
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    try:
        return os.lstat(folder).st_uid != os.geteuid()
    except OSError as hidden:
        return isinstance(hidden, FileNotFoundError | NotADirectoryError)


# --- git ------------------------------------------------------------------------------------------


def git_folders(git_file: bytes) -> Iterator[bytes]:
    """The folders of the repository that a `.git` file names (gitrepository-layout(5)).

    That is its own folder and, for a worktree, the one that it shares with the others, which has
    the hooks and the configuration. The paths are absolute and not resolved.
    """
    text = _line(git_file)
    if text is None or not text.startswith(b"gitdir: "):
        return
    folder = _from(parent(git_file), text.removeprefix(b"gitdir: "))
    yield folder
    common = _line(join(folder, b"commondir"))
    if common:
        yield _from(folder, common)


def _from(folder: bytes, path: bytes) -> bytes:
    return path if path.startswith(b"/") else join(folder, path)


def _line(path: bytes) -> bytes | None:
    """The text of a small regular file without its line end, None when it is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        text = os.read(fd, _GIT_FILE_MAX)
    finally:
        os.close(fd)
    return text.rstrip(b"\r\n") if b"\0" not in text else None
