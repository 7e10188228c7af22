"""The C core's own test programs, built and run as `make -C tests/core test` does."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "core"
PROGRAMS = sorted(source.stem for source in HERE.glob("test_*.c"))


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the programs; of several test processes only one builds at a time."""
    for tool in ("make", os.environ.get("CC", "cc")):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    BUILD.mkdir(parents=True, exist_ok=True)
    # An outer make's flags (--jobserver-auth and the like) are not for this one.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make = subprocess.run(
            ["make", "-C", HERE, "FLAVOUR=plain", "all"], env=clean, capture_output=True, text=True
        )
    assert make.returncode == 0, make.stdout + make.stderr
    return BUILD / "plain"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_check_passes(built: Path, program: str) -> None:
    done = subprocess.run([built / program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
