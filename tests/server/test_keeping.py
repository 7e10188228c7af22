"""How long a finished process is kept, and for whom; processes that are only looked at."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.server.conftest import Launch
from tests.server.running import ExecLimits, ExecSettings, NodeProcess, NodeSettings, gone
from tests.server.wire import Refused, Wire, eventually, resumed, starting

BRIEF = ExecSettings(limits=ExecLimits(keep_seconds=0.05))
SIZE = 3_000_000
LONG = ["head", "-c", str(SIZE), "/dev/zero"]
ROOMY = {"mode": "block", "maxBytes": 16 << 20}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def known(wire: Wire, *, everybody: bool = False) -> list[str]:
    return [each["processId"] for each in wire.processes(everybody=everybody)]


def narrow(wire: Wire) -> Wire:
    """Make the socket take little, so that what the client does not read stays in the node."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return wire


# --- its time ------------------------------------------------------------------------------------


def test_a_finished_process_is_forgotten_after_a_while_and_its_name_is_free(launch: Launch) -> None:
    node = launch(NodeSettings(execs=BRIEF))
    with node.connect() as wire:
        wire.run("echo one")
        assert eventually(lambda: not known(wire))
        assert wire.refused("process/read", processId="p").message == "unknown process id p"
        assert wire.refused("process/attach", processId="p").code == -32600
        assert wire.request("process/terminate", processId="p") == {"running": False}
        del wire.seen["p"]
        assert wire.run("echo two").stdout == b"two\n"
    node.check()


def test_a_node_that_keeps_nothing_still_sleeps(launch: Launch) -> None:
    limits = ExecLimits(keep_seconds=0)
    node = launch(NodeSettings(execs=ExecSettings(limits=limits)))
    with node.connect() as wire:
        assert wire.run("echo one").stdout == b"one\n"
        before = node.processor_seconds()
        assert wire.silent(0.3)
        assert node.processor_seconds() - before < 0.1
        assert eventually(lambda: not known(wire))


def test_a_finished_process_is_kept_for_its_time(wire: Wire) -> None:
    wire.run("echo one")
    result = wire.request("process/read", processId="p")
    assert [chunk["chunk"] for chunk in result["chunks"]] == [b"one\n"]
    assert known(wire) == ["p"]


def test_what_a_client_has_not_read_yet_is_not_forgotten(launch: Launch) -> None:
    node = launch(NodeSettings(execs=BRIEF))
    with node.connect() as wire, node.connect() as other:
        narrow(wire)
        wire.call("process/start", **starting(LONG, "long", retention=ROOMY))
        wire.call("process/start", **starting(["true"], "short"))
        # Both are over, and their time has passed many times.
        for i in range(5):
            other.run(["true"], f"p{i}")
            assert eventually(lambda: not known(other))
            other.seen.clear()
        assert len(wire.ended("long").stdout) == SIZE
        assert wire.ended("short").exit_code == 0
        assert eventually(lambda: not known(wire))
    node.check()


def test_what_a_client_missed_while_it_was_away_is_not_forgotten(
    launch: Launch, stack: ExitStack
) -> None:
    node = launch(NodeSettings(execs=BRIEF))
    wire = stack.enter_context(node.connect(acks=True))
    wire.start("read x; echo $x; exit 3", pipeStdin=True)
    wire.call("process/write", processId="p", chunk=b"hello\n")
    wire.close()
    with node.connect() as other:
        assert eventually(lambda: all(p["closed"] for p in other.processes(everybody=True)))
        for i in range(5):
            other.run(["true"], f"p{i}")
            assert eventually(lambda: not known(other))
    again = stack.enter_context(resumed(node.url, wire.session, acks=True))
    again.attach()
    seen = again.ended()
    assert (seen.stdout, seen.exit_code) == (b"hello\n", 3)


def test_the_number_of_finished_processes_is_bounded(launch: Launch) -> None:
    limits = ExecLimits(kept=3)
    node = launch(NodeSettings(execs=ExecSettings(limits=limits)))
    with node.connect() as wire, node.connect() as slow:
        narrow(slow)
        slow.call("process/start", **starting(LONG, "long", retention=ROOMY))
        for i in range(6):
            wire.run(["true"], f"p{i}")
        assert eventually(lambda: len(known(wire, everybody=True)) <= 4)
        # The oldest went first, and not what somebody has still to be told of.
        assert known(wire)[-1] == "p5"
        assert "p0" not in known(wire)
        assert len(slow.ended("long").stdout) == SIZE


def test_a_write_that_waits_on_a_forgotten_process_fails(launch: Launch) -> None:
    node = launch(NodeSettings(execs=BRIEF))
    with node.connect() as wire:
        # Something that says nothing holds the other end of its input.
        script = "exec 3<&0; (exec sleep 1000 <&3 >/dev/null 2>&1 3<&-) & true"
        wire.start(script, pipeStdin=True)
        waiting = wire.call("process/write", processId="p", chunk=b"x" * 200_000)
        with pytest.raises(Refused, match="failed to write to process stdin"):
            wire.answer(waiting)
        assert eventually(lambda: not known(wire))


# --- viewers -------------------------------------------------------------------------------------


@pytest.fixture
def owner(node: NodeProcess) -> Iterator[Wire]:
    with node.connect(sessionTtlMs=0) as owner:
        yield owner


def view(viewer: Wire, owner: Wire, name: str = "seen", *, after: int = 0) -> str:
    ref = owner.processes()[0]["ref"]
    assert isinstance(ref, str)
    assert viewer.attach(name, after, ref=ref)["ref"] == ref
    return ref


def test_a_process_of_another_session_can_be_looked_at(owner: Wire, wire: Wire) -> None:
    owner.start("echo before; read x; echo $x; exit 3", pipeStdin=True)
    owner.says(b"before")
    view(wire, owner)
    wire.says(b"before", "seen")
    # It can be written to, too: that is what attaching is for.
    wire.request("process/write", processId="seen", chunk=b"after\n")
    for each, name in ((wire, "seen"), (owner, "p")):
        seen = each.ended(name)
        assert (seen.stdout, seen.exit_code) == (b"before\nafter\n", 3)
    assert known(wire) == ["seen"]


def test_who_looks_may_begin_where_they_like(owner: Wire, wire: Wire) -> None:
    owner.start("read x; echo $x; read x; echo $x; exit", pipeStdin=True)
    for line in (b"one\n", b"two\n"):
        owner.request("process/write", processId="p", chunk=line)
        owner.says(line)
    owner.ended()
    view(wire, owner, after=1)
    assert wire.ended("seen").stdout == b"two\n"
    wire.attach("seen", after=0)
    assert wire.ended("seen").stdout == b"one\ntwo\n"


def test_a_view_that_cannot_be_had_is_refused(owner: Wire, wire: Wire) -> None:
    owner.start(["sleep", "1000"])
    ref = owner.processes()[0]["ref"]
    error = wire.refused("process/attach", processId="x", ref="nonesuch")
    assert (error.code, error.message) == (-32600, "no process on this node is called nonesuch")
    wire.start(["sleep", "1000"], "mine")
    error = wire.refused("process/attach", processId="mine", ref=ref)
    assert error.message == "process mine already exists"
    view(wire, owner)
    error = wire.refused("process/attach", processId="again", ref=ref)
    assert error.message == "this session knows that process already, as seen"
    error = owner.refused("process/attach", processId="again", ref=ref)
    assert error.message == "this session knows that process already, as p"
    error = wire.refused("process/start", **starting(["true"], "seen"))
    assert error.message == "process seen already exists"
    assert wire.refused("process/attach", processId="x" * 5000, ref=ref).code == -32602


def test_who_looks_does_not_own(node: NodeProcess, owner: Wire) -> None:
    owner.start("read x; echo $x", pipeStdin=True)
    with node.connect(sessionTtlMs=0) as viewer:
        view(viewer, owner)
        assert viewer.processes(everybody=True)[0]["attached"] is True
    # Its session has ended by now, and with it nothing but the view.
    with node.connect(sessionTtlMs=0) as other:
        assert eventually(lambda: len(other.processes(everybody=True)) == 1)
    owner.request("process/write", processId="p", chunk=b"x\n")
    assert owner.ended().stdout == b"x\n"


def test_who_looks_but_does_not_read_slows_nobody(node: NodeProcess, owner: Wire) -> None:
    owner.start(f"read x; head -c {SIZE} /dev/zero", pipeStdin=True)
    with node.connect(sessionTtlMs=0) as viewer:
        narrow(viewer)
        view(viewer, owner)
        owner.request("process/write", processId="p", chunk=b"\n")
        assert len(owner.ended().stdout) == SIZE
        # What it has missed is told as a gap.
        seen = viewer.ended("seen")
        assert len(seen.stdout) + seen.lost == SIZE
        assert seen.lost
        assert seen.exit_code == 0


def test_who_looks_slows_nobody_after_coming_back_either(
    node: NodeProcess, owner: Wire, stack: ExitStack
) -> None:
    owner.start(f"echo on; read x; head -c {SIZE} /dev/zero", pipeStdin=True)
    viewer = stack.enter_context(node.connect())
    view(viewer, owner)
    viewer.says(b"on", "seen")
    viewer.close()
    again = stack.enter_context(resumed(node.url, viewer.session, sessionTtlMs=0))
    narrow(again)
    assert known(again) == ["seen"]
    owner.request("process/write", processId="p", chunk=b"\n")
    assert len(owner.ended().stdout) == SIZE + 3


def test_who_looks_does_not_let_go_of_what_the_owner_has_missed(
    node: NodeProcess, stack: ExitStack
) -> None:
    owner = stack.enter_context(node.connect(acks=True))
    retention = {"mode": "block", "maxBytes": 100_000}
    owner.start(["head", "-c", str(SIZE), "/dev/zero"], retention=retention)
    with node.connect(sessionTtlMs=0) as viewer:
        view(viewer, owner)
        viewer.until(lambda: viewer.seen["seen"].chunks)
        owner.close()
        assert eventually(lambda: not viewer.processes(everybody=True)[0]["attached"])
        # It reads to the end of what there is, and again, and has the process say all it can.
        for _ in range(20):
            viewer.request("process/read", processId="seen")
        again = stack.enter_context(resumed(node.url, owner.session, acks=True))
        again.attach()
        seen = again.seen["p"]
        while seen.closed is None:
            again.step()
            again.notify("process/ack", processId="p", seq=seen.seq)
        assert len(seen.stdout) == SIZE
        assert not seen.gaps


def test_who_looks_sees_the_end_when_the_owner_has_gone(launch: Launch) -> None:
    node = launch()
    with node.connect(sessionTtlMs=0) as viewer, ExitStack() as stack:
        owner = stack.enter_context(node.connect(sessionTtlMs=0))
        owner.start(LONG, "done", retention=ROOMY)
        owner.start("head -c 2000000 /dev/zero; exec sleep 1000", "running", retention=ROOMY)
        owner.ended("done")
        narrow(viewer)
        pid = owner.processes()[1]["pid"]
        for index, name in enumerate(("done", "running")):
            viewer.call("process/attach", processId=name, ref=owner.processes()[index]["ref"])
        owner.request("environment/status")
        owner.until(lambda: "running" in owner.seen)
        owner.until(lambda: len(owner.seen["running"].stdout) == 2_000_000)
        owner.close()
        assert gone(pid)
        assert len(viewer.ended("done").stdout) == SIZE
        assert viewer.ended("running").exit_code == 137
        assert len(viewer.seen["running"].stdout) == 2_000_000
    node.check()
