"""Whole trees by each way, in this process and in nodes of their own."""

import errno
import os
import resource
import select
import signal
import subprocess
from collections.abc import Iterator

import pytest

from execnode.engine import Engine, lineage
from execnode.engine.cgroup import CgroupPool, CgroupsUnavailable
from execnode.engine.tree import Place, Trees
from tests.engine.family import DAEMON, Child, NodeProcess, Watch, eventually, nothing_leaks

NOBODY = "65534"


@pytest.fixture(params=["cgroup", "lineage"])
def trees(request: pytest.FixtureRequest) -> Iterator[Trees]:
    trees = Trees.open(cgroups=request.param == "cgroup")
    if trees.way != request.param:
        trees.close()
        pytest.skip(trees.reason)
    yield trees
    trees.close()


@pytest.fixture(params=["cgroup", "lineage", "lineage as nobody"])
def node(request: pytest.FixtureRequest) -> Iterator[NodeProcess]:
    """A node that is a subreaper."""
    options = ["--subreaper"]
    if request.param == "cgroup":
        try:
            CgroupPool.open().close()
        except CgroupsUnavailable as error:
            pytest.skip(str(error))
    elif request.param == "lineage":
        options += ["--no-cgroups"]
    elif os.geteuid() == 0:
        options += ["--uid", NOBODY]
    else:
        pytest.skip("only root may become nobody")
    with NodeProcess(*options) as node:
        assert node.ask("way").split()[0] == request.param.split()[0]
        yield node


def daemon_of(node: NodeProcess) -> Watch:
    """A daemon whose parent has ended and been waited for; each is process 0 of its node."""
    _, pid = node.start(DAEMON)
    assert node.ask("wait 0") == "0"
    return Watch(pid)


# ---- kill -------------------------------------------------------------------------------------


def test_a_daemon_does_not_outlive_the_kill_of_its_exited_parent(trees: Trees) -> None:
    place, other = trees.place(), trees.place()
    child, bystander = Child(place, DAEMON), Child(other, DAEMON)
    child.wait()
    bystander.wait()
    with Watch(int(child.line)) as daemon, Watch(int(bystander.line)) as stranger, nothing_leaks():
        assert trees.alive(place)
        assert trees.pids(place) == [daemon.pid]
        assert trees.kill(place) == trees.way
        assert daemon.ends()
        assert not trees.alive(place)
        assert stranger.alive


def test_a_kill_ends_parent_and_daemon_together(trees: Trees) -> None:
    place = trees.place()
    child = Child(place, f"{DAEMON}; sleep 1000")
    with Watch(int(child.line)) as daemon:
        assert trees.kill(place, root=child.pid) == place.way
        assert child.wait() == -signal.SIGKILL
        assert daemon.ends()
    assert trees.release(place)


def test_a_signal_reaches_the_daemon_too(trees: Trees) -> None:
    place = trees.place()
    child = Child(place, DAEMON)
    child.wait()
    with Watch(int(child.line)) as daemon:
        assert trees.signal(place, signal.SIGTERM) == 1
        assert daemon.ends()


def test_many_places_are_killed_at_once(trees: Trees) -> None:
    places = [trees.place() for _ in range(10)]
    children = [Child(place, f"{DAEMON}; sleep 1000") for place in places]
    trees.kill_all(places, roots=[child.pid for child in children])
    for child in children:
        assert child.wait() == -signal.SIGKILL
    assert eventually(lambda: not any(trees.pids(place) for place in places))
    assert all(trees.release(place) for place in places)


def take_all_descriptors(taken: list[int]) -> None:
    while True:
        taken.append(os.open("/", os.O_RDONLY | os.O_CLOEXEC))


def test_a_tree_is_killed_without_a_descriptor_to_spare(trees: Trees) -> None:
    place = trees.place()
    child = Child(place, f"{DAEMON}; sleep 1000")
    with Watch(int(child.line)) as daemon:
        taken: list[int] = []
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
            with pytest.raises(OSError, match="Too many open files"):
                take_all_descriptors(taken)
            assert trees.kill(place, root=child.pid) == trees.way
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for fd in taken:
                os.close(fd)
        assert daemon.ends()
    child.wait()


def test_closing_ends_all(trees: Trees) -> None:
    child = Child(trees.place(), f"{DAEMON}; sleep 1000")
    orphan = Child(trees.place(), DAEMON)
    with Watch(int(child.line)) as one, Watch(int(orphan.line)) as two:
        assert orphan.wait() == 0
        assert trees.close()
        assert child.wait() == -signal.SIGKILL
        assert one.ends()
        assert two.ends()


def test_the_engine_starts_a_process_in_its_place(trees: Trees) -> None:
    """With clone3 and CLONE_INTO_CGROUP, or with the mark set before execve."""
    engine = Engine(memory_limit=1 << 20)
    place = trees.place()
    rttime = place.rlimit_rttime
    process = engine.spawn(
        [b"/bin/sh"],
        [b"sh", b"-c", f"{DAEMON}; exec sleep 1000".encode()],
        [b"PATH=/usr/bin:/bin"],
        b"/",
        cgroup_fd=place.cgroup_fd,
        rlimits={} if rttime is None else {resource.RLIMIT_RTTIME: rttime},
    )
    output: list[tuple[int, str, int, bytes]] = []
    while not output:
        select.select([engine], [], [])
        engine.poll()
        output = [*process.read(0, 4096)[0]]
    with Watch(int(output[0][3])) as daemon:
        assert set(trees.pids(place)) >= {process.pid, daemon.pid}
        assert trees.kill(place, root=process.pid) == trees.way
        assert daemon.ends()
    while not process.exited:
        select.select([engine], [], [])
        engine.poll()
    assert process.exit_signal == signal.SIGKILL
    assert trees.release(place)
    engine.close()


# ---- places -----------------------------------------------------------------------------------


def test_a_place_tells_the_spawn_one_way() -> None:
    with Trees.open(cgroups=False) as trees:
        place = trees.place()
        assert place.cgroup_fd == -1
        assert place.rlimit_rttime == (place.lineage, place.lineage)
        assert trees.reason == "no cgroup: not wanted"


def test_after_a_refused_start_the_next_best_way_is_used(trees: Trees) -> None:
    before = trees.place()
    trees.disable_cgroups("clone: Operation not permitted")
    assert trees.way == "lineage"
    assert trees.reason == "no cgroup: clone: Operation not permitted"
    after = trees.place()
    assert after.cgroup_fd == -1
    children = [Child(place, DAEMON) for place in (before, after)]
    for place, child in zip((before, after), children, strict=True):
        child.wait()
        with Watch(int(child.line)) as daemon:
            assert trees.kill(place) == place.way
            assert daemon.ends()
            assert trees.release(place)


def test_where_cgroups_are_used_up_a_place_has_a_lineage() -> None:
    with Trees.open() as trees:
        if trees.way != "cgroup":
            pytest.skip(trees.reason)
        assert trees._pool is not None
        (trees._pool.path / "cgroup.max.descendants").write_text("2")
        ways = [trees.place().way for _ in range(4)]
        assert ways == ["cgroup", "cgroup", "lineage", "lineage"]


def test_places_are_given_back_and_nothing_leaks() -> None:
    with nothing_leaks(), Trees.open() as trees:
        for _ in range(100):
            assert trees.release(trees.place())
        unreleased = trees.place()
        assert trees.release(unreleased)
        assert trees.release(unreleased)


def test_without_either_way_a_root_is_killed_with_its_group_and_descendants() -> None:
    trees = Trees(None, None, "", None)
    place = trees.place()
    assert place == place
    assert (place.way, place.cgroup_fd, place.rlimit_rttime) == ("group", -1, None)
    # One in the group without a parent, one in a session of its own below its parent.
    child = Child(place, "(sleep 1000 >/dev/null & echo $!); exec setsid -f -w sleep 1000")
    with Watch(int(child.line)) as in_group:
        assert trees.kill(place, root=child.pid) == "group"
        assert in_group.ends()
    assert child.wait() == -signal.SIGKILL
    assert trees.release(place)
    trees.close()


def test_a_fork_of_the_node_ends_nothing(trees: Trees) -> None:
    child = Child(trees.place(), "echo; sleep 1000")
    script = "echo"  # any process will do for the wait below
    pid = os.fork()
    if pid == 0:
        trees.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert Child(trees.place(), script).wait() == 0
    with Watch(child.pid) as watch:
        assert watch.alive
    trees.close()
    child.wait()


# ---- a node that is the subreaper -------------------------------------------------------------


def test_a_place_with_a_daemon_is_not_taken_back(node: NodeProcess) -> None:
    with daemon_of(node) as daemon:
        assert node.ask("release 0") == "False"
        assert daemon.alive
        node.ask("kill 0")
        assert daemon.ends()
        assert node.ask("release 0") == "True"


def test_a_place_is_taken_back_when_the_daemon_ended_by_itself(node: NodeProcess) -> None:
    with daemon_of(node) as daemon:
        assert node.ask("release 0") == "False"
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.ends()
        assert node.ask("release 0") == "True"


def test_orphans_are_buried_and_nobody_else(node: NodeProcess) -> None:
    pid, daemon_pid = node.start(f"{DAEMON}; (setsid sleep 1000 &) ; exit 7")
    with Watch(pid) as child:
        assert child.ends()
    with Watch(daemon_pid) as daemon:
        assert node.ask("reap") == "0"
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.ends()
        assert node.ask("reap") == "1"
        assert node.ask("reap") == "0"
    assert node.ask("wait 0") == "7"


def test_the_end_of_a_node_ends_daemons_and_who_left_its_lineage(node: NodeProcess) -> None:
    _, marked = node.start(DAEMON)
    lowered = f"prlimit --rttime={2**50}:{2**50} setsid sleep 1000 >/dev/null 2>&1"
    _, left = node.start(f"({lowered} & echo $!)")
    node.ask("wait 0")
    node.ask("wait 1")
    with Watch(marked) as one, Watch(left) as two:
        assert node.ask("close") == "True"
        assert one.ends()
        assert two.ends()


def test_what_a_node_in_a_node_started_is_killed_with_it() -> None:
    """By marks: the inner node's processes keep the outer mark in their hard limit."""
    with Trees.open(cgroups=False) as outer:
        place = outer.place()
        assert place.rlimit_rttime is not None
        with NodeProcess("--no-cgroups", "--rttime", *map(str, place.rlimit_rttime)) as inner:
            _, pid = inner.start(DAEMON)
            inner.ask("wait 0")
            with Watch(pid) as daemon:
                assert inner.ask("alive 0") == "True"
                outer.kill(place)
                assert daemon.ends()


def test_another_users_process_is_reported_alive() -> None:
    """A program that became somebody else cannot be killed without privilege; nothing pretends."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a process of another user")
    with NodeProcess("--uid", NOBODY, "--no-cgroups") as node:
        pid, _ = node.start("echo 0; sleep 1000")
        limits = lineage._limits(pid)
        assert limits is not None
        other = subprocess.Popen(
            ["prlimit", "--rttime={}:{}".format(*limits), "sh", "-c", "echo; exec sleep 1000"],
            stdout=subprocess.PIPE,
        )
        assert other.stdout is not None
        other.stdout.readline()
        with Watch(other.pid) as root_owned:
            assert node.ask("kill 0") == "lineage"
            node.ask("wait 0")
            assert root_owned.alive
            assert node.ask("alive 0") == "True"
            assert node.ask("close") == "True"
            assert root_owned.alive
        other.kill()
        other.communicate()


def test_emfile_of_a_start_is_the_callers_to_hear() -> None:
    with Trees.open() as trees:
        if trees.way != "cgroup":
            pytest.skip(trees.reason)
        places: list[Place] = []
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files") as caught:
                places.extend(trees.place() for _ in range(100))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert caught.value.errno == errno.EMFILE
