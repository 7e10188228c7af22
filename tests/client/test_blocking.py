"""The client without async, on a real node."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from execnode.client import Gap, Output, StartError, blocking


@pytest.fixture(scope="module")
def node(node_url: str) -> Iterator[blocking.Node]:
    with blocking.connect(node_url) as node:
        yield node


def test_run_is_like_subprocess(node: blocking.Node) -> None:
    done = node.run(["tr", "a-z", "A-Z"], input="shout", encoding="utf-8", check=True)
    assert (done.stdout, done.stderr, done.returncode) == ("SHOUT", "", 0)
    with pytest.raises(subprocess.CalledProcessError):
        node.run(["false"], check=True)
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        node.run(["sh", "-c", "echo early; sleep 100"], timeout=0.3)
    assert caught.value.stdout == b"early\n"
    with pytest.raises(FileNotFoundError) as missing:
        node.run(["/no/such/program"])
    assert isinstance(missing.value, StartError)


def test_run_connects_for_one_command(node_url: str, node: blocking.Node) -> None:
    assert blocking.run(["echo", "hi"], node_url).stdout == b"hi\n"
    assert blocking.run(["echo", "hi"], node, encoding="ascii").stdout == "hi\n"


def test_a_process_is_written_to_and_iterated_over(node: blocking.Node) -> None:
    with node.start(["cat"], stdin=True) as process:
        process.write(b"one\n")
        assert next(process) == Output("stdout", b"one\n", 0, 1)
        assert node.list()[-1].ref == process.ref
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
        process.close_stdin()
        assert list(process) == []
        assert process.wait(timeout=5) == 0
    assert (process.returncode, process.reason, process.totals["stdout"].bytes) == (0, "exit", 4)


def test_a_big_output_is_iterated_over(node: blocking.Node) -> None:
    with node.start(["head", "-c", "50000000", "/dev/zero"]) as process:
        assert sum(len(item.data) for item in process if isinstance(item, Output)) == 50_000_000


def test_a_terminal_is_resized_and_signalled(node: blocking.Node) -> None:
    program = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done"
    with node.start(["bash", "-c", program], tty=True) as process:
        assert next(process)
        process.resize(10, 20)
        assert next(process)[1] == b"10 20\r\n"
        process.signal("KILL")
        assert process.wait() == 137
    assert process.signal_name == "SIGKILL"


def test_another_client_attaches(node: blocking.Node, node_url: str) -> None:
    with node.start(["sleep", "100"]) as process, blocking.connect(node_url) as other:
        assert process.ref is not None
        view = other.attach(process.ref, skip_to_end=True)
        assert view.terminate(0.0).running
        assert [item for item in view if not isinstance(item, Gap)] == []
        assert view.wait() == 137
        view.close()


def test_leaving_a_process_ends_it(node: blocking.Node) -> None:
    with node.start(["sleep", "100"]) as process:
        pass
    assert process.returncode == 137


def test_threads_share_a_node(node: blocking.Node) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = threads.map(lambda n: node.run(["echo", str(n)]).stdout, range(50))
        assert list(results) == [b"%d\n" % n for n in range(50)]


def test_signal_handlers_are_left_alone(node_url: str) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)]
    with blocking.connect(node_url):
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGCHLD)] == before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)] == before


def test_no_thread_stays_behind(node_url: str) -> None:
    before = threading.active_count()
    assert blocking.run(["true"], node_url).returncode == 0
    assert threading.active_count() <= before + 1  # trio keeps an idle one for ten seconds


def test_ctrl_c_ends_the_command(node_url: str) -> None:
    program = f"""
import signal, threading
from execnode.client import blocking
with blocking.connect({node_url!r}) as node:
    main = threading.main_thread().ident
    threading.Timer(0.5, signal.pthread_kill, [main, signal.SIGINT]).start()
    try:
        node.run(["sleep", "4321"])
    except KeyboardInterrupt:
        print(node.run(["echo", "still there"], encoding="ascii").stdout, end="")
    print([p.returncode for p in node.list() if p.argv == ["sleep", "4321"]])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.stderr, done.stdout) == ("", "still there\n[137]\n")
