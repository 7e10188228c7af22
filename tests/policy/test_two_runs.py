"""What a program inside leaves behind gives the next sandbox no more than it had."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from execnode.protocol.errors import RpcError
from tests.policy.worlds import READ_ALL, WRITE_PROJECT, World, pattern


@pytest.mark.parametrize("mode", [0o1555, 0o3555])
def test_a_full_folder_is_no_placeholder(world: World, mode: int) -> None:
    world.make("way/on/secret", "way/on/kept")
    entries = [READ_ALL, WRITE_PROJECT]
    entries += [world.entry("way/on/secret", "deny"), world.entry("way/on/kept", "read")]
    before = world.plan(*entries)
    for folder in ("way/on", "way"):
        (world.folder / folder).chmod(mode)
    assert world.plan(*entries) == before


def test_a_full_folder_that_matches_is_hidden(world: World) -> None:
    world.make("way/secrets/one")
    (world.folder / "way/secrets").chmod(0o1555)
    plan = world.plan(READ_ALL, WRITE_PROJECT, pattern("**/secrets"))
    world.check(plan, "way/secrets:- way/secrets/one:-")


@pytest.mark.parametrize("mode", [0, 0o444, 0o600])
def test_a_shut_folder_is_not_written_where_something_in_it_is_protected(
    unprivileged_world: World, mode: int
) -> None:
    world = unprivileged_world
    world.make("ws/.git/config")
    (world.folder / "ws").chmod(mode)
    for beside in ("read", "write"):
        plan = world.plan(READ_ALL, WRITE_PROJECT, world.entry(".", beside), roots=["ws"])
        world.check(plan, "ws:r ws/.git:r ws/.git/config:r")


def test_a_folder_that_cannot_be_searched_is_hidden(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.make("way/on/secret")
    _fail(monkeypatch, errno.EIO)
    plan = world.plan(READ_ALL, WRITE_PROJECT, pattern("**/secret"))
    world.check(plan, "way:rw way/on:- way/on/secret:-")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_without_room_for_a_search_there_is_no_plan(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    world.make("way/on/secret")
    _fail(monkeypatch, number)
    with pytest.raises(RpcError, match="could not be searched"):
        world.plan(READ_ALL, WRITE_PROJECT, pattern("**/secret"))


def _fail(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the system fail to list one folder."""
    scandir: Callable[[bytes], object] = os.scandir

    def failing(path: bytes) -> object:
        if path.endswith(b"/on"):
            raise OSError(number, os.strerror(number))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)


def test_what_lies_deeper_than_a_path_can_say_is_hidden(world: World) -> None:
    name = "d" * 200
    here = os.open(world.folder, os.O_RDONLY)
    try:
        for _ in range(25):
            os.mkdir(name, dir_fd=here)
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        plan = world.plan(READ_ALL, WRITE_PROJECT, pattern("**/secret"))
    finally:
        os.close(here)
    [hidden] = [rule.path for rule in plan.rules if rule.path.endswith(name.encode())]
    assert 3800 < len(hidden) < 4090
    assert Path(os.fsdecode(hidden)).is_dir()
