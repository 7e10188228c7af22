"""A node at work: `make run`, or `python examples/demo.py`.

Starts `execnode serve` on a private Unix socket, runs real commands on it over the wire, and says
what happened. Exits with 1 if anything is not as it should be.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from anyio.abc import SocketAttribute, SocketStream
from rich.console import Console
from rich.markup import escape
from rich.text import Text

import execnode
from execnode.client import Node, Output, Process, StartError

STYLES = {"typed": "cyan", "pty": "magenta", "stderr": "yellow"}
PATIENCE = 5.0  # seconds for what takes milliseconds

console = Console(highlight=False, soft_wrap=True)


class Stage:
    """What the scenes play on: a node, where it is, and how many things went wrong so far."""

    def __init__(self, node: Node, url: str) -> None:
        self.node = node
        self.url = url
        self.wrong = 0

    def check(self, what: str, as_expected: object) -> None:
        """Say what came out, and count it if it was not right."""
        self.wrong += not as_expected
        mark = "[green]✓[/]" if as_expected else "[bold red]✗ not as expected:[/]"
        console.print(f"   {mark} {escape(what)}")


def command(text: str) -> None:
    """Show what is run."""
    console.print(f"   [dim]$[/] [cyan]{escape(text)}[/]")


def line(text: str, stream: str, started: float) -> None:
    """Show a line of output, when it came and from which stream."""
    when = f"   {time.perf_counter() - started:5.2f} s "
    style = STYLES.get(stream, "default")
    console.print(Text.assemble((when, "dim"), (f"{stream:<6} │ ", "dim"), (text, style)))


# --- the scenes -----------------------------------------------------------------------------------


async def output_as_it_comes(stage: Stage) -> None:
    """Stream output, and give the exit code."""
    script = "for n in 1 2 3; do echo step $n; sleep 0.1; done; echo careful >&2; exit 3"
    command(f"sh -c '{script}'")
    seen = {"stdout": b"", "stderr": b""}
    times = [time.perf_counter()]
    async with await stage.node.start(["sh", "-c", script]) as process:
        async for item in process:
            assert isinstance(item, Output)
            seen[item.stream] += item.data
            times.append(time.perf_counter())
            line(item.data.decode().rstrip(), item.stream, times[0])
    apart = seen == {"stdout": b"step 1\nstep 2\nstep 3\n", "stderr": b"careful\n"}
    one_by_one = times[-1] - times[1] > 0.15
    stage.check(
        "every line came when it was written, stdout and stderr apart", apart and one_by_one
    )
    stage.check(f"exit code {process.returncode}", process.returncode == 3)


async def a_terminal(stage: Stage) -> None:
    """Type into a shell."""
    command("bash --norc        (on a terminal of 24 x 80)")
    shell = await stage.node.start(
        ["bash", "--norc", "--noediting"], tty=True, size=(24, 80), extra_env={"PS1": "> "}
    )
    async with shell:
        terminal = Terminal(shell)
        await terminal.until("> ")
        await terminal.type("stty size\r", until="24 80\r\n> ")
        await terminal.type("sh -c 'echo asleep; exec sleep 1000'\r", until="asleep\r\n")
        await terminal.type("\x03", until="> ")
        await shell.resize(40, 120)
        await terminal.type("stty size\r", until="40 120\r\n> ")
        await terminal.type("exit 7\r", until=None)
    stage.check("Ctrl-C ended the sleep, and the new size of 40 x 120 arrived", terminal.complete)
    stage.check(f"exit code {shell.returncode}", shell.returncode == 7)


class Terminal:
    """Somebody at a terminal, who types and waits for what has to come."""

    def __init__(self, shell: Process) -> None:
        self.complete = True
        self._shell = shell
        self._started = time.perf_counter()

    async def type(self, keys: str, *, until: str | None) -> None:
        """Type, and wait for this text or, without, for the end."""
        line(keys.strip().replace("\x03", "Ctrl-C"), "typed", self._started)
        await self._shell.write(keys.encode())
        await self.until(until, echo=keys.strip())

    async def until(self, text: str | None, echo: str = "") -> None:
        """Show output until it has this text; not the echo of what was typed, and no prompts."""
        seen = ""
        with anyio.move_on_after(PATIENCE):
            while text is None or text not in seen:
                items = await self._shell.take()
                if not items:
                    break
                seen += "".join(item.data.decode() for item in items if isinstance(item, Output))
        for shown in seen.removeprefix(echo).splitlines():
            if shown.strip() not in ("", ">"):
                line(shown, "pty", self._started)
        self.complete = self.complete and (text is None or text in seen)


async def input_and_crowds(stage: Stage) -> None:
    """Run commands to their end, like subprocess.run."""
    words = ["pear", "apple", "quince", "fig"]
    command(f"sort        (fed with: {', '.join(words)})")
    done = await stage.node.run(["sort"], input="\n".join(words), encoding="utf-8", check=True)
    stage.check(f"it wrote: {', '.join(done.stdout.split())}", done.stdout.split() == sorted(words))

    command("true        (100 times, all at once)")
    codes: list[int] = []

    async def run() -> None:
        codes.append((await stage.node.run(["true"])).returncode)

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(run)
    spent = time.perf_counter() - started
    stage.check(f"100 exit codes 0 after {spent * 1000:.0f} ms", codes == [0] * 100)


async def what_cannot_start(stage: Stage) -> None:
    """Fail to start."""
    attempts: list[tuple[str, str | None, type[OSError]]] = [
        ("no-such-program", None, FileNotFoundError),
        ("/etc/passwd", None, PermissionError),
        ("true", "/no/such/folder", FileNotFoundError),
    ]
    for program, folder, kind in attempts:
        command(f"{program}        (in {folder})" if folder else program)
        try:
            await stage.node.run([program], cwd=folder)
        except StartError as error:
            stage.check(f"{kind.__name__}: {error}", isinstance(error, kind))
        else:
            stage.check("it started", False)


async def a_whole_tree(stage: Stage) -> None:
    """End a process with all its descendants."""
    script = "(setsid sleep 1000 & echo $!); sleep 1000 & echo $!; echo $$; wait"
    command(f"sh -c '{script}'")
    async with await stage.node.start(["sh", "-c", script]) as process:
        text = b""
        while text.count(b"\n") < 3:
            text += b"".join(i.data for i in await process.take() if isinstance(i, Output))
        pids = [int(word) for word in text.split()]
        handles = [os.pidfd_open(pid) for pid in pids]
        answer = await process.terminate(grace=0.0)
        with anyio.move_on_after(PATIENCE) as time_for_it:
            for handle in handles:
                await anyio.wait_readable(handle)  # pidfd_open(2): it has ended
                os.close(handle)
            await process.wait()
    gone = f"{', '.join(map(str, pids))} ended (by {answer.method}), the daemon too"
    stage.check(gone, not time_for_it.cancelled_caught)
    how = (process.reason, process.signal_name)
    stage.check(f"reason {how[0]}, {how[1]}", how == ("killed", "SIGKILL"))


async def a_cut_connection(stage: Stage) -> None:
    """Lose the connection, and nothing else."""
    script = "yes one long story | head -c 24M"
    command(f"sh -c '{script}'")
    relay = Relay(stage.url.removeprefix("unix://"))
    count, cuts, sha256 = 0, 0, hashlib.sha256()
    async with (
        relay.running() as url,
        execnode.connect(url) as node,
        await node.start(["sh", "-c", script], digest="sha256") as process,
    ):
        async for item in process:
            assert isinstance(item, Output)
            count += len(item.data)
            sha256.update(item.data)
            if cuts < 2 and count > (cuts + 1) * (8 << 20):
                relay.cut()
                cuts += 1
                console.print(f"   [red]✂[/] the connection is cut after {count:,} bytes")
    ours, theirs = f"sha256:{sha256.hexdigest()}", process.totals["stdout"].digest
    stage.check(f"{count:,} bytes came, none lost, none twice", cuts == 2 and count == 24 << 20)
    stage.check(f"{ours[:23]}... here and on the node", ours == theirs)


class Relay:
    """Passes connections on to a Unix socket, until told to cut them."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._ends: list[SocketStream] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The URL of the relay, for as long as the context lasts."""
        path = f"{self._target}.relay"
        async with (
            await anyio.create_unix_listener(path) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, self._pass_on)
            yield f"unix://{path}"
            tasks.cancel_scope.cancel()

    def cut(self) -> None:
        """Break the connection, in the middle of whatever is under way."""
        for end in self._ends:
            end.extra(SocketAttribute.raw_socket).shutdown(2)

    async def _pass_on(self, client: SocketStream) -> None:
        async with client, await anyio.connect_unix(self._target) as node:
            self._ends = [client, node]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._copy, client, node)
                tasks.start_soon(self._copy, node, client)

    async def _copy(self, source: SocketStream, target: SocketStream) -> None:
        try:
            async for data in source:
                await target.send(data)
            await target.send_eof()
        except (OSError, anyio.BrokenResourceError):
            pass  # it was cut


# --- the house ------------------------------------------------------------------------------------

SCENES: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "Output as it is written": output_as_it_comes,
    "A shell on a terminal": a_terminal,
    "Standard input, and many at once": input_and_crowds,
    "What cannot be started says why": what_cannot_start,
    "Ending a whole tree, with the daemon that tried to leave it": a_whole_tree,
    "A connection that breaks twice": a_cut_connection,
}


@contextmanager
def running_node() -> Iterator[tuple[str, int]]:
    """`execnode serve` on a socket that only this user can reach: its URL and pid."""
    with tempfile.TemporaryDirectory(prefix="execnode-demo-") as folder:
        url = f"unix://{folder}/node.sock"
        serve = [sys.executable, "-m", "execnode", "serve", "--listen", url]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as node:
            try:
                assert node.stdout is not None
                if node.stdout.readline().strip() != url:  # printed when clients can connect
                    sys.exit("the node did not start")
                yield url, node.pid
            finally:
                node.terminate()


async def play(url: str) -> int:
    """Play the scenes, and give the number of things that went wrong."""
    async with execnode.connect(url) as node:
        stage = Stage(node, url)
        for number, (title, scene) in enumerate(SCENES.items(), 1):
            console.print(f"\n[bold]{number}  {title}[/]")
            await scene(stage)
    return stage.wrong


def main() -> int:
    """Do it all, and give the exit code."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # ✓ is not in every locale
    started = time.perf_counter()
    with running_node() as (url, pid):
        ready = time.perf_counter() - started
        name = f"[bold]execnode {execnode.__version__}[/]"
        console.print(f"{name}: a node, pid {pid}, ready after {ready:.2f} s at\n   [blue]{url}[/]")
        wrong = anyio.run(play, url, backend="trio")
    spent = time.perf_counter() - started
    if wrong:
        console.print(f"\n[bold red]{wrong} of it not as expected[/]")
        return 1
    console.print(f"\n[bold green]All as expected[/], in {spent:.1f} s. To go on by yourself:")
    console.print("   [cyan].venv/bin/execnode --help[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
