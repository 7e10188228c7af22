"""Copy the tree, make environments, install into them."""

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.locate import ROOT

# What a fresh checkout does not have.
LEFT_BEHIND = shutil.ignore_patterns(
    ".*_cache", ".benchmarks", ".git", ".hypothesis", ".venv", "*.egg-info", "*.o", "*.so",
    "__pycache__", "build", "dist", "execnode-execve-wrapper",
    "execnode-helper",
)  # fmt: skip


@dataclass(frozen=True)
class Archives:
    """The two files that a release consists of."""

    sdist: Path
    wheel: Path


def call(*args: str | Path, cwd: Path) -> str:
    """Run a command and return its stdout; its whole output is the failure's message."""
    done = subprocess.run(args, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip_install(environment: Path, *args: str | Path, cwd: Path) -> None:
    """Install with this environment's pip into another one, which needs none."""
    python = environment / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "-qq", *args, cwd=cwd)


def new_environment(folder: Path, *, borrow: bool = False) -> Path:
    """Make a virtual environment; `borrow` lets it import this one's libraries.

    A `.pth` file adds the folder as it stands: editable installs in it are not seen.
    """
    venv.create(folder, symlinks=True)
    if borrow:
        libraries = Path(pytest.__file__).parents[1]
        (site_packages(folder) / "borrowed.pth").write_text(f"{libraries}\n")
    return folder


def site_packages(environment: Path) -> Path:
    [folder] = environment.glob("lib/python3*/site-packages")
    return folder


def copy_tree(to: Path) -> Path:
    """Copy this tree as a fresh checkout has it."""
    shutil.copytree(ROOT, to, ignore=LEFT_BEHIND, symlinks=True)
    return to
