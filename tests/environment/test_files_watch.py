"""Watches: what is missing, and what changes."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
import trio

from execnode.environment.local.files import watch, watching
from execnode.environment.local.files.inotify import Inotify
from execnode.environment.local.files.watching import CREATE, DELETE, watch_tree
from execnode.protocol import methods
from execnode.protocol.errors import INTERNAL_ERROR, INVALID_REQUEST, NOT_FOUND
from execnode.protocol.files import (
    ChangedNotification,
    MissingChangedNotification,
    UnwatchParams,
    WatchMissingParams,
    WatchParams,
)
from tests.environment.filing import Box, box, refused, until

pytestmark = pytest.mark.trio


async def arm(b: Box, watch_id: int, *missing: str, present: str | None = None) -> bool:
    uris = [b.uri(name) for name in missing]
    there = None if present is None else b.uri(present)
    return (await b.session.watch_missing(WatchMissingParams(watch_id, uris, there))).watching


def alarms(b: Box) -> list[int]:
    return [p.watch_id for _, p in b.told if isinstance(p, MissingChangedNotification)]


CHANGES: list[tuple[str, Callable[[Box], object]]] = [
    ("a file appears", lambda b: b.make("d/m")),
    ("a folder appears", lambda b: os.mkdir(b.path("d/m"))),
    ("a link that leads nowhere appears", lambda b: os.symlink("nowhere", b.path("d/m"))),
    ("it is moved there", lambda b: os.rename(b.path("other"), b.path("d/m"))),
    ("a folder on the way appears", lambda b: os.mkdir(b.path("p"))),
    ("a link on the way appears", lambda b: os.symlink("d", b.path("p"))),
    ("the folder is moved away", lambda b: os.rename(b.path("d"), b.path("e"))),
    ("the link is exchanged", lambda b: os.unlink(b.path("link"))),
    ("what the link leads to gets it", lambda b: b.make("target/m")),
    ("the present file is written", lambda b: b.make("f", b"more")),
    ("the present file is replaced", lambda b: os.rename(b.path("other"), b.path("f"))),
    ("the present file is removed", lambda b: os.unlink(b.path("f"))),
    ("the present file's mode changes", lambda b: os.chmod(b.path("f"), 0o600)),
]


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[n for n, _ in CHANGES])
async def test_what_was_missing_is_told_once(
    tmp_path: Path, change: Callable[[Box], object]
) -> None:
    async with box(tmp_path) as b:
        for name in ("f", "other"):
            b.make(name)
        for name in ("d", "target"):
            os.mkdir(b.path(name))
        os.symlink("target", b.path("link"))
        assert await arm(b, 1, "d/m", "p/q/r", "link/m", present="f")
        started = time.monotonic()
        change(b)
        await b.hears(lambda: alarms(b))
        assert time.monotonic() - started < 5  # of 5 ms; the machine may be busy
        b.make("d/x/y")
        await trio.sleep(0.02)
        assert alarms(b) == [1]
        assert b.told[0][0] == methods.FS_MISSING_CHANGED


async def test_what_does_not_matter_is_not_told(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        os.mkdir(b.path("d"))
        assert await arm(b, 1, "d/m", "p/q", present="d")
        b.make("d/other")
        b.make("x/y")
        os.chmod(b.path("d"), 0o700)
        os.unlink(b.path("d/other"))
        await trio.sleep(0.05)
        assert not b.told
        b.make("d/m")
        await b.hears(lambda: alarms(b) == [1])


async def test_what_cannot_be_watched_is_not(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f")
        os.symlink("nowhere", b.path("dangling"))
        os.symlink("loop", b.path("loop"))
        for number, (missing, present) in enumerate(
            [
                ([], "f"),
                ([f"m{n}" for n in range(65)], None),
                (["m", "f"], None),
                (["dangling"], None),
                (["f/x"], None),
                (["loop/x"], None),
                (["m"], "missing"),
                (["m"], "loop"),
            ]
        ):
            assert not await arm(b, number, *missing, present=present)
        assert await arm(b, 100, *[f"m{n}" for n in range(64)])
        assert not await arm(b, 100, "m")
        assert not await arm(b, 99, "m")
        b.make("m63")
        await b.hears(lambda: alarms(b) == [100])  # a stale id has left it alone


async def test_a_new_watch_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        assert await arm(b, 1, "a")
        assert await arm(b, 2, "b")
        b.make("a")
        b.make("b")
        await b.hears(lambda: alarms(b))
        assert alarms(b) == [2]
        assert await arm(b, 3, "c")
        assert not await arm(b, 4)
        b.make("c")
        await trio.sleep(0.02)
        assert alarms(b) == [2]


async def test_watches_of_clients_that_have_left_are_given_back(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        for _ in range(3):
            session = b.files.open_session(b._notified)
            await session.watch_missing(WatchMissingParams(1, [b.uri("m/n")], b.uri()))
            await session.watch(WatchParams(1, b.uri()))
            assert b.files.inotify._listeners
            session.close()
            assert not b.files.inotify._listeners
        b.make("m")
        await trio.sleep(0.02)
        assert not b.told


# --- fs/watch -------------------------------------------------------------------------------------


def changes(b: Box) -> set[tuple[str, str]]:
    """Paths below the folder, with what happened to them."""
    root = b.uri() + "/"
    return {
        (change.path.removeprefix(root), change.kind)
        for _, told in b.told
        if isinstance(told, ChangedNotification)
        for change in told.changes
    }


def overflowed(b: Box) -> bool:
    return any(isinstance(p, ChangedNotification) and p.overflow for _, p in b.told)


async def test_changes_are_told(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("f")
        b.make("gone")
        b.make("d/e/deep")
        await b.session.watch(WatchParams(7, b.uri()))
        b.make("f", b"x")
        b.make(b"new\n\xff")
        os.unlink(b.path("gone"))
        os.rename(b.path("d/e/deep"), b.path("d/e/moved"))
        expected = {
            ("f", "modified"),
            ("new%0A%FF", "created"),
            ("gone", "deleted"),
            ("d/e/deep", "deleted"),
            ("d/e/moved", "created"),
        }
        await b.hears(lambda: changes(b) >= expected)
        assert changes(b) - expected <= {("new%0A%FF", "modified")}
        assert all(p.watch_id == 7 for _, p in b.told if isinstance(p, ChangedNotification))


async def test_what_is_made_in_a_new_folder_before_it_is_watched_is_told(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        await b.session.watch(WatchParams(1, b.uri()))
        for number in range(30):
            b.make(f"{number}/a/b/c/f")
        names = ("", "/a", "/a/b", "/a/b/c", "/a/b/c/f")
        expected = {(f"{number}{name}", "created") for number in range(30) for name in names}
        await b.hears(lambda: changes(b) >= expected)
        b.told.clear()
        b.make("7/a/b/c/f", b"later")
        await b.hears(lambda: ("7/a/b/c/f", "modified") in changes(b))


async def test_a_folder_that_was_moved_is_told_of_by_its_new_name(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        b.make("d/e/f")
        await b.session.watch(WatchParams(1, b.uri()))
        os.rename(b.path("d"), b.path("n"))
        await b.hears(
            lambda: {("d", "deleted"), ("n", "created"), ("n/e/f", "created")} <= changes(b)
        )
        b.told.clear()
        b.make("n/e/f", b"x")
        await b.hears(lambda: ("n/e/f", "modified") in changes(b))
        assert not any(name.startswith("d") for name, _ in changes(b))


async def test_a_watch_may_stay_on_top(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        os.mkdir(b.path("d"))
        await b.session.watch(WatchParams(1, b.uri(), recursive=False))
        b.make("d/below")
        b.make("f")
        await b.hears(lambda: ("f", "created") in changes(b))
        assert ("d/below", "created") not in changes(b)


async def test_a_file_is_watched_by_its_name(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        for name in ("f", "g", "new"):
            b.make(name)
        await b.session.watch(WatchParams(1, b.uri("f")))
        b.make("g", b"x")
        os.rename(b.path("new"), b.path("f"))
        await b.hears(lambda: changes(b))
        b.make("f", b"y")
        await b.hears(lambda: ("f", "modified") in changes(b))
        assert {name for name, _ in changes(b)} == {"f"}


async def test_the_end_of_the_folder_is_told(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        os.mkdir(b.path("d"))
        await b.session.watch(WatchParams(1, b.uri("d")))
        os.rmdir(b.path("d"))
        await b.hears(lambda: ("d", "deleted") in changes(b))


async def test_ids_and_starts_of_watches(tmp_path: Path) -> None:
    async with box(tmp_path) as b:
        error = await refused(b.session.watch(WatchParams(1, b.uri("missing"))))
        assert error.code == NOT_FOUND
        for number in range(64):
            await b.session.watch(WatchParams(number, b.uri()))
        error = await refused(b.session.watch(WatchParams(3, b.uri())))
        assert (error.code, error.message) == (INVALID_REQUEST, "watch `3` already exists")
        assert (await refused(b.session.watch(WatchParams(64, b.uri())))).code == INVALID_REQUEST
        await b.session.unwatch(UnwatchParams(3))
        await b.session.unwatch(UnwatchParams(3))
        await b.session.watch(WatchParams(64, b.uri()))


async def test_a_client_that_does_not_read_is_told_of_an_overflow_and_costs_no_more(
    tmp_path: Path,
) -> None:
    async with box(tmp_path) as b:
        held = True
        session = b.files.open_session(b._notified, congested=lambda: held)
        await session.watch(WatchParams(1, b.uri()))
        for number in range(watch._WAITING + 100):
            b.make(f"f{number}")
        [listener] = {each for some in b.files.inotify._listeners.values() for each in some}
        assert isinstance(listener, watch.Watch)
        await until(lambda: listener._overflow)
        assert len(listener._changes) <= watch._WAITING
        held = False
        await b.hears(lambda: overflowed(b))
        await trio.sleep(0.02)
        b.told.clear()
        b.make("later")
        await b.hears(lambda: ("later", "created") in changes(b))
        session.close()


async def test_an_overflow_of_the_kernels_queue_is_told(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("the kernel's queue is too long to be filled here")
    async with box(tmp_path) as b:
        b.make("f")
        b.make("g")
        assert await arm(b, 1, "missing")
        await b.session.watch(WatchParams(1, b.uri()))
        files = [os.open(b.path(name), os.O_WRONLY) for name in ("f", "g")]
        for number in range(limit + 10):  # the same event twice in a row would count once
            os.pwrite(files[number % 2], b"x", 0)
        for file in files:
            os.close(file)
        await b.hears(lambda: overflowed(b) and alarms(b) == [1])


async def test_a_kernel_without_more_watches_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "")

    async with box(tmp_path) as b:
        monkeypatch.setattr(watching, "inotify_add", full)
        error = await refused(b.session.watch(WatchParams(1, b.uri())))
        assert error.code == INTERNAL_ERROR
        assert "max_user_watches" in error.message
        assert not await arm(b, 1, "m")


async def test_listeners_share_a_folder_and_leave_it_one_by_one(tmp_path: Path) -> None:
    class Ear:
        def __init__(self) -> None:
            self.heard: list[bytes] = []

        def event(self, watch: int, mask: int, name: bytes) -> None:
            self.heard.append(name)

        def overflow(self) -> None:
            raise AssertionError

    folder = os.fsencode(tmp_path)
    async with anyio.create_task_group() as tasks:
        source = Inotify(tasks)
        source.start()
        one, two = Ear(), Ear()
        with source.adding() as instance:
            numbers = {watch_tree(instance, folder, False).folders[0][0] for _ in range(2)}
            (number,) = numbers
            source.listen(one, number, CREATE)
            source.listen(two, number, DELETE)
        (tmp_path / "a").touch()
        (tmp_path / "a").unlink()
        await until(lambda: two.heard)
        assert (one.heard, two.heard) == ([b"a"], [b"a"])
        source.remove(one, number)
        (tmp_path / "b").touch()
        (tmp_path / "b").unlink()
        await until(lambda: len(two.heard) == 2)
        assert one.heard == [b"a"]
        source.remove(two, number)
        tasks.cancel_scope.cancel()
        source.close()
