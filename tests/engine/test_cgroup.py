import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from execnode.engine import Engine
from execnode.engine.cgroup import Cgroup, CgroupPool, CgroupsUnavailable, own_folders
from execnode.engine.tree import Place
from tests.engine.family import DAEMON, Child, Watch, nothing_leaks, write_at
from tests.engine.pump import Pump


@pytest.fixture
def pool() -> Iterator[CgroupPool]:
    try:
        pool = CgroupPool.open(max_free=2)
    except CgroupsUnavailable as error:
        pytest.skip(str(error))
    yield pool
    pool.close()


def start(leaf: Cgroup, script: str) -> Child:
    return Child(Place("cgroup", _cgroup=leaf), script)


def daemon_in(leaf: Cgroup) -> Watch:
    """A daemon whose parent has ended."""
    child = start(leaf, DAEMON)
    assert child.wait() == 0
    return Watch(int(child.line))


# ---- where the cgroup is ----------------------------------------------------------------------


MOUNTS = {
    "unified": "24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate",
    "hybrid": "37 31 0:36 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    "38 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
    "container": "900 890 0:22 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw",
    "namespace": "900 890 0:22 /../../other /mnt rw - cgroup2 cgroup rw",
    "spaces": r"24 1 0:22 / /a\040b\134c rw - cgroup2 cgroup2 rw",
    "version 1": "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
}


@pytest.mark.parametrize(
    ("mount", "membership", "folders"),
    [
        ("unified", "0::/user.slice/a b.scope", ["/sys/fs/cgroup/user.slice/a b.scope"]),
        ("unified", "0::/", ["/sys/fs/cgroup"]),
        ("hybrid", "4:memory:/m\n0::/x", ["/sys/fs/cgroup/unified/x"]),
        ("hybrid", "4:memory:/m", []),
        ("container", "0::/docker/ab/x", ["/sys/fs/cgroup/x"]),
        ("container", "0::/docker/ab", ["/sys/fs/cgroup"]),
        ("container", "0::/docker/abc", []),
        ("namespace", "0::/", []),
        ("unified", "0::/../outside", []),
        ("spaces", "0::/x", ["/a b\\c/x"]),
        ("version 1", "0::/x", []),
    ],
)
def test_the_own_cgroup_is_found_in_each_layout(
    mount: str, membership: str, folders: list[str]
) -> None:
    found = own_folders(MOUNTS[mount] + "\n", membership + "\n")
    assert [str(folder).rstrip("/") for folder in found] == folders


# ---- leaves -----------------------------------------------------------------------------------


def test_a_leaf_is_a_close_on_exec_folder_of_the_pool(pool: CgroupPool) -> None:
    leaf = pool.acquire()
    assert leaf.path.parent == pool.path
    assert os.fstat(leaf.fd).st_ino == leaf.path.stat().st_ino
    assert fcntl.fcntl(leaf.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_leaves_are_distinct_and_used_again_up_to_a_bound(pool: CgroupPool) -> None:
    leaves = [pool.acquire() for _ in range(5)]
    assert len({leaf.path for leaf in leaves}) == 5
    assert all(pool.release(leaf) for leaf in leaves)
    assert sum(path.is_dir() for path in pool.path.iterdir()) == 2
    assert pool.acquire() in leaves


def test_a_leaf_with_a_life_in_it_is_not_taken_back(pool: CgroupPool) -> None:
    leaf = pool.acquire()
    with daemon_in(leaf) as daemon:
        assert pool.populated(leaf)
        assert pool.pids(leaf) == [daemon.pid]
        assert not pool.release(leaf)
        pool.kill(leaf)
        assert daemon.ends()
        assert pool.release(leaf)


def test_a_killed_leaf_is_taken_back_at_once_and_removed_when_empty(pool: CgroupPool) -> None:
    leaf = pool.acquire()
    with daemon_in(leaf) as daemon:
        pool.kill(leaf)
        assert pool.release(leaf)
        assert daemon.ends()
    others = []
    while leaf.path.exists():
        others.append(pool.acquire())
        assert len(others) < 10
    assert leaf not in others


def test_a_kill_reaches_cgroups_that_a_program_made_below_its_own(pool: CgroupPool) -> None:
    leaf = pool.acquire()
    inner = leaf.path / "inner" / "most"
    script = f"mkdir -p {inner}; (setsid sh -c 'echo 0 >{inner}/cgroup.procs; echo $$; sleep 1000')"
    child = start(leaf, script + "& sleep 1000")
    with Watch(int(child.line)) as inmost:
        assert inmost.pid in pool.pids(leaf)
        pool.kill(leaf)
        assert inmost.ends()
        child.wait()


@pytest.mark.parametrize("spoiled", ["nested", "frozen"])
def test_a_leaf_that_a_program_spoiled_is_not_used_again(pool: CgroupPool, spoiled: str) -> None:
    leaf = pool.acquire()
    if spoiled == "nested":
        (leaf.path / "inner").mkdir()
    else:
        write_at(leaf.fd, "cgroup.freeze", "1")
    assert pool.release(leaf)
    assert not leaf.path.exists()


def test_a_signal_goes_to_all_in_the_leaf_and_nobody_else(pool: CgroupPool) -> None:
    leaf, other = pool.acquire(), pool.acquire()
    with daemon_in(leaf) as daemon, daemon_in(other) as stranger:
        assert pool.signal(leaf, signal.SIGTERM) == 1
        assert daemon.ends()
        assert stranger.alive


def test_without_cgroup_kill_a_tree_that_forks_is_killed_by_hand(pool: CgroupPool) -> None:
    leaf = pool.acquire()
    child = start(leaf, "echo; while :; do sleep 1000 & sleep 0.001; done")
    pool._kill_one_by_one(leaf)
    assert child.wait() == -signal.SIGKILL
    leaf.killed = True
    assert pool.release(leaf)


def test_a_removed_folder_is_an_empty_leaf(pool: CgroupPool) -> None:
    leaf = pool.acquire()
    leaf.path.rmdir()
    pool.kill(leaf)
    assert not pool.populated(leaf)
    assert pool.pids(leaf) == []
    assert pool.release(leaf)


def test_too_many_cgroups_are_an_error_of_acquire(pool: CgroupPool) -> None:
    (pool.path / "cgroup.max.descendants").write_text("1")
    pool.acquire()
    with pytest.raises(BlockingIOError) as caught:
        pool.acquire()
    assert caught.value.errno == errno.EAGAIN


# ---- the pool ---------------------------------------------------------------------------------


def test_closing_kills_all_and_removes_the_folders(pool: CgroupPool) -> None:
    with daemon_in(pool.acquire()) as one, daemon_in(pool.acquire()) as two:
        assert pool.close()
        assert one.ends(0)
        assert two.ends(0)
    assert not pool.path.exists()


def test_closing_without_killing_leaves_what_lives(pool: CgroupPool) -> None:
    leaf, empty = pool.acquire(), pool.acquire()
    with daemon_in(leaf) as daemon:
        assert not pool.close(kill=False)
        assert daemon.alive
        assert leaf.path.exists()
        assert not empty.path.exists()
        (leaf.path / "cgroup.kill").write_text("1")
        assert daemon.ends()
    leaf.path.rmdir()
    pool.path.rmdir()


def test_a_new_pool_removes_what_dead_nodes_left_and_nothing_else(pool: CgroupPool) -> None:
    own = pool.path.parent
    stale = own / "execnode-1-dead"
    (stale / "1").mkdir(parents=True)
    foreign = own / f"other-{os.getpid()}"
    foreign.mkdir()
    try:
        assert CgroupPool.open().close()
        assert not stale.exists()
        assert pool.path.exists()
        assert foreign.exists()
    finally:
        foreign.rmdir()


def test_nothing_leaks(pool: CgroupPool) -> None:
    with nothing_leaks():
        another = CgroupPool.open()
        for _ in range(50):
            leaves = [another.acquire() for _ in range(4)]
            for leaf in leaves:
                another.kill(leaf)
                another.signal(leaf, signal.SIGTERM)
                assert another.release(leaf)
        another.close()
    assert not another.path.exists()


def test_a_pool_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with nothing_leaks(), pytest.raises(OSError, match="No such file"):
        CgroupPool._open_in(tmp_path, 1)


# ---- with the engine -------------------------------------------------------------------------


def test_what_starts_after_a_kill_lives(pool: CgroupPool) -> None:
    """A leaf that was killed would kill what the kernel starts into it later."""
    with contextlib.closing(Engine(memory_limit=1 << 20)) as engine:
        pump = Pump(engine)

        def run(script: bytes, *, kill: bool) -> int | None:
            leaf = pool.acquire()
            argv = [b"/bin/sh", b"-c", script]
            process = engine.spawn(argv[:1], argv, [], b"/", cgroup_fd=leaf.fd)
            if kill:
                pool.kill(leaf)
            pump.until(lambda: process.ended)
            assert pool.release(leaf)
            return process.exit_code

        assert run(b"sleep 100", kill=True) is None
        assert run(b"exit 7", kill=False) == 7
