"""Limits on whole trees: what can be tried without controllers, and all of it where they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from execnode.engine.cgroup import CgroupPool, CgroupsUnavailable
from execnode.engine.controllers import Controllers, oom_kills, set_limits

# A cgroup of its own for the process that steps aside: the tests' own has other processes.
_ALONE = """
import os
from pathlib import Path
from execnode.engine.cgroup import CgroupPool
from execnode.engine.controllers import step_aside
own = CgroupPool.open()
home = own.acquire()
(home.path / "cgroup.procs").write_text(str(os.getpid()))
reader, writer = os.pipe()
child = os.fork()
if not child:
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
aside = step_aside(home.path)
inside = {int(pid) for pid in (aside / "cgroup.procs").read_text().split()}
print(inside == {os.getpid(), child}, (home.path / "cgroup.procs").read_text() == "")
step_aside(home.path)  # there is nobody left to move
(home.path.parent.parent / "cgroup.procs").write_text(str(os.getpid()))
(home.path.parent.parent / "cgroup.procs").write_text(str(child))
own.close()
"""


@pytest.fixture
def pool() -> CgroupPool:
    try:
        return CgroupPool.open()
    except CgroupsUnavailable as error:
        pytest.skip(str(error))


def available() -> set[str]:
    try:
        opened = CgroupPool.open()
    except CgroupsUnavailable:
        return set()
    try:
        return set((opened.path.parent / "cgroup.controllers").read_text().split())
    finally:
        opened.close()


def test_a_controller_that_is_not_there_is_named_with_what_helps(pool: CgroupPool) -> None:
    try:
        missing = {"pids", "memory", "cpu"} - available()
        lacks = Controllers(pool.path).lacks(sorted(missing))  # type: ignore[arg-type]
        assert set(lacks) == missing
        for name, reason in lacks.items():
            assert f"no controller `{name}`" in reason
            assert "Delegate=yes" in reason
        assert Controllers(pool.path).lacks([]) == {}
        leaf = pool.acquire()
        assert oom_kills(leaf.fd) == 0
    finally:
        pool.close()


def test_a_node_steps_aside_with_its_children(pool: CgroupPool) -> None:
    pool.close()
    done = subprocess.run(
        [sys.executable, "-c", _ALONE], capture_output=True, text=True, timeout=30, input=""
    )
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_others_are_not_moved(pool: CgroupPool) -> None:
    leaf = pool.acquire()
    try:
        with subprocess.Popen(["/bin/sleep", "100"]) as other:
            try:
                (leaf.path / "cgroup.procs").write_text(str(other.pid))
                program = (
                    "from execnode.engine.controllers import step_aside; from pathlib import Path; "
                    f"step_aside(Path({str(leaf.path)!r}))"
                )
                done = subprocess.run(
                    [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
                )
                assert "other processes in the node's cgroup" in done.stderr
                assert (leaf.path / "cgroup.procs").read_text().split() == [str(other.pid)]
            finally:
                other.kill()
    finally:
        pool.close()


@pytest.mark.skipif(
    not {"pids", "memory", "cpu"} <= available(), reason="cgroup v2 lacks controllers here"
)
def test_limits_are_written(pool: CgroupPool) -> None:
    try:
        assert Controllers(pool.path).lacks(["pids", "memory", "cpu"]) == {}
        leaf = pool.acquire()
        set_limits(leaf.fd, {"pids": 7, "memory": 1 << 26, "cpu": 0.5})
        told = {name: Path(leaf.path, name).read_text().strip() for name in ("pids.max", "cpu.max")}
        assert told == {"pids.max": "7", "cpu.max": "50000 100000"}
        assert Path(leaf.path, "memory.max").read_text().strip() == str(1 << 26)
    finally:
        pool.close()
