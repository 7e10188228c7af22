"""Nothing survives the SIGKILL of a node: real nodes, real guardians."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from execnode.engine import lineage
from execnode.engine.guardian import Guardian
from execnode.engine.tree import Trees
from tests.engine.family import (
    DAEMON,
    Child,
    NodeProcess,
    Watch,
    build_helper,
    eventually,
    nothing_leaks,
)

NOBODY = "65534"
FORKS_ON = "sh -c 'while :; do setsid sleep 1000 & sleep 0.01; done' >/dev/null 2>&1"


@pytest.fixture(scope="session")
def helper() -> Iterator[Path]:
    folder = Path(mkdtemp(prefix="xn-"))
    folder.chmod(0o755)  # for other users
    helper = build_helper(folder)
    yield helper
    helper.unlink()
    folder.rmdir()


@pytest.fixture(params=["cgroup", "lineage", "lineage as nobody"])
def node(request: pytest.FixtureRequest, helper: Path) -> Iterator[NodeProcess]:
    options: list[str | Path] = ["--guardian", helper]
    if request.param == "lineage":
        options += ["--no-cgroups"]
    elif request.param == "lineage as nobody":
        if os.geteuid() != 0:
            pytest.skip("only root may become nobody")
        options += ["--uid", NOBODY]
    with NodeProcess(*options) as node:
        way, _, reason = node.ask("way").partition(" ")
        if way != request.param.split()[0]:
            pytest.skip(reason)
        yield node


def guardian_of(node: NodeProcess) -> Watch:
    pid, alive = node.ask("guardian").split()
    assert alive == "True"
    return Watch(int(pid))


# ---- the node is killed -----------------------------------------------------------------------


def test_nothing_outlives_a_killed_node(node: NodeProcess) -> None:
    parent, running = node.start(f"{DAEMON}; sleep 1000")
    _, orphan = node.start(DAEMON)
    node.ask("wait 1")
    with guardian_of(node) as guardian, Watch(parent) as child:
        with Watch(running) as one, Watch(orphan) as two:
            node.kill()
            assert one.ends()
            assert two.ends()
        assert child.ends()
        assert guardian.ends()


def test_a_tree_that_forks_on_does_not_outlive_a_killed_node(node: NodeProcess) -> None:
    _, forking = node.start(f"({FORKS_ON} & echo $!)")
    place = Path(f"/proc/{forking}/cgroup").read_text(), marks_of(forking)
    with guardian_of(node) as guardian, Watch(forking) as forker:
        node.kill()
        assert forker.ends()
        assert guardian.ends()
    assert eventually(lambda: not any(is_of(place, pid) for pid in lineage.marked(lambda _: True)))


def is_of(place: tuple[str, str], pid: int) -> bool:
    try:
        return place == (Path(f"/proc/{pid}/cgroup").read_text(), marks_of(pid))
    except (FileNotFoundError, ProcessLookupError):
        return False


def marks_of(pid: int) -> str:
    return Path(f"/proc/{pid}/limits").read_text().split("Max realtime timeout")[1]


def test_the_cgroups_of_a_killed_node_are_removed(node: NodeProcess) -> None:
    pid, _ = node.start("echo 0; sleep 1000")
    line = Path(f"/proc/{pid}/cgroup").read_text().rpartition("0::")[2]
    name = next((part for part in line.split("/") if part.startswith("execnode-")), None)
    with guardian_of(node) as guardian:
        node.kill()
        assert guardian.ends()
    assert name is None or not list(Path("/sys/fs/cgroup").rglob(name))


def test_what_a_start_before_and_after_a_refusal_left_is_ended(helper: Path) -> None:
    """A node that fell back from cgroups to marks has a guardian of both."""
    with NodeProcess("--guardian", helper) as node:
        if not node.ask("way").startswith("cgroup"):
            pytest.skip(node.ask("way"))
        _, before = node.start(DAEMON)
        node.ask("disable")
        _, after = node.start(DAEMON)
        with Watch(before) as one, Watch(after) as two:
            node.kill()
            assert one.ends()
            assert two.ends()


# ---- the node lives, or leaves in order -------------------------------------------------------


def test_a_dismissed_guardian_ends_nothing(node: NodeProcess) -> None:
    _, pid = node.start(DAEMON)
    with guardian_of(node) as guardian, Watch(pid) as daemon:
        node.ask("dismiss")
        assert guardian.ends(0)
        assert daemon.alive
        node.kill()
        assert daemon.alive
        os.kill(pid, signal.SIGKILL)


def test_a_guardian_cannot_be_talked_to_and_holds_nothing_open(node: NodeProcess) -> None:
    with guardian_of(node) as guardian:
        cwd = Path(f"/proc/{guardian.pid}/cwd")
        assert eventually(lambda: cwd.readlink() == Path("/"))  # which it does last
        assert descriptors(guardian.pid) == {"0", "1", "2"}
        assert os.getsid(guardian.pid) == guardian.pid
        assert Path(f"/proc/{guardian.pid}/fd/1").readlink() == Path("/dev/null")
        assert Path(f"/proc/{guardian.pid}/comm").read_text() == "execnode-guardi\n"
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            os.kill(guardian.pid, number)
        assert node.ask("guardian") == f"{guardian.pid} True"


def descriptors(pid: int) -> set[str]:
    return {entry.name for entry in Path(f"/proc/{pid}/fd").iterdir()}


def test_a_guardian_takes_little_memory(node: NodeProcess) -> None:
    with guardian_of(node) as guardian:
        assert eventually(lambda: Path(f"/proc/{guardian.pid}/cwd").readlink() == Path("/"))
        status = Path(f"/proc/{guardian.pid}/status").read_text()
        resident_kib = int(status.split("VmRSS:")[1].split()[0])
        assert resident_kib < 2048


def test_the_death_of_a_guardian_is_noticed(node: NodeProcess) -> None:
    with guardian_of(node) as guardian:
        os.kill(guardian.pid, signal.SIGKILL)
        assert guardian.ends()
        assert node.ask("guardian") == f"{guardian.pid} False"
        assert node.ask("dismiss") == "None"


def test_a_stopped_guardian_does_not_hold_up_the_end_of_a_node(node: NodeProcess) -> None:
    with guardian_of(node) as guardian:
        os.kill(guardian.pid, signal.SIGSTOP)
        assert node.ask("dismiss") == "None"
        assert guardian.ends(0)


def test_guardians_come_and_go_without_a_leak(helper: Path) -> None:
    with Trees.open(cgroups=False) as trees, nothing_leaks():
        for _ in range(20):
            guardian = Guardian.start(trees, helper)
            assert guardian is not None
            assert guardian.alive
            guardian.dismiss()
            guardian.dismiss()
            assert not guardian.alive


def test_a_missing_helper_is_an_error_that_leaks_nothing(tmp_path: Path) -> None:
    with Trees.open(cgroups=False) as trees, nothing_leaks(), pytest.raises(FileNotFoundError):
        Guardian.start(trees, tmp_path / "none")


def test_there_is_no_guardian_where_it_could_do_nothing(helper: Path) -> None:
    assert Guardian.start(Trees(None, None, "", None), helper) is None


def test_a_guardian_leaves_unmarked_processes_alone(helper: Path) -> None:
    with Trees.open(cgroups=False) as trees:
        child = Child(trees.place(), "echo; sleep 1000")
        with Trees.open(cgroups=False) as others, Watch(child.pid) as watch:
            done = run(helper, *others.guardian_arguments())
            assert done.returncode == 0
            assert watch.alive
    child.wait()


# ---- by hand ----------------------------------------------------------------------------------


def run(
    helper: Path, *arguments: str, name: str = "execnode-guardian", data: str = ""
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [name, *arguments],
        executable=helper,
        input=data,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--cgroup"],
        ["--cgroup", "relative"],
        ["--lineage", "1"],
        ["--lineage", "2", "1"],
        ["--lineage", "-1", "5"],
        ["--lineage", "0", "5"],
        ["--lineage", "1x", "5"],
        ["--lineage", "1", "18446744073709551615"],
        ["--lineage", "1", "99999999999999999999"],
        ["--unknown"],
    ],
)
def test_bad_options_are_refused_before_anything_is_done(
    helper: Path, arguments: list[str]
) -> None:
    done = run(helper, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: execnode-guardian")
    assert done.stdout == ""


def test_a_guardian_wants_a_pipe(helper: Path) -> None:
    done = subprocess.run(
        ["execnode-guardian", "--lineage", "4611686018427387000", "4611686018427387001"],
        executable=helper,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
    )
    assert done.returncode == 2


@pytest.mark.parametrize("name", ["execnode-helper", "", "/bin/sh"])
def test_an_unknown_name_is_refused(helper: Path, name: str) -> None:
    done = run(helper, name=name)
    assert done.returncode == 2
    assert "execnode-guardian" in done.stderr


def test_a_cgroup_that_is_gone_is_no_failure(helper: Path) -> None:
    assert run(helper, "--cgroup", "/sys/fs/cgroup/no/such").returncode == 0
    assert run(helper, "--cgroup", "/sys/fs/cgroup/no/such", data="q").returncode == 0


def test_any_byte_sends_a_guardian_away(helper: Path) -> None:
    with Trees.open(cgroups=False) as trees:
        child = Child(trees.place(), "echo; sleep 1000")
        with Watch(child.pid) as watch:
            assert run(helper, *trees.guardian_arguments(), data="quit").returncode == 0
            assert watch.alive
            assert run(helper, *trees.guardian_arguments()).returncode == 0
            assert watch.ends()
    child.wait()
