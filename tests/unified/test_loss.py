"""A node that goes away, for a while or for good: what calls answer then, and ever after."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from execnode.environment.services import Environment
from execnode.unified import ProcessState, SessionSummary, UnifiedExec
from tests.client.proxy import cutting_proxy
from tests.locate import bound
from tests.unified.conversation import all_of, manager, running, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def server(socket_dir: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A node of the test's own: its URL and its process."""
    url = f"unix://{socket_dir}/node.sock"
    command = bound("serve", "--listen", url)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == url
            yield url, process
        finally:
            process.kill()


async def lost(unified: UnifiedExec, session: int) -> ProcessState:
    """The state of a session that is lost, which every further call repeats."""
    answer = await unified.write_stdin(session, yield_time_ms=20_000)
    state = answer.state
    assert state.failure is not None
    assert state == ProcessState(True, failure=state.failure)
    assert state.failure.kind == "lost"
    assert answer.session_id is None
    for chars in ("", "x", "\x03"):
        again = await unified.write_stdin(session, chars)
        assert (again.state, again.head, again.session_id) == (state, b"", None)
        assert again.input_failure == ("the process has ended" if chars else None)
    return state


async def test_a_link_that_is_repaired_is_not_noticed(
    server: tuple[str, Any], socket_dir: Path
) -> None:
    with anyio.fail_after(40):
        async with (
            cutting_proxy(server[0], socket_dir) as proxy,
            Environment.connect(proxy.url) as there,
            manager(there) as unified,
        ):
            session = running(await unified.exec_command(argv=["cat"], stdin=True, yield_time_ms=0))
            told = b""
            for number in range(10):
                proxy.cut()
                told += await until(unified, session, "\n", f"{number}\n")
            assert told == b"".join(b"%d\n" % number for number in range(10))
            assert proxy.connections > 5
            last = await unified.write_stdin(session, "\x04", yield_time_ms=20_000)
            assert last.state == ProcessState(True, 0, "exit")


async def test_a_link_that_is_cut_for_good(server: tuple[str, Any], socket_dir: Path) -> None:
    with anyio.fail_after(40):
        async with (
            cutting_proxy(server[0], socket_dir) as proxy,
            Environment.connect(proxy.url, recovery=3) as there,
            manager(there) as unified,
        ):
            script = "echo before; read x; echo $x; cat"
            read = await unified.exec_command(cmd=script, stdin=True, yield_time_ms=0)
            ended = await unified.exec_command(cmd="read x; echo over", stdin=True, yield_time_ms=0)
            first, second = running(read), running(ended)
            assert await until(unified, first, "before") == b"before\n"
            await unified.write_stdin(second, "\n", yield_time_ms=0)
            await unified.write_stdin(first, "told late\n", yield_time_ms=0)
            held: dict[int, SessionSummary] = {}
            while not held or not (held[first].untold_bytes and held[second].state.has_exited):
                await anyio.sleep(0.01)  # nothing announces it
                held = {each.session_id: each for each in unified.sessions()}

            proxy.shut()
            # Its input is on the way, as long as there is hope.
            answer = await unified.write_stdin(first, "never\n", yield_time_ms=100)
            assert all_of(answer) == b"told late\n"
            assert (running(answer), answer.input_pending) == (first, True)
            state = await lost(unified, first)
            assert "no connection to unix" in str(state.failure)

            # What had ended before is not lost.
            over = await unified.write_stdin(second)
            assert (over.text, over.state) == ("over\n", ProcessState(True, 0, "exit"))
            for _ in range(2):
                refused = await unified.exec_command(cmd="true")
                assert refused.session_id is None
                assert refused.state.failure is not None
                assert refused.state.failure.kind == "start"
                assert "no connection to unix" in str(refused.state.failure)


async def test_a_node_that_is_killed(server: tuple[str, Any]) -> None:
    url, process = server
    with anyio.fail_after(40):
        async with (
            Environment.connect(url, recovery=0.3) as there,
            manager(there) as unified,
        ):
            answer = await unified.exec_command(cmd="echo $$; exec sleep 100", yield_time_ms=0)
            session = running(answer)
            await until(unified, session, r"\d\n")
            process.send_signal(signal.SIGKILL)
            await lost(unified, session)
            assert unified.sessions() == []


async def test_a_node_that_says_farewell(server: tuple[str, Any]) -> None:
    url, process = server
    with anyio.fail_after(40):
        async with (
            Environment.connect(url, recovery=0.3) as there,
            manager(there) as unified,
        ):
            script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
            answer = await unified.exec_command(cmd=script, yield_time_ms=0)
            session = running(answer)
            await until(unified, session, "ready")
            process.terminate()
            last = await unified.write_stdin(session, yield_time_ms=20_000)
            assert last.text.endswith("bye\n")
            assert last.state == ProcessState(True, 3, "exit")


async def test_a_start_that_is_waited_for(server: tuple[str, Any], socket_dir: Path) -> None:
    """The link is down when a command is given: the call answers in its time all the same."""
    with anyio.fail_after(40):
        async with (
            cutting_proxy(server[0], socket_dir) as proxy,
            Environment.connect(proxy.url) as there,
            manager(there) as unified,
        ):
            proxy.shut()
            answer = await unified.exec_command(argv=["cat"], stdin=True, yield_time_ms=100)
            session = running(answer)
            answer = await unified.write_stdin(session, "early\n")
            assert (answer.input_pending, answer.input_failure) == (True, None)
            abandoned = await unified.exec_command(argv=["cat"], stdin=True, yield_time_ms=0)
            ended = await unified.end(running(abandoned))
            assert ended.state.failure is not None
            assert str(ended.state.failure) == "it was ended before it had started"
            proxy.open()
            assert await until(unified, session, "\n") == b"early\n"
            assert [each.session_id for each in unified.sessions()] == [session]
