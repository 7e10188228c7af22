"""What is true after an attempt that failed."""

import json
from pathlib import Path

from tests.sandbox.world import World


def facts_of(world: World, path: str) -> str:
    return json.dumps({**world.facts, "path": path})


def check(world: World, out: str, err: str, code: int) -> None:
    killed = code in (128 + 31, -31)  # SIGSYS, for a foreign ABI
    assert out.startswith("refused") or killed, f"{out}{err}{code}"
    assert world.unharmed
    assert sorted(path.name for path in world.outside.iterdir()) == ["file", "listener", "mailbox"]
    file = world.outside / "file"
    assert file.read_text() == "of somebody else"
    assert file.stat().st_nlink == 1
    assert world.workspace.is_dir()
    assert (world.workspace / ".git/config").read_text() == "as it was"
    assert (world.workspace / "deep/down/kept").read_text() == "as it was"
    assert (world.workspace / "secret").read_text() == "hidden"
    assert not (world.workspace / ".codex").exists()
    assert not Path(f"/dev/shm/{world.facts['shm_name']}-left").exists()
