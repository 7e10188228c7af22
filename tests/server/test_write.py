"""process/write and process/closeStdin: what reaches a program, once and in order."""

import contextlib
import hashlib
import random
import socket
import sys

import cbor2
import pytest

from tests.server.running import NodeProcess
from tests.server.wire import Refused, Wire, frame, resumed

ACCEPTED = {"status": "accepted"}
FAILED = (-32603, "failed to write to process stdin")

# Takes nothing until its terminal or pipe is signalled; then everything.
SLEEPER = "trap 'exec sha256sum' USR1; echo ready; while :; do sleep 0.01; done"


def write(wire: Wire, chunk: bytes, write_id: str | None = None, name: str = "p") -> object:
    params = {"processId": name, "chunk": chunk}
    if write_id is not None:
        params["writeId"] = write_id
    return wire.request("process/write", **params)


def failed(wire: Wire, chunk: bytes, name: str = "p") -> tuple[int, str]:
    error = wire.refused("process/write", processId=name, chunk=chunk, writeId="last")
    return error.code, error.message


def test_what_is_written_reaches_the_program(wire: Wire) -> None:
    wire.start("cat", pipeStdin=True)
    assert write(wire, b"one\n", "w1") == ACCEPTED
    assert write(wire, b"", "w2") == ACCEPTED
    assert write(wire, b"two\n") == ACCEPTED
    assert wire.says(b"two").stdout == b"one\ntwo\n"
    assert wire.request("process/closeStdin", processId="p") == {}
    seen = wire.ended()
    assert (seen.stdout, seen.exit_code) == (b"one\ntwo\n", 0)


def test_a_write_id_that_is_repeated_is_accepted_and_not_written_again(wire: Wire) -> None:
    wire.start("cat", pipeStdin=True)
    assert write(wire, b"a", "same") == ACCEPTED
    assert write(wire, b"b", "same") == ACCEPTED
    assert write(wire, b"c", "other") == ACCEPTED
    # Members in another order, and one that nobody knows, take the slow way.
    wire.send(
        {
            "params": {"writeId": "same", "x": 1, "chunk": b"d", "processId": "p"},
            "method": "process/write",
            "id": "slow",
        }
    )
    assert wire.answer("slow") == ACCEPTED
    wire.request("process/closeStdin", processId="p")
    assert wire.ended().stdout == b"ac"


def test_a_write_id_counts_for_its_process_alone(wire: Wire) -> None:
    for name in "ab":
        wire.start("cat", name, pipeStdin=True)
        write(wire, name.encode(), "same", name)
        wire.request("process/closeStdin", processId=name)
        assert wire.ended(name).stdout == name.encode()


def test_a_write_id_is_remembered_over_a_resume(node: NodeProcess) -> None:
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(node.connect())
        wire.start("cat", pipeStdin=True)
        assert write(wire, b"a", "w1") == ACCEPTED
        wire.close()
        again = stack.enter_context(resumed(node.url, wire.session))
        again.attach()
        assert write(again, b"a", "w1") == ACCEPTED
        assert write(again, b"b", "w2") == ACCEPTED
        again.request("process/closeStdin", processId="p")
        assert again.ended().stdout == b"ab"


def test_a_program_without_standard_input_cannot_be_written_to(wire: Wire) -> None:
    wire.start("sleep 1000")
    assert write(wire, b"x", "w") == {"status": "stdinClosed"}
    assert wire.request("process/closeStdin", processId="p") == {}
    assert write(wire, b"", "w") == {"status": "stdinClosed"}


def test_nobody_can_be_written_to(wire: Wire) -> None:
    assert write(wire, b"x", "w", "nobody") == {"status": "unknownProcess"}
    error = wire.refused("process/closeStdin", processId="nobody")
    assert (error.code, error.message) == (-32600, "unknown process id nobody")


@pytest.mark.parametrize(
    "params",
    [
        {"writeId": ""},
        {"writeId": 1},
        {"chunk": "text"},
        {"chunk": None},
        {"chunk": [1]},
        {"processId": 1},
    ],
    ids=str,
)
def test_a_write_that_is_none_is_refused(wire: Wire, params: dict[str, object]) -> None:
    wire.start("cat", pipeStdin=True)
    good = {"processId": "p", "chunk": b"x", "writeId": "w"}
    assert wire.refused("process/write", **{**good, **params}).code == -32602
    # An empty id is noticed before all else.
    if params == {"writeId": ""}:
        error = wire.refused("process/write", processId="nobody", chunk=b"", writeId="")
        assert (error.code, error.message) == (-32602, "writeId must not be empty")


def test_closed_input_stays_closed(wire: Wire) -> None:
    wire.start("cat; read go < /dev/null; sleep 1000", pipeStdin=True)
    write(wire, b"x")
    wire.request("process/closeStdin", processId="p")
    assert write(wire, b"y") == {"status": "stdinClosed"}
    assert wire.request("process/closeStdin", processId="p") == {}
    assert wire.says(b"x").stdout == b"x"


def test_a_write_to_a_program_that_has_ended_fails(wire: Wire) -> None:
    wire.run("exit 3", pipeStdin=True)
    assert failed(wire, b"x") == FAILED
    assert failed(wire, b"x") == FAILED
    wire.run("exit 3", "t", tty=True)
    assert failed(wire, b"x", "t") == FAILED
    wire.run("exit 3", "n")
    assert write(wire, b"x", "w", "n") == {"status": "stdinClosed"}


def test_a_write_to_a_program_that_has_closed_its_input_fails(wire: Wire) -> None:
    wire.start("exec <&-; echo closed; sleep 1000", pipeStdin=True)
    wire.says(b"closed")
    assert failed(wire, b"x") == FAILED
    assert failed(wire, b"x" * 100_000) == FAILED


def test_a_write_that_waits_fails_when_the_program_ends(wire: Wire) -> None:
    wire.start("sleep 1000", pipeStdin=True)
    waiting = [
        wire.call("process/write", processId="p", chunk=b"x" * 200_000, writeId=f"w{i}")
        for i in range(3)
    ]
    assert wire.request("environment/status")
    assert not set(waiting) & set(wire.answers)
    wire.request("process/terminate", processId="p")
    for request_id in waiting:
        with pytest.raises(Refused) as refusal:
            wire.answer(request_id)
        assert (refusal.value.code, refusal.value.message) == FAILED
    assert wire.ended().exit_code == 137


def test_a_repeat_of_a_write_that_waits_shares_its_fate(wire: Wire) -> None:
    wire.start(SLEEPER, pipeStdin=True)
    wire.says(b"ready")
    data = random.Random(1).randbytes(200_000)
    waiting = [
        wire.call("process/write", processId="p", chunk=data, writeId="same") for _ in range(4)
    ]
    assert wire.request("environment/status")
    wire.request("process/signal", processId="p", signal="USR1")
    assert [wire.answer(each) for each in waiting] == [ACCEPTED] * 4
    wire.request("process/closeStdin", processId="p")
    assert wire.ended().stdout.split()[1] == hashlib.sha256(data).hexdigest().encode()


def test_a_program_that_does_not_read_holds_up_nobody_but_its_writers(wire: Wire) -> None:
    wire.start("sleep 1000", "deaf", pipeStdin=True)
    wire.start("cat", "cat", pipeStdin=True)
    for i in range(8):
        wire.call("process/write", processId="deaf", chunk=b"x" * (1 << 20), writeId=f"w{i}")
    assert write(wire, b"hello", "w", "cat") == ACCEPTED
    assert wire.says(b"hello", "cat")
    # What is queued is bounded; more is refused at once, and nothing of it is written.
    error = wire.refused("process/write", processId="deaf", chunk=b"x" * (2 << 20))
    assert error.code == -32603
    assert "8 MiB" in error.message
    # The end of the input comes after what is queued, and nothing can be added.
    assert wire.request("process/closeStdin", processId="deaf") == {}
    assert write(wire, b"x", "late", "deaf") == {"status": "stdinClosed"}
    assert wire.request("process/terminate", processId="deaf")["running"] is True
    wire.ended("deaf")


@pytest.mark.parametrize("seed", range(4))
def test_writes_keep_their_order_whichever_way_they_take(wire: Wire, seed: int) -> None:
    dice = random.Random(seed)
    wire.start("sha256sum", pipeStdin=True)
    total = hashlib.sha256()
    burst = bytearray()
    ids = []
    for i in range(300):
        size = dice.choice([0, 1, 10, 1000, 5000, 90_000])
        chunk = dice.randbytes(size)
        total.update(chunk)
        params: dict[str, object] = {"processId": "p", "chunk": chunk}
        if dice.random() < 0.5:
            params["writeId"] = f"w{i}"
        if dice.random() < 0.3:  # not for the fast way
            params["more"] = dice.choice([None, "x", {"a": 1}])
        burst += frame(cbor2.dumps({"id": f"i{i}", "method": "process/write", "params": params}))
        ids.append(f"i{i}")
        if dice.random() < 0.2:
            burst += frame(cbor2.dumps({"id": f"s{i}", "method": "environment/status"}))
            ids.append(f"s{i}")
    wire.socket.sendall(burst)
    for request_id in ids:
        assert wire.answer(request_id)["status"] in ("accepted", "ready")
    wire.request("process/closeStdin", processId="p")
    assert wire.ended().stdout.split()[0] == total.hexdigest().encode()


def test_a_waiting_write_whose_connection_is_gone_harms_nothing(node: NodeProcess) -> None:
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(node.connect())
        wire.start(SLEEPER, pipeStdin=True)
        wire.says(b"ready")
        data = random.Random(2).randbytes(300_000)
        params = {"processId": "p", "chunk": data, "writeId": "w"}
        for _ in range(3):
            wire.call("process/write", **params)
        # The writes and the end arrive together.
        wire.send({"method": "nobody/knows/this"})
        wire.eof()
        again = stack.enter_context(resumed(node.url, wire.session))
        again.attach()
        waiting = again.call("process/write", **params)
        again.request("process/signal", processId="p", signal="USR1")
        assert again.answer(waiting) == ACCEPTED
        again.request("process/closeStdin", processId="p")
        assert again.ended().stdout.split()[1] == hashlib.sha256(data).hexdigest().encode()
    node.check()


def test_a_write_that_waits_on_the_slow_way_is_answered_however_soon_it_is_through(
    wire: Wire,
) -> None:
    wire.start("cat > /dev/null", pipeStdin=True)
    chunk = b"x" * 150_000
    for _ in range(5):
        ids = [wire.call("process/write", processId="p", chunk=chunk, slow=True) for _ in range(50)]
        assert [wire.answer(each) for each in ids] == [ACCEPTED] * 50


def test_a_terminal_takes_keys(wire: Wire) -> None:
    wire.start("stty size; exec cat", tty=True)
    wire.says(b"24 80")
    assert write(wire, b"hello\n", "1") == ACCEPTED
    assert wire.says(b"hello\r\nhello\r\n")
    assert wire.refused("process/closeStdin", processId="p").code == -32600
    assert write(wire, b"\x04", "2") == ACCEPTED
    assert wire.ended().exit_code == 0


def test_control_c_interrupts_what_runs_in_a_terminal(wire: Wire) -> None:
    wire.start(
        "trap 'echo got-int; exit 9' INT; echo ready; while :; do sleep 0.01; done", tty=True
    )
    wire.says(b"ready")
    assert write(wire, b"\x03", "1") == ACCEPTED
    seen = wire.ended()
    assert seen.pty == b"ready\r\n^Cgot-int\r\n"
    assert seen.exit_code == 9


def test_a_large_write_goes_through_a_terminal(wire: Wire) -> None:
    wire.start("stty raw -echo; echo ready; exec head -c 100000 | sha256sum", tty=True)
    wire.says(b"ready")
    data = random.Random(3).randbytes(100_000)
    assert write(wire, data) == ACCEPTED
    assert hashlib.sha256(data).hexdigest().encode() in wire.ended().pty


def test_a_write_never_ends_the_node_by_a_signal(node: NodeProcess, wire: Wire) -> None:
    for i in range(20):
        wire.start(["true"], f"p{i}", pipeStdin=True)
        wire.call("process/write", processId=f"p{i}", chunk=b"x" * 70_000)
    for i in range(20):
        wire.ended(f"p{i}")
    assert node.popen.poll() is None
    assert wire.request("environment/status")


def test_half_a_write_waits_for_the_rest_and_only_that(node: NodeProcess, wire: Wire) -> None:
    wire.start("cat", pipeStdin=True)
    whole = frame(
        cbor2.dumps(
            {"id": 1000, "method": "process/write", "params": {"processId": "p", "chunk": b"hi"}}
        )
    )
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for at in range(len(whole)):
        wire.socket.sendall(whole[at : at + 1])
    assert wire.answer(1000) == ACCEPTED
    assert wire.says(b"hi")
    assert sys.getsizeof(whole)
