"""The wrapper when there is nobody to ask, or nothing to ask about."""

import os
import subprocess
from pathlib import Path

import pytest

from execnode.engine.programs import HELPER, WRAPPER
from execnode.escalation.variables import DESCRIPTOR


@pytest.mark.parametrize("number", [None, "", "x", "3x", "-1", "99999999999", "77", "1"])
def test_without_a_server_nothing_runs(tmp_path: Path, number: str | None) -> None:
    env = {} if number is None else {os.fsdecode(DESCRIPTOR): number}
    done = subprocess.run(
        [WRAPPER, "/bin/touch", "touch", tmp_path / "ran"], env=env, capture_output=True
    )
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"cannot ask the escalation server at $EXECNODE_ESCALATE_FD, so nothing" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "words", [[], ["/bin/true"], ["--help", "x"], ["-x", "/bin/true", "true"], ["--"], ["--", "f"]]
)
def test_unknown_options_and_missing_words_are_told_how_it_is_used(words: list[str]) -> None:
    done = subprocess.run([WRAPPER, *words], capture_output=True, env={})
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: execnode-execve-wrapper [--] FILE ARGV0 [ARG...]\n")


def test_help_is_no_mistake() -> None:
    done = subprocess.run([WRAPPER, "--help"], capture_output=True, check=True)
    assert done.stdout.startswith(b"usage: execnode-execve-wrapper [--] FILE ARGV0 [ARG...]\n")
    assert b"--supervise -- COMMAND" in done.stdout
    assert done.stderr == b""


def test_the_helper_lists_it() -> None:
    done = subprocess.run([HELPER], capture_output=True)
    assert b"execnode-execve-wrapper" in done.stderr
