"""What a sandbox adds to the start of /bin/true: in the engine, and by a launcher by hand."""

from __future__ import annotations

import os
import select
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import chdir, suppress
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from bench import peers
from bench.contest import Contender, Contest, Entry, Round, Work, entries
from bench.tools import Tools, bwrap
from execnode.engine._pty import Engine, Sandbox
from execnode.engine.programs import HELPER

PROTECTED = (".git", ".agents", ".codex", ".aws")
TMP = Path("/tmp")
COUNT = 20
COMMAND = "/bin/true"


def _median_of(once: Callable[[], object], after: Callable[[], object]) -> float:
    """The median time of `once`; `after` it comes what is not to be counted."""
    times = []
    for _ in range(COUNT):
        begun = time.perf_counter()
        once()
        times.append(time.perf_counter() - begun)
        after()
    return statistics.median(times)


# --- in the engine --------------------------------------------------------------------------------


def _engine(sandbox: Sandbox | None) -> Round:
    engine = Engine(memory_limit=1 << 20)
    env = [b"PATH=/usr/bin:/bin"]

    def once() -> None:
        path = os.fsencode(COMMAND)
        process = engine.spawn([path], [path], env, b"/", sandbox=sandbox)
        while not process.ended:
            select.select([engine], [], [])
            engine.poll()
        assert process.ending[0] == 0

    return lambda: _median_of(once, lambda: None)


IN_ENGINE = Work(
    "sandbox-engine",
    "true",
    {
        "execnode-landlock": lambda _: _engine(Sandbox([(b"/", "read")])),
        "execnode-plain": lambda _: _engine(None),
    },
    rounds=15,
)


# --- by hand --------------------------------------------------------------------------------------


def _launcher(
    program: Callable[[], Path | None], words: Callable[[Path], Sequence[object]]
) -> Contender:
    """Runs a program with words that end in the command, for a workspace in which nothing is."""

    def prepare(tools: Tools) -> Round:
        path, workspace = program(), tools.workspace()
        assert path
        argv = [str(word) for word in (*words(workspace), COMMAND)]
        env = {"PATH": "/usr/bin:/bin", "HOME": "/", "CODEX_HOME": str(peers.codex_home())}

        def once() -> None:
            pid = os.posix_spawn(path, argv, env)
            assert os.waitpid(pid, 0)[1] == 0

        def clean() -> None:
            for folder in (workspace, TMP):
                for name in PROTECTED:
                    with suppress(OSError):
                        (folder / name).rmdir()

        def rounds() -> float:
            with chdir(workspace):
                return _median_of(once, clean)

        return rounds

    return prepare


def _helper(workspace: Path) -> list[object]:
    profile = ["--profile", "workspace-write", "--network", "none", "--workspace", workspace]
    return ["execnode-linux-sandbox", *profile, "--"]


def _bwrap(workspace: Path) -> list[object]:
    """The same mounts and namespaces.

    Where something is to be mounted and nothing is it makes a folder, and leaves it behind. That
    these are removed is not counted. And it has no Landlock and no filter of system calls.
    """
    words: list[object] = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for folder in (TMP, workspace):
        words += ["--bind", folder, folder]
        for name in PROTECTED:
            words += ["--ro-bind", workspace, folder / name]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-net", "--die-with-parent"]
    return [*words, "--cap-drop", "ALL", "--"]


def _codex(_: Path) -> list[object]:
    return ["codex", "sandbox", "-c", 'sandbox_mode="workspace-write"', "--"]


BY_HAND = Work(
    "sandbox-launcher",
    "true",
    {
        "execnode-helper": _launcher(lambda: HELPER, _helper),
        "bwrap": _launcher(bwrap, _bwrap),
        "codex-sandbox": _launcher(peers.codex, _codex),
    },
)


@entries(IN_ENGINE, BY_HAND)
def test_start_in_a_sandbox(entry: Entry, contest: Contest, benchmark: BenchmarkFixture) -> None:
    contest.enter(entry, benchmark)
