"""Searches for the patterns of sandboxes hold up nobody else, and end with whoever asked."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from execnode.environment.local.exec import LocalExec
from execnode.environment.local.files.service import FileSettings, LocalFiles
from execnode.protocol.codec import JsonCodec
from execnode.protocol.files import ReadFileParams
from execnode.protocol.sandbox import SandboxContext
from tests.environment.test_exec import service, starting, until

pytestmark = pytest.mark.trio

ROOT = {"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"}


def sandbox(folder: Path | None) -> SandboxContext:
    entries: list[Any] = [ROOT]
    if folder is not None:
        pattern = {"type": "glob_pattern", "pattern": f"{folder}/**/*.env"}
        entries.append({"path": pattern, "access": "deny"})
    files = {"type": "restricted", "entries": entries}
    permissions = {"type": "managed", "file_system": files, "network": "restricted"}
    raw = {"permissions": permissions, "windowsSandboxLevel": "disabled"}
    return JsonCodec().decode_params(SandboxContext, raw)


class Endless:
    """A file system in which a folder is only listed when `on` is set."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.on = threading.Event()
        self.asked = 0
        self._scandir = os.scandir
        for name in "abc":
            (folder / name).mkdir()
        monkeypatch.setattr(os, "scandir", self._listed)

    def _listed(self, path: Any = ".") -> Any:
        if isinstance(path, bytes) and path.startswith(bytes(self.folder)):
            self.asked += 1
            self.on.wait()
        return self._scandir(path)


@pytest.fixture
def endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endless]:
    found = Endless(tmp_path, monkeypatch)
    yield found
    found.on.set()


async def _start(execs: LocalExec, folder: Path | None) -> int | None:
    params = replace(starting("exit 7"), sandbox=sandbox(folder))
    process = await execs.start_confined(params, b"/bin/sh")
    process.release()
    await process.wait()
    return process.exit_code


async def test_starts_without_patterns_wait_for_no_search(endless: Endless) -> None:
    async with service() as execs, trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(_start, execs, endless.folder)
        await until(lambda: endless.asked == 4)
        assert await _start(execs, None) == 7
        nursery.cancel_scope.cancel()


async def test_a_search_ends_with_whoever_asked(endless: Endless) -> None:
    async with service() as execs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_start, execs, endless.folder)
            await until(lambda: endless.asked == 1)
            nursery.cancel_scope.cancel()
        endless.on.set()
        assert await _start(execs, endless.folder) == 7
        assert endless.asked == 1 + 4  # the one that was given up, and all of the second


async def test_files_without_patterns_wait_for_no_search(endless: Endless) -> None:
    (endless.folder / "file").write_text("text")
    uri = (endless.folder / "file").as_uri()

    async def read(box: SandboxContext) -> None:
        await files.read_file(ReadFileParams(uri, sandbox=box))

    async with LocalFiles.open(FileSettings(threads=4)) as files, trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(read, sandbox(endless.folder))
        await until(lambda: endless.asked == 4)
        with trio.fail_after(20):
            await read(sandbox(None))
        nursery.cancel_scope.cancel()


async def test_a_plan_is_forgotten_with_the_process(tmp_path: Path) -> None:
    async with service() as execs:
        params = replace(starting("exit 7"), sandbox=sandbox(tmp_path))
        process = await execs.start_confined(params, b"/bin/sh")
        process.release()
        await process.wait_closed()
        await until(lambda: process.confinement and not process.confinement.plan.rules)
        assert process.sandbox_report is not None
