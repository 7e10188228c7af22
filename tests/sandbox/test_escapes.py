"""Nothing gets out: each attempt of attempts.py, on both paths, as root and as nobody."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from execnode.engine._pty import landlock_abi
from tests.sandbox.attempts import ATTEMPTS
from tests.sandbox.conftest import uid_of
from tests.sandbox.world import HERE, PYTHON, World

TOLD_APART = ("protected", "hidden", "missing", "rename_the_w")
NAMESPACED = [
    name for name in ATTEMPTS if any(word in name for word in TOLD_APART)
]  # the fast path knows no such rules


@pytest.fixture(scope="module", params=["root", "nobody"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(uid_of(request.param)) as world:
        world.facts = world.populate()
        yield world


@pytest.fixture
def fresh(world: World) -> World:
    """The world with its workspace as it was, and somebody to be hurt."""
    for entry in world.workspace.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            world.remove(entry)
        else:
            entry.unlink()
    world.make("ws/.git/config", "as it was")
    world.make("ws/secret", "hidden")
    world.make("ws/hidden/file", "hidden")
    world.make("ws/deep/down/kept", "as it was")
    return world


def facts_of(world: World, path: str) -> str:
    return json.dumps({**world.facts, "path": path})


def check(world: World, out: str, err: str, code: int) -> None:
    killed = code in (128 + 31, -31)  # SIGSYS, for a foreign ABI
    assert out.startswith("refused") or killed, f"{out}{err}{code}"
    assert world.unharmed
    assert sorted(path.name for path in world.outside.iterdir()) == ["file", "listener", "mailbox"]
    file = world.outside / "file"
    assert file.read_text() == "of somebody else"
    assert file.stat().st_nlink == 1
    assert world.workspace.is_dir()
    assert (world.workspace / ".git/config").read_text() == "as it was"
    assert (world.workspace / "deep/down/kept").read_text() == "as it was"
    assert (world.workspace / "secret").read_text() == "hidden"
    assert not (world.workspace / ".codex").exists()
    assert not Path(f"/dev/shm/{world.facts['shm_name']}-left").exists()


@pytest.mark.parametrize("name", ATTEMPTS)
def test_namespaces_hold_against(name: str, fresh: World) -> None:
    ws = fresh.workspace
    done = fresh.run(
        ["--profile", "workspace-write", "--read-only", ws / "deep/down/kept",
         "--deny", ws / "secret", "--deny", ws / "hidden"],
        PYTHON, "-I", HERE / "attempts.py", name, facts_of(fresh, "namespaces"),
    )  # fmt: skip
    check(fresh, done.stdout, done.stderr, done.returncode)


@pytest.mark.skipif(landlock_abi() < 6, reason="Landlock ABI 6 is missing")
@pytest.mark.parametrize("name", [name for name in ATTEMPTS if name not in NAMESPACED])
def test_the_fast_path_holds_against(name: str, fresh: World) -> None:
    done = fresh.run_fast(
        [("/", "read")],
        PYTHON, "-I", HERE / "attempts.py", name, facts_of(fresh, "fast"),
    )  # fmt: skip
    check(fresh, done.stdout, done.stderr, done.returncode)
