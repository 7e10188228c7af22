"""Marks, and the killing of whoever carries them. The test process is itself unmarked."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from execnode.engine import lineage
from execnode.engine.lineage import Lineage
from execnode.engine.tree import Place
from tests.engine.family import DAEMON, Child, Watch, eventually, nothing_leaks


@pytest.fixture
def marks() -> Lineage:
    return Lineage.open()


def marked_place(marks: Lineage) -> Place:
    mark = marks.new_mark()
    return Place("lineage", mark, marks.rlimit(mark))


def start_python(place: Place, script: str) -> Child:
    return Child(place, f"exec {sys.executable} -c '{script}'")


def is_mark(place: Place) -> Callable[[int], bool]:
    return place.lineage.__eq__


# ---- numbers ----------------------------------------------------------------------------------


def test_marks_are_distinct_in_the_range_of_the_node_and_in_no_other(marks: Lineage) -> None:
    other = Lineage.open()
    mine = {marks.new_mark() for _ in range(100)}
    assert len(mine) == 100
    assert all(mark in marks and mark not in other for mark in mine)
    assert min(mine) > marks.low
    assert max(mine) < 2**62


def test_the_mark_is_both_limits(marks: Lineage) -> None:
    mark = marks.new_mark()
    assert marks.rlimit(mark) == (mark, mark)


def under_limit(soft: int, hard: int) -> str:
    """What Lineage.open says in a process with this limit."""
    code = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_RTTIME, ({soft}, {hard}))\n"
        "from execnode.engine.lineage import Lineage, LineageUnavailable\n"
        "try:\n"
        "    marks = Lineage.open()\n"
        "    print(marks.low, marks.high, *marks.rlimit(marks.new_mark()))\n"
        "except LineageUnavailable as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_node_below_another_keeps_the_outer_mark_in_the_hard_limit(marks: Lineage) -> None:
    outer = marks.new_mark()
    low, high, soft, hard = map(int, under_limit(outer, outer).split())
    assert low < soft <= high < marks.low
    assert hard == outer
    deeper = under_limit(soft, outer).split()
    assert int(deeper[1]) < low
    assert int(deeper[3]) == outer


def test_a_limit_that_is_meant_is_left_alone() -> None:
    assert under_limit(200_000, 200_000) == "RLIMIT_RTTIME is in use: 200000 microseconds"


# ---- finding and killing ----------------------------------------------------------------------


def test_a_daemon_is_found_by_its_mark_and_killed(marks: Lineage) -> None:
    place, other = marked_place(marks), marked_place(marks)
    child, bystander = Child(place, DAEMON), Child(other, DAEMON)
    child.wait()
    bystander.wait()
    with Watch(int(child.line)) as daemon, Watch(int(bystander.line)) as stranger, nothing_leaks():
        assert lineage.marked(is_mark(place)) == [daemon.pid]
        assert lineage.kill_marked(is_mark(place)) == 1
        assert daemon.ends()
        assert stranger.alive
        assert lineage.signal_marked(is_mark(other), signal.SIGTERM) == 1
        assert stranger.ends()


def test_a_zombie_is_not_alive_and_holds_nothing_up(marks: Lineage) -> None:
    place = marked_place(marks)
    child = Child(place, "echo")
    with Watch(child.pid) as zombie:
        assert zombie.ends()
        assert lineage.marked(is_mark(place)) == []
        assert lineage.kill_marked(is_mark(place)) == 0
    child.wait()


def test_a_process_whose_first_thread_ended_is_alive(marks: Lineage) -> None:
    place = marked_place(marks)
    script = (
        "import ctypes, threading, time\n"
        "def stay():\n"
        '    while open(f"/proc/self/stat").read().split(") ")[1][0] != "Z": pass\n'
        "    print(flush=True); time.sleep(1000)\n"
        "threading.Thread(target=stay).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    child = start_python(place, script)
    assert lineage.marked(is_mark(place)) == [child.pid]
    lineage.kill_marked(is_mark(place))
    assert child.wait() == -signal.SIGKILL


def test_a_tree_that_keeps_forking_is_killed(marks: Lineage) -> None:
    place = marked_place(marks)
    child = Child(place, "echo; while :; do setsid sleep 1000 & sleep 0.001; done")
    lineage.kill_marked(is_mark(place))
    child.wait()
    assert eventually(lambda: not lineage.marked(is_mark(place)))


def test_a_process_that_flees_by_forking_and_exiting_is_caught(marks: Lineage) -> None:
    place = marked_place(marks)
    script = (
        "import os, time\n"
        "end = time.monotonic() + 20\n"
        "print(flush=True)\n"
        "while time.monotonic() < end:\n"
        "    if os.fork(): os._exit(0)\n"
        "os._exit(0)\n"
    )
    start_python(place, script).wait()
    lineage.kill_marked(is_mark(place), patience=15)
    assert eventually(lambda: not lineage.marked(is_mark(place)))
    assert not any(lineage.marked(is_mark(place)) for _ in range(20))


LOWER = f"prlimit --rttime={2**50}:{2**50}"


def test_who_lowers_its_own_limit_is_found_below_a_marked_parent(marks: Lineage) -> None:
    place = marked_place(marks)
    child = Child(place, f"{LOWER} sh -c 'echo $$; sleep 1000; :'; :")
    with Watch(int(child.line)) as lowered:
        assert lineage.marked(is_mark(place)) == [child.pid]
        lineage.kill_marked(is_mark(place))
        assert lowered.ends()
    child.wait()


def test_a_root_is_killed_with_what_is_below_it_though_it_lowered_its_limit(marks: Lineage) -> None:
    place = marked_place(marks)
    child = Child(place, f"exec {LOWER} sh -c 'setsid sleep 1000 >/dev/null & echo $!; wait'")
    with Watch(int(child.line)) as below:
        assert lineage.marked(is_mark(place)) == []
        assert lineage.kill_marked(is_mark(place), roots=[child.pid]) == 2
        assert below.ends()
    assert child.wait() == -signal.SIGKILL


def test_a_program_that_sets_only_its_soft_limit_stays(marks: Lineage) -> None:
    place = marked_place(marks)
    child = Child(place, "exec prlimit --rttime=200000: sh -c 'echo; sleep 1000; :'")
    assert lineage.marked(is_mark(place)) != []
    lineage.kill_marked(is_mark(place))
    assert child.wait() == -signal.SIGKILL


# ---- strangers --------------------------------------------------------------------------------


def test_a_stranger_is_not_killed_by_its_pid(marks: Lineage) -> None:
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        killed: set[int] = set()
        is_ours = partial(lineage._is_marked, stranger.pid, marks.__contains__)
        lineage._kill_tree(stranger.pid, is_ours, killed)
        assert killed == set()
        assert lineage.kill_marked(marks.__contains__) == 0
    finally:
        stranger.terminate()
        assert stranger.wait() == -signal.SIGTERM


def reincarnate(pid: int) -> "subprocess.Popen[bytes] | None":
    """A new process with the pid of one that was waited for, if nobody else takes it first."""
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    stranger = subprocess.Popen(["sleep", "1000"])
    if stranger.pid == pid:
        return stranger
    stranger.kill()
    stranger.wait()
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose the next pid")
def test_a_pid_that_is_recycled_while_it_is_being_killed_is_not_hit() -> None:
    for _ in range(50):
        victim = subprocess.Popen(["sleep", "1000"])
        reborn: list[subprocess.Popen[bytes] | None] = []

        def belongs(
            victim: "subprocess.Popen[bytes]" = victim,
            reborn: "list[subprocess.Popen[bytes] | None]" = reborn,
        ) -> bool:
            """The worst case: the pid changes hands between the pidfd and the answer."""
            victim.kill()
            victim.wait()
            reborn.append(reincarnate(victim.pid))
            return True

        lineage._kill_tree(victim.pid, belongs, set())
        if stranger := reborn[0]:
            with Watch(stranger.pid) as watch:
                assert watch.alive
            stranger.kill()
            stranger.wait()
            return
    pytest.skip("the pid was always taken by somebody else")


def test_children_are_listed_with_and_without_help_of_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = subprocess.Popen(["sleep", "1000"])
    try:
        assert process.pid in lineage.children(os.getpid())
        monkeypatch.setattr(lineage, "_kernel_lists_children", lambda: False)
        assert process.pid in lineage.children(os.getpid())
    finally:
        process.kill()
        process.wait()
    assert process.pid not in lineage.children(os.getpid())


def test_this_process_has_no_mark(marks: Lineage) -> None:
    assert resource.getrlimit(resource.RLIMIT_RTTIME)[0] not in marks
