"""Ends: exits and signals, terminate and timeouts, and what becomes of whole trees of processes."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.conftest import Launch
from tests.server.running import ExecSettings, NodeProcess, NodeSettings, alive, gone
from tests.server.wire import Json, Seen, Wire, starting

# A daemon that left its parent, group and session, and holds no output; prints its pid.
DAEMON = "(setsid sh -c 'exec sleep 1000' >/dev/null 2>&1 & echo $!)"
TRAPS = "trap 'echo got-{0}; exit 7' {0}; echo ready; while :; do sleep 0.01; done"
DEAF = "trap '' TERM; echo ready; while :; do sleep 0.01; done"


def ending(seen: Seen) -> tuple[int, str, str | None]:
    assert seen.exited is not None
    return seen.exited["exitCode"], seen.exited["reason"], seen.exited.get("signal")


def daemon(wire: Wire, name: str = "p") -> int:
    """The pid that a process printed."""
    wire.says(b"\n", name)
    return int(wire.seen[name].stdout.split()[0])


@pytest.fixture(params=["cgroup", "lineage"])
def way(request: pytest.FixtureRequest, launch: Launch) -> Iterator[tuple[NodeProcess, str]]:
    """A node that ends trees this way."""
    wanted = request.param == "cgroup"
    node = launch(NodeSettings(execs=ExecSettings(cgroups=wanted)))
    with node.connect() as wire:
        wire.start(["sleep", "1000"])
        found = wire.request("process/terminate", processId="p")["method"]
    if found != request.param:
        pytest.skip(f"here it is by {found}: {node.log}")
    yield node, found
    node.check()


# --- exits and signals ---------------------------------------------------------------------------


def test_every_exit_code_arrives(wire: Wire) -> None:
    for code in range(256):
        wire.call("process/start", **starting(["/bin/sh", "-c", f"exit {code}"], str(code)))
    for code in range(256):
        assert ending(wire.ended(str(code))) == (code, "exit", None)


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "ABRT", "KILL", "USR1", "SEGV", "TERM"])
def test_a_death_by_signal_is_told_as_such(wire: Wire, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    seen = wire.run(f"ulimit -c 0; kill -{name} $$")
    assert ending(seen) == (128 + number, "signal", f"SIG{name}")
    result = wire.request("process/read", processId="p")
    assert (result["exitCode"], result["reason"], result["signal"]) == ending(seen)


def test_a_signal_without_a_name_is_told_by_its_number(wire: Wire) -> None:
    code, reason, name = ending(wire.run(f"kill -{signal.SIGRTMIN + 3} $$"))
    assert (code, reason, name) == (128 + signal.SIGRTMIN + 3, "signal", "SIGRTMIN+3")


@pytest.mark.parametrize(
    ("name", "got"),
    [("interrupt", "INT"), ("INT", "INT"), ("SIGTERM", "TERM"), ("USR2", "USR2"), ("HUP", "HUP")],
)
@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "tty"])
def test_a_signal_reaches_the_program(wire: Wire, name: str, got: str, tty: bool) -> None:
    wire.start(TRAPS.format(got), tty=tty)
    wire.says(b"ready")
    assert wire.request("process/signal", processId="p", signal=name) == {}
    seen = wire.ended()
    assert f"got-{got}".encode() in seen.stdout + seen.pty
    assert ending(seen) == (7, "exit", None)


def test_a_signal_reaches_the_whole_group_and_no_one_else(wire: Wire) -> None:
    wire.start(["sleep", "1000"], "other")
    wire.start("sleep 1000 & echo $!; wait")
    pid = daemon(wire)
    wire.request("process/signal", processId="p", signal="KILL")
    wire.ended()
    assert gone(pid)
    assert not wire.processes()[0]["exited"]


def test_a_signal_to_nobody_does_nothing(wire: Wire) -> None:
    wire.run(["true"])
    for name in ("p", "nobody"):
        assert wire.request("process/signal", processId=name, signal="interrupt") == {}


@pytest.mark.parametrize("name", ["kill -9", "", "SIGNOSUCH", "9", "interrupts", None, 9])
def test_a_signal_that_is_none_is_refused_also_for_nobody(wire: Wire, name: object) -> None:
    assert wire.refused("process/signal", processId="nobody", signal=name).code == -32602


def test_exited_comes_at_once_and_closed_when_the_last_writer_has_left(wire: Wire) -> None:
    wire.start("exec 3<&0; (read x <&3; echo late) & echo now", pipeStdin=True)
    wire.until(lambda: "p" in wire.seen and wire.seen["p"].exited)
    assert wire.seen["p"].stdout == b"now\n"
    # Exited, so nothing to terminate; the child that holds the output goes on.
    assert wire.request("process/terminate", processId="p") == {"running": False}
    wire.request("process/write", processId="p", chunk=b"\n")
    seen = wire.ended()
    assert [(chunk["seq"], chunk["chunk"]) for chunk in seen.chunks] == [
        (1, b"now\n"),
        (3, b"late\n"),
    ]
    assert seen.seq == 4


# --- terminate -----------------------------------------------------------------------------------


def test_terminate_kills_at_once(way: tuple[NodeProcess, str]) -> None:
    node, method = way
    with node.connect() as wire:
        wire.start("trap 'echo got-term' TERM; echo ready; sleep 300 & while :; do sleep 0.1; done")
        wire.says(b"ready")
        result = wire.request("process/terminate", processId="p")
        assert result == {"running": True, "method": method}
        seen = wire.ended()
        assert seen.stdout == b"ready\n"
        assert ending(seen) == (137, "killed", "SIGKILL")
        assert wire.request("process/terminate", processId="p") == {"running": False}
        assert wire.request("process/terminate", processId="nobody") == {"running": False}


def test_terminate_with_a_grace_asks_first(wire: Wire) -> None:
    wire.start(TRAPS.format("TERM"))
    wire.says(b"ready")
    result = wire.request("process/terminate", processId="p", graceMs=10_000)
    assert result["running"] is True
    seen = wire.ended()
    assert seen.stdout == b"ready\ngot-TERM\n"
    assert ending(seen) == (7, "exit", None)


def test_terminate_kills_what_does_not_listen_when_its_grace_is_over(wire: Wire) -> None:
    wire.start(DEAF, graceMs=60)
    wire.says(b"ready")
    begin = time.monotonic()
    wire.request("process/terminate", processId="p")
    assert ending(wire.ended()) == (137, "killed", "SIGKILL")
    assert time.monotonic() - begin > 0.055
    # What terminate says counts more than what the start said.
    wire.start(DEAF, "q", graceMs=100_000)
    wire.says(b"ready", "q")
    wire.request("process/terminate", processId="q", graceMs=0)
    assert ending(wire.ended("q")) == (137, "killed", "SIGKILL")


def test_a_second_terminate_may_be_less_patient(wire: Wire) -> None:
    wire.start(DEAF)
    wire.says(b"ready")
    for _ in range(3):
        wire.request("process/terminate", processId="p", graceMs=100_000)
    assert wire.request("process/terminate", processId="p", graceMs=0)["running"] is True
    assert wire.ended().exit_code == 137


def test_terminate_reaches_the_whole_tree(way: tuple[NodeProcess, str]) -> None:
    node, method = way
    with node.connect() as wire:
        wire.start(f"{DAEMON}; {DAEMON}; sleep 1000")
        wire.until(lambda: wire.seen.get("p") and wire.seen["p"].stdout.count(b"\n") == 2)
        pids = [int(pid) for pid in wire.seen["p"].stdout.split()]
        assert wire.request("process/terminate", processId="p")["method"] == method
        wire.ended()
        assert gone(*pids)


def test_terminate_with_a_grace_reaches_the_whole_tree(way: tuple[NodeProcess, str]) -> None:
    node, _ = way
    with node.connect() as wire:
        wire.start(f"{DAEMON}; sleep 1000")
        pid = daemon(wire)
        wire.request("process/terminate", processId="p", graceMs=10_000)
        assert ending(wire.ended()) == (143, "killed", "SIGTERM")
        assert gone(pid)


def test_leftovers_of_an_exited_process_are_ended_when_asked_for(
    way: tuple[NodeProcess, str],
) -> None:
    node, method = way
    with node.connect() as wire:
        seen = wire.run(DAEMON)
        pid = int(seen.stdout)
        assert wire.request("process/terminate", processId="p") == {"running": False}
        assert alive(pid)
        result = wire.request("process/terminate", processId="p", leftovers=True)
        assert result == {"running": False, "method": method}
        assert gone(pid)
        result = wire.request("process/terminate", processId="p", leftovers=True)
        assert result == {"running": False}


def test_what_holds_the_output_of_an_exited_process_can_be_ended(
    way: tuple[NodeProcess, str],
) -> None:
    node, method = way
    with node.connect() as wire:
        wire.start("sleep 1000 & echo $!")
        wire.until(lambda: "p" in wire.seen and wire.seen["p"].exited)
        pid = int(wire.seen["p"].stdout)
        result = wire.request("process/terminate", processId="p", leftovers=True)
        assert result == {"running": False, "method": method}
        assert wire.ended().exit_code == 0
        assert gone(pid)


@pytest.mark.parametrize("grace", [-1, "1", 1.5, 2**63])
def test_a_grace_that_is_none_is_refused(wire: Wire, grace: object) -> None:
    assert wire.refused("process/terminate", processId="p", graceMs=grace).code == -32602


# --- timeouts ------------------------------------------------------------------------------------


def test_a_timeout_ends_a_process_and_keeps_what_it_said(wire: Wire) -> None:
    seen = wire.run("echo partial; exec sleep 1000", timeoutMs=60)
    assert seen.stdout == b"partial\n"
    assert ending(seen) == (137, "timeout", "SIGKILL")
    result = wire.request("process/read", processId="p")
    assert [chunk["chunk"] for chunk in result["chunks"]] == [b"partial\n"]
    assert result["reason"] == "timeout"


def test_a_timeout_with_a_grace_asks_first(wire: Wire) -> None:
    seen = wire.run(TRAPS.format("TERM"), timeoutMs=60, graceMs=10_000)
    assert seen.stdout == b"ready\ngot-TERM\n"
    assert ending(seen) == (7, "timeout", None)
    seen = wire.run(DEAF, "q", timeoutMs=60, graceMs=60)
    assert ending(seen) == (137, "timeout", "SIGKILL")


def test_a_timeout_does_nothing_to_what_has_ended(wire: Wire) -> None:
    assert ending(wire.run(["true"], timeoutMs=50)) == (0, "exit", None)
    assert ending(wire.run(["true"], "q", timeoutMs=2**63 - 1)) == (0, "exit", None)


def test_a_timeout_reaches_the_whole_tree(way: tuple[NodeProcess, str]) -> None:
    node, _ = way
    with node.connect() as wire:
        wire.start(f"{DAEMON}; sleep 1000", timeoutMs=200)
        pid = daemon(wire)
        assert ending(wire.ended()) == (137, "timeout", "SIGKILL")
        assert gone(pid)


def test_a_timeout_ends_what_only_holds_the_output(way: tuple[NodeProcess, str]) -> None:
    node, _ = way
    with node.connect() as wire:
        seen = wire.run("sleep 1000 & echo $!", timeoutMs=200)
        assert ending(seen) == (0, "exit", None)
        assert gone(int(seen.stdout))


def test_the_first_reason_is_the_one_that_is_told(wire: Wire) -> None:
    wire.start(DEAF, timeoutMs=40, graceMs=200)
    wire.says(b"ready")
    time.sleep(0.1)  # past the timeout, within the grace
    wire.request("process/terminate", processId="p", graceMs=0)
    assert ending(wire.ended()) == (137, "timeout", "SIGKILL")


# --- the node's own end and state ----------------------------------------------------------------


def test_nothing_survives_when_the_node_is_killed(way: tuple[NodeProcess, str]) -> None:
    node, _ = way
    with node.connect() as wire:
        wire.start(f"{DAEMON}; sleep 1000")
        pids = [daemon(wire), *[process["pid"] for process in wire.processes()]]
        node.popen.send_signal(signal.SIGKILL)
        node.popen.wait()
        assert gone(*pids)


def test_orphans_are_buried(wire: Wire, node: NodeProcess) -> None:
    seen = wire.run("(setsid sh -c 'exit 3' >/dev/null 2>&1 & echo $!)")
    assert gone(int(seen.stdout))


def test_a_node_whose_children_are_ignored_by_its_parent_knows_how_they_end(launch: Launch) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    node = launch(prepare=ignore)
    with node.connect() as wire:
        assert ending(wire.run("exit 5")) == (5, "exit", None)
        assert b"SigIgn:\t0000000000000000" in wire.run(["cat", "/proc/self/status"], "q").stdout


def test_the_list_tells_the_state_of_each(wire: Wire) -> None:
    wire.run("echo hello; exit 3", "done")
    wire.start(["sleep", "1000"], "running", tty=True)
    done, running = wire.processes()
    now = time.time() * 1000
    expected: list[Json] = [
        {
            "processId": "done",
            "argv": ["/bin/sh", "-c", "echo hello; exit 3"],
            "cwd": "file:///",
            "tty": False,
            "exited": True,
            "exitCode": 3,
            "closed": True,
            "reason": "exit",
            "clientName": "wire",
            "attached": True,
            "bytes": {"stdout": 6, "stderr": 0},
        },
        {
            "processId": "running",
            "argv": ["sleep", "1000"],
            "cwd": "file:///",
            "tty": True,
            "exited": False,
            "exitCode": None,
            "closed": False,
            "reason": None,
            "clientName": "wire",
            "attached": True,
            "bytes": {"pty": 0},
        },
    ]
    for each, want in zip((done, running), expected, strict=True):
        assert abs(each.pop("startedAtMs") - now) < 60_000
        assert len(each.pop("ref")) == 8
        assert each.pop("pid") > 0
        assert each == want
    assert Path(f"/proc/{wire.processes()[1]['pid']}").exists()
