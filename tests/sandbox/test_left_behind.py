"""Nothing stays behind in a workspace, whatever is killed and whenever."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from execnode.engine._pty import sweep_placeholder
from tests.engine.family import eventually
from tests.sandbox.holder import NAMES
from tests.sandbox.test_missing import OPTIONS, children_of, names_in
from tests.sandbox.world import HERE, World

# From the first system call of the launcher until long after the program runs.
MOMENTS_S = [index * 0.0004 for index in range(25)]


def pause(seconds: float) -> None:
    """A moment that nothing announces: any may be the one that is not thought of."""
    time.sleep(seconds * random.uniform(0.8, 1.2))


@pytest.mark.parametrize("group", [False, True])
def test_the_launcher_is_killed_at_any_moment(world: World, group: bool) -> None:
    for moment in MOMENTS_S:
        with world.start(OPTIONS, ["sleep", "1000"], start_new_session=True) as process:
            pause(moment)
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        assert eventually(lambda: names_in(world) == [])


@pytest.mark.parametrize("name", ["execnode-helper", "execnode-keeper", "sleep"])
def test_another_of_its_processes_is_killed_at_any_moment(world: World, name: str) -> None:
    for moment in MOMENTS_S[5:]:
        with world.start(OPTIONS, ["sleep", "1000"], start_new_session=True) as process:
            pause(moment)
            with suppress(ProcessLookupError, KeyError):
                os.kill(children_of(process.pid)[name], signal.SIGKILL)
            process.terminate()
        assert eventually(lambda: names_in(world) == [])


@contextmanager
def node(world: World, way: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A node in small (holder.py), and the launcher of its sandbox."""
    holder = HERE / "holder.py"
    words = [str(word) for word in (holder, world.uid, way, world.workspace, world.helper)]
    with subprocess.Popen(
        [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            word, _, reason = process.stdout.readline().partition(" ")
            if word == "skip":
                pytest.skip(reason)
            yield process, int(word)
        finally:
            process.kill()


@pytest.mark.parametrize("way", ["cgroup", "lineage"])
def test_the_node_is_killed(world: World, way: str) -> None:
    for moment in MOMENTS_S[::3]:
        with node(world, way) as (process, _):
            pause(moment)
            process.kill()
        assert eventually(lambda: names_in(world) == [])


@pytest.mark.parametrize("way", ["cgroup", "lineage"])
def test_the_node_ends_the_whole_tree(world: World, way: str) -> None:
    for moment in MOMENTS_S[::3]:
        with node(world, way) as (process, _):
            pause(moment)
            left, _ = process.communicate("end\n", timeout=20)
            assert left == "\n"


def test_a_sweep_takes_nothing_else(world: World) -> None:
    folder = world.workspace / ".git"
    for mode in (0o755, 0o555, 0o1777):
        folder.mkdir()
        folder.chmod(mode)
        assert sweep_placeholder(os.fsencode(folder))
        assert folder.exists()
        folder.rmdir()
    folder.mkdir()
    folder.chmod(0o1555)
    assert sweep_placeholder(os.fsencode(folder))
    assert not folder.exists()
    assert sweep_placeholder(os.fsencode(folder))
    assert len(NAMES) == 4


def test_a_sweep_leaves_what_is_held(world: World) -> None:
    git = os.fsencode(world.workspace / ".git")
    with world.start(OPTIONS, ["sleep", "1000"]) as process:
        assert eventually(lambda: names_in(world) == [os.fsdecode(name) for name in NAMES])
        assert eventually(lambda: "execnode-helper" in children_of(process.pid))
        assert not sweep_placeholder(git)
        assert world.shell(OPTIONS, "mkdir .git").returncode == 1
        assert (world.workspace / ".git").exists()
        process.terminate()
    assert eventually(lambda: names_in(world) == [])


def test_the_guardian_sweeps_what_it_was_told_of(world: World) -> None:
    """In pieces, more than once, and not what it was to forget."""
    folders = [world.workspace / name for name in ("one", "two", "three" * 40)]
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o1555)
    one, two, three = (os.fsencode(folder) + b"\0" for folder in folders)
    words = ["execnode-guardian", "--lineage", str(1 << 60), str(1 << 60)]
    with subprocess.Popen(words, executable=world.helper, stdin=subprocess.PIPE) as guardian:
        assert guardian.stdin
        for piece in (
            b"+" + one + b"+",
            two + b"+" + three[:50],
            three[50:] + b"-" + two,
            b"+" + one,
        ):
            guardian.stdin.write(piece)
            guardian.stdin.flush()
        guardian.stdin.close()
        assert guardian.wait(10) == 0
    assert [folder.exists() for folder in folders] == [False, True, False]
