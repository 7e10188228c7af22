"""The helper and its filter as arm64 has them: cross-compiled, and run in an emulator."""

import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from tests.sandbox import bpf
from tests.sandbox.world import HERE

ROOT = Path(__file__).parents[2]
CC = shutil.which("aarch64-linux-gnu-gcc")
EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
FLAGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/src", "-static"]
MECHANISM = ROOT / "src/engine/_seccomp"

pytestmark = pytest.mark.skipif(not CC, reason="no aarch64-linux-gnu-gcc")
emulated = pytest.mark.skipif(not EMULATOR, reason="no qemu-aarch64-static")


def compiled(compiler: str, folder: Path, *sources: Path) -> Path:
    program = folder / Path(compiler).name
    subprocess.run([compiler, *FLAGS, "-o", program, *sources], check=True)
    return program


@pytest.fixture(scope="module")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arm64")
    return compiled(str(CC), folder, *sorted(MECHANISM.glob("*.c")))


def test_the_helper_is_one_static_program(helper: Path) -> None:
    assert helper.read_bytes()[18:20] == b"\xb7\x00"  # EM_AARCH64
    headers = subprocess.run(
        ["readelf", "--program-headers", "--wide", helper], capture_output=True, text=True
    )
    assert "LOAD" in headers.stdout
    assert "INTERP" not in headers.stdout
    assert "DYNAMIC" not in headers.stdout


def test_the_numbers_of_system_calls_are_those_of_its_headers() -> None:
    """The filter's tests read asm-generic/unistd.h of the machine that they run on."""
    listed = subprocess.run(
        [str(CC), "-dM", "-E", "-include", "sys/syscall.h", "-"],
        input="", capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", listed.stdout)
    theirs = {name: int(number) for name, number in found}
    ours = bpf.numbers("arm64")
    assert len(theirs.keys() & ours.keys()) > 290
    assert {name: ours[name] for name in theirs.keys() & ours.keys()} == {
        name: theirs[name] for name in theirs.keys() & ours.keys()
    }


@emulated
def test_the_helper_explains_itself(helper: Path) -> None:
    done = subprocess.run(
        [str(EMULATOR), "-0", "execnode-linux-sandbox", helper, "--bad", "x", "--", "true"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "unknown option --bad" in done.stderr


@emulated
def test_the_helper_runs_what_is_not_restricted(helper: Path) -> None:
    done = subprocess.run(
        [str(EMULATOR), "-0", "execnode-linux-sandbox", helper,
         "--profile", "full-access", "--", "echo", "ran"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "ran\n")


@emulated
def test_the_filter_is_the_same_built_there(tmp_path: Path) -> None:
    sources = [HERE / "filter_dump.c", MECHANISM / "filter.c"]
    native = compiled(shutil.which("cc") or "gcc", tmp_path, *sources)
    theirs = compiled(str(CC), tmp_path, *sources)
    for words in product("01", "012", "01", "0", "01", "01", "01"):
        here = subprocess.run([native, *words], capture_output=True, check=True)
        there = subprocess.run([str(EMULATOR), theirs, *words], capture_output=True, check=True)
        assert here.stdout == there.stdout
        assert here.stdout
