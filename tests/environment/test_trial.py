import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from execnode.engine.cgroup import CgroupPool, CgroupsUnavailable

NODE = """
import trio
from execnode.environment.local.exec import ExecSettings, LocalExec
from execnode.protocol.processes import (StartParams)
from execnode.protocol.text import OsMap, OsTexts

async def main():
    async with LocalExec.open(ExecSettings()) as execs:
        params = StartParams("p", OsTexts(["/bin/sh", "-c", "exit 7"]), "/", OsMap(), False)
        process = execs.start(params, b"/bin/sh")
        await process.wait()
        print(process.place.way, process.exit_code)

trio.run(main)
"""


@pytest.fixture
def killed_once() -> Iterator[Path]:
    """A cgroup in which everything was killed at some time."""
    try:
        pool = CgroupPool.open()
    except CgroupsUnavailable as error:
        pytest.skip(str(error))
    leaf = pool.acquire()
    pool.kill(leaf)
    yield leaf.path
    pool.close()


def test_processes_live_in_a_cgroup_that_was_killed_before(killed_once: Path) -> None:
    """Whether the kernel lets cgroups be used there or not."""

    def enter() -> None:
        (killed_once / "cgroup.procs").write_text(str(os.getpid()))

    done = subprocess.run(
        [sys.executable, "-c", NODE], preexec_fn=enter, capture_output=True, text=True, check=True
    )
    way, code = done.stdout.split()
    assert way in ("cgroup", "lineage")
    assert code == "7"
