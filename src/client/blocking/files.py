"""The files of a node, for programs without async."""

from collections.abc import AsyncIterator, Iterable, Iterator

from anyio.to_thread import run_sync

from execnode.client import file as _file
from execnode.client import files as _files
from execnode.client import watch as _watch
from execnode.client.filecalls import NodePath
from execnode.client.watch import Changes
from execnode.protocol.sandbox import SandboxContext, SandboxReport

from .calls import Caller, Closing, Facade, Iterating, blocking, context, giving

__all__ = ["File", "Files", "MissingWatch", "Watch"]


class File(Closing[_file.RemoteFile]):
    """A handle, made by `Files.open`; see `execnode.client.RemoteFile`."""

    @property
    def size(self) -> int | None:
        """Bytes at the moment of opening, None when the node does not say."""
        return self._of.size

    read = blocking(_file.RemoteFile.read)
    write = blocking(_file.RemoteFile.write)
    digest = blocking(_file.RemoteFile.digest)


class Watch(Iterating[_watch.Watch, Changes]):
    """Changes below a path, made by `Files.watch`. Iterating never ends by itself."""


class MissingWatch(Facade[_watch.MissingWatch]):
    """A promise to say when one of some missing paths appears, made by `Files.watch_missing`."""

    wait = blocking(_watch.MissingWatch.wait)


def _missing(watch: _watch.MissingWatch | None, call: Caller) -> MissingWatch | None:
    return None if watch is None else MissingWatch(watch, call)


class Files(Facade[_files.Files]):
    """The files of a node; see `execnode.client.Files`, whose names and meanings these are."""

    read = blocking(_files.Files.read)
    write = blocking(_files.Files.write)
    open = giving(_files.Files.open, File)
    download = blocking(_files.Files.download)
    upload = blocking(_files.Files.upload)
    stat = blocking(_files.Files.stat)
    exists = blocking(_files.Files.exists)
    listdir = blocking(_files.Files.listdir)
    walk = blocking(_files.Files.walk)
    mkdir = blocking(_files.Files.mkdir)
    remove = blocking(_files.Files.remove)
    copy = blocking(_files.Files.copy)
    realpath = blocking(_files.Files.realpath)
    download_tree = blocking(_files.Files.download_tree)
    upload_tree = blocking(_files.Files.upload_tree)
    watch = context(_files.Files.watch, Watch)
    watch_missing = context(_files.Files.watch_missing, _missing)

    def within(self, sandbox: SandboxContext) -> "Files":
        """The same files, as far as a process in this sandbox could reach them."""
        return Files(self._of.within(sandbox), self._call)

    @property
    def sandbox(self) -> SandboxReport | None:
        """How the sandbox of the latest answer was enforced, and what of it was not."""
        return self._of.sandbox

    def read_archive(self, path: NodePath) -> Iterator[bytes]:
        """A file or a folder's members as a tar stream, in pieces of up to 1 MiB."""
        pieces = self._of.read_archive(path)
        try:
            yield from Iterating(pieces, self._call)
        finally:
            self._call(pieces.aclose)

    def write_archive(self, chunks: Iterable[bytes], path: NodePath) -> None:
        """Extract a tar stream below a folder of the node. `chunks` may take its time."""
        self._call(self._of.write_archive, _unhurried(chunks), path)


async def _unhurried(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """What is iterated over in a thread, so that nothing else waits for it."""
    source = iter(chunks)
    while (chunk := await run_sync(next, source, None, abandon_on_cancel=True)) is not None:
        yield chunk
