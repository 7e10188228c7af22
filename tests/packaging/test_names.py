"""The installation puts `execnode` on the path, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

import execnode
from tests.locate import ROOT


@pytest.mark.parametrize("name", ["src", "src.engine", "engine", "server", "client", "protocol"])
@pytest.mark.parametrize("cwd", [ROOT, Path("/")], ids=["root", "elsewhere"])
def test_our_folders_are_not_importable_by_their_own_names(name: str, cwd: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr
    if name == "src" and cwd == ROOT:
        assert "import execnode, not src" in done.stderr


@pytest.mark.parametrize("name", execnode.__all__)
def test_public_names_are_listed_and_load_on_first_use(name: str) -> None:
    assert name in dir(execnode)
    assert getattr(execnode, name) is not None


@pytest.mark.parametrize("name", ["nonsense", "_private"])
def test_a_name_that_is_not_public_is_refused(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'execnode' has no attribute '{name}'"):
        getattr(execnode, name)


def test_importing_execnode_loads_neither_an_event_loop_nor_the_engine(tmp_path: Path) -> None:
    code = (
        "import sys, execnode; "
        "print([m for m in ('trio', 'anyio', 'asyncio', 'execnode.engine') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
