"""A files service on a folder of the test's own."""

import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from execnode.environment.local.files.service import FileSettings, LocalFiles
from execnode.protocol.errors import RpcError
from execnode.protocol.files import WalkOptions
from execnode.protocol.uri import format_path_uri


class Box:
    """The service, one client of it, what that was told, and a folder."""

    def __init__(self, files: LocalFiles, root: Path) -> None:
        self.files = files
        self.root = os.fsencode(root)
        self.told: list[tuple[str, msgspec.Struct]] = []
        self.news = trio.Event()
        self.session = files.open_session(self._notified)

    def _notified(self, method: str, params: msgspec.Struct) -> None:
        self.told.append((method, params))
        self.news.set()

    def path(self, name: str | bytes = b"") -> bytes:
        name = name.encode() if isinstance(name, str) else name
        return self.root + (b"/" + name if name else b"")

    def uri(self, name: str | bytes = b"") -> str:
        return format_path_uri(self.path(name))

    def make(self, name: str | bytes, data: bytes = b"", mode: int = 0o644) -> bytes:
        """A file, with the folders above it."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        os.write(descriptor, data)
        os.fchmod(descriptor, mode)
        os.close(descriptor)
        return path

    def read(self, name: str | bytes) -> bytes:
        with open(self.path(name), "rb") as file:
            return file.read()

    async def hears(self, condition: Callable[[], object]) -> None:
        """Wait until it was told something."""
        with trio.fail_after(15):
            while not condition():
                self.news = trio.Event()
                await self.news.wait()


@asynccontextmanager
async def box(root: Path, settings: FileSettings | None = None) -> AsyncIterator[Box]:
    """On leaving, no descriptor and no thread may be left of it."""
    before = descriptors()
    with trio.fail_after(40):
        async with LocalFiles.open(settings) as files:
            made = Box(files, root)
            yield made
            made.session.close()
        await until(lambda: len(descriptors()) <= len(before) and not archivists())


def descriptors() -> list[str]:
    """What this process has open of files, pipes and watches; not what the event loop has."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if not link.startswith(("socket:", "anon_inode:[event")):
            links.append(link)
    return sorted(links)


def archivists() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "execnode archive"]


def let_everybody_in(root: Path) -> None:
    """Open the folders above a folder for other users."""
    for folder in (root, *root.parents):
        if folder == Path(tempfile.gettempdir()):
            return
        folder.chmod(0o755)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what nothing announces."""
    with trio.fail_after(15):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.002)


async def refused(awaitable: Any) -> RpcError:
    """The error of a call."""
    try:
        result = await awaitable
    except RpcError as error:
        return error
    raise AssertionError(f"it was not refused: {result}")


def far(**limits: Any) -> WalkOptions:
    """Walk options with room for everything, but for what is given."""
    return WalkOptions(
        **{
            "max_depth": 64,
            "max_directories": 10_000,
            "max_entries": 50_000,
            "follow_directory_symlinks": False,
            **limits,
        }
    )
