"""Where the recorded server of the dialect is weak, and this one must not be.

All over a WebSocket with JSON, as a stock client is connected. What concerns files is in
test_files.py, what concerns the cost of small exchanges in test_web_socket.py.
"""

import signal
import socket
from collections.abc import Iterator

import pytest

from execnode.server.node import NodeSettings
from tests.server.conftest import Launch
from tests.server.running import (
    ExecLimits,
    ExecSettings,
    NodeProcess,
    alive,
    gone,
)
from tests.server.wire import Seen, Wire, eventually, starting

ANY = "ws://127.0.0.1:0"


@pytest.fixture(scope="module")
def web_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("weak")
    with NodeProcess(folder, None, ANY, env={b"ODD": b"\xff\xfe", b"\xffNAME": b"x"}) as node:
        yield node
        node.check()


@pytest.fixture
def web(web_node: NodeProcess) -> Iterator[Wire]:
    with web_node.connect(web_node.urls[1], sessionTtlMs=0) as wire:
        yield wire


def resume(node: NodeProcess, lost: Wire) -> Wire:
    again = node.resume(lost, node.urls[1])
    again.seen["p"] = Seen(None)  # what came meanwhile is read, not told
    return again


def test_a_tty_start_in_a_folder_that_is_not_there_fails(web: Wire) -> None:
    error = web.refused("process/start", **starting("pwd", tty=True, cwd="file:///no/such"))
    assert (error.code, error.message) == (-32603, "No such file or directory (os error 2)")
    assert web.run("pwd", tty=True).streams == {"pty": b"/\r\n"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV], ids=str)
def test_a_tty_program_killed_by_a_signal_says_so(web: Wire, number: int) -> None:
    assert web.run(f"kill -{number} $$", tty=True).exit_code == 128 + number


def test_a_write_after_the_program_closed_its_input_is_not_accepted(web: Wire) -> None:
    web.start("exec 0<&-; echo closed; exec sleep 1000", pipeStdin=True)
    web.says(b"closed")
    error = web.refused("process/write", processId="p", chunk=b"lost", writeId="1")
    assert (error.code, error.message) == (-32603, "failed to write to process stdin")


def test_writes_that_nobody_reads_block_nothing(web: Wire) -> None:
    web.start("exec sleep 1000", pipeStdin=True)
    writes = [
        web.call("process/write", processId="p", chunk=b"x" * 65536, writeId=str(i))
        for i in range(64)
    ]
    assert web.request("environment/status") == {"status": "ready"}
    assert web.run("echo other", "q").stdout == b"other\n"
    assert web.request("process/terminate", processId="p")["running"] is True
    web.ended()
    web.until(lambda: all(write in web.answers for write in writes))
    for write in writes:
        answer = web.answers[write]
        assert "result" in answer or answer["error"]["code"] == -32603


def test_a_link_lost_during_a_start_leaves_no_id_that_starts_for_ever(
    web_node: NodeProcess,
) -> None:
    for i in range(20):
        with web_node.connect(web_node.urls[1]) as wire:
            wire.call("process/start", **starting("echo hi", f"p{i}"))
        with resume(web_node, wire) as again:
            if again.processes():
                read = again.request("process/read", processId=f"p{i}", waitMs=5000)
                assert read["chunks"][0]["chunk"] == b"hi\n"
            else:  # the request was lost with the link
                again.run("echo hi", f"p{i}")


def test_variables_that_are_not_utf8_reach_the_child_and_harm_nobody(web: Wire) -> None:
    policy = {
        "inherit": "all",
        "ignoreDefaultExcludes": True,
        "exclude": [],
        "set": {},
        "includeOnly": [],
    }
    seen = web.run(["/usr/bin/env", "-0"], envPolicy=policy)
    assert {b"ODD=\xff\xfe", b"\xffNAME=x"} < set(seen.stdout.split(b"\0"))
    assert web.request("environment/status") == {"status": "ready"}


def test_memory_of_finished_processes_is_given_back(launch: Launch) -> None:
    brief = ExecSettings(limits=ExecLimits(keep_seconds=0.2))
    node = launch(NodeSettings(execs=brief), ANY)

    def run_many(first: int) -> None:
        with node.connect(node.urls[1], sessionTtlMs=0) as wire:
            for i in range(first, first + 100):
                wire.call(
                    "process/start", **starting(["head", "-c", "1000000", "/dev/zero"], f"{i}")
                )
            for i in range(first, first + 100):
                assert len(wire.ended(f"{i}").stdout) == 1_000_000
            assert eventually(lambda: not wire.processes())

    run_many(0)
    before = node.resident()
    run_many(100)
    run_many(200)
    assert node.resident() - before < 16 << 20
    node.check()


def test_children_of_an_exited_process_end_with_the_session(web_node: NodeProcess) -> None:
    with web_node.connect(web_node.urls[1], sessionTtlMs=0) as wire:
        seen = wire.run(
            "setsid sleep 1000 >/dev/null 2>&1 & echo $!; sleep 1000 >/dev/null 2>&1 & echo $!"
        )
        pids = [int(pid) for pid in seen.stdout.split()]
        assert all(map(alive, pids))
    assert gone(*pids)


def test_more_than_a_mebibyte_is_kept_while_detached(web_node: NodeProcess) -> None:
    size = 8_000_000
    retention = {"mode": "block", "maxBytes": 16 << 20}
    with web_node.connect(web_node.urls[1]) as wire:
        wire.start(
            "echo ready; read go; exec head -c 8000000 /dev/zero",
            pipeStdin=True,
            retention=retention,
        )
        wire.says(b"ready")
        wire.request("process/write", processId="p", chunk=b"go\n", writeId="1")
    with resume(web_node, wire) as again:
        after, got = wire.seen["p"].seq, bytearray()
        got += wire.seen["p"].stdout.removeprefix(b"ready\n")
        while True:
            read = again.request("process/read", processId="p", afterSeq=after, waitMs=60_000)
            for chunk in read["chunks"]:
                assert chunk["seq"] == after + 1
                after = chunk["seq"]
                got += chunk["chunk"]
            if read["closed"] and len(got) >= size:
                break
        assert len(got) == size


def test_output_waits_for_a_stock_client_that_is_away(web_node: NodeProcess) -> None:
    """With no word of retention: the program waits, and nothing is lost."""
    size = 3_000_000
    with web_node.connect(web_node.urls[1]) as wire:
        # What its own kernel holds for it, it would read before it sees the end.
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        wire.start("echo ready; exec head -c 3000000 /dev/zero")
        wire.says(b"ready")
    with resume(web_node, wire) as again:
        # As the stock client does: what it missed is read, the rest is told.
        read = again.request("process/read", processId="p", afterSeq=wire.seen["p"].seq)
        last = again.ended()
    told = last.chunks
    chunks = {
        each["seq"]: each["chunk"] for each in [*wire.seen["p"].chunks, *read["chunks"], *told]
    }
    assert last.exited is not None
    assert last.closed is not None
    seqs = {*chunks, last.exited["seq"], last.closed["seq"]}
    assert seqs == set(range(1, len(chunks) + 3))
    assert sum(map(len, chunks.values())) == size + len(b"ready\n")
