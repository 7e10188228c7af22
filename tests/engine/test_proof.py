"""Proving the sandbox by attempts, on this kernel and on ones that give less."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from execnode.engine._pty import PROTECTIONS, landlock_abi
from execnode.engine.probe import Probe
from execnode.engine.programs import HELPER
from execnode.engine.proof import prove_sandbox
from tests.engine.family import nothing_leaks
from tests.sandbox.simulator import build_simulator
from tests.sandbox.world import NOBODY, PYTHON, World

pytestmark = pytest.mark.skipif(landlock_abi() < 7, reason="Landlock ABI 7 is missing")

SCRIPT = """
import dataclasses, json
from execnode.engine.proof import prove_sandbox
print(json.dumps([dataclasses.asdict(each) for each in prove_sandbox()]))
"""


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_simulator(tmp_path_factory.mktemp("kernels"))


def proved_on(simulator: Path, words: str) -> dict[str, Probe]:
    done = subprocess.run(
        [simulator, *words.split(), "--", sys.executable, "-c", SCRIPT],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {each["name"]: Probe(**each) for each in json.loads(done.stdout)}


def lacking(found: dict[str, Probe]) -> set[str]:
    listed = {
        name.removeprefix("protection "): probe
        for name, probe in found.items()
        if name.startswith("protection ")
    }
    assert listed.keys() == PROTECTIONS.keys()
    for name, probe in listed.items():
        assert probe.detail == ("is here" if probe.ok else PROTECTIONS[name])
    return {name for name, probe in listed.items() if not probe.ok}


def test_here_everything_is_refused_and_nothing_lacks() -> None:
    with nothing_leaks():
        found = {each.name: each for each in prove_sandbox()}
    assert lacking(found) == set()
    for way in ("sandbox-fast", "sandbox-namespaces"):
        assert found[way].ok, found[way].detail
        assert found[way].detail == "19 of 19 attempts refused"


def test_what_is_attempted_would_work_outside() -> None:
    """Else nothing would be proved."""
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    with World(uid) as world, socket.socket(socket.AF_UNIX) as listener:
        name = f"execnode-outside-{os.getpid()}"
        listener.bind(f"\0{name}")
        listener.listen()
        sleeper = [PYTHON, "-c", "import sys; sys.stdin.read()"]
        with subprocess.Popen(sleeper, stdin=subprocess.PIPE, **world.user) as victim:
            words = ["--inside", str(world.outside), str(victim.pid), name]
            done = subprocess.run(
                ["execnode-probe", *words],
                executable=world.helper, capture_output=True, text=True, check=True, **world.user,
            )  # fmt: skip
            victim.kill()
    results = dict(line.split("=") for line in done.stdout.splitlines())
    assert len(results) == 19
    through = {what for what, result in results.items() if result == "let through"}
    assert through >= {
        "write a file", "truncate a file", "make a file", "change a mode", "remove a file",
        "make an internet socket", "connect to a socket", "send a signal", "trace a process",
        "read memory", "read an environment", "change a priority", "type into the terminal",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--landlock 6", ""),
        ("--landlock 5", "landlock-signals"),
        ("--landlock 3", "landlock-ports landlock-ioctl landlock-signals"),
        ("--refuse network-namespace=ENOSPC", "network-namespace"),
        ("--refuse mount-proc=EPERM", "private-proc"),
        ("--refuse mount-proc=EPERM --refuse network-namespace=ENOSPC",
         "private-proc network-namespace"),
        ("--refuse namespaces=EPERM", "namespaces"),
        ("--refuse move_mount=ENOSYS --landlock 4", "namespaces landlock-ioctl landlock-signals"),
        ("--refuse namespaces=EPERM --landlock 0", "namespaces landlock landlock-ports"),
    ],
)  # fmt: skip
def test_on_a_lesser_kernel_what_lacks_is_named(simulator: Path, words: str, wanted: str) -> None:
    assert lacking(proved_on(simulator, words)) == {*wanted.split()}


def test_what_is_let_through_is_named(simulator: Path) -> None:
    found = proved_on(simulator, "--refuse namespaces=EPERM --landlock 0")
    for way in ("sandbox-fast", "sandbox-namespaces"):
        assert not found[way].ok
        assert "let through: write a file" in found[way].detail
        assert "lacks landlock" in found[way].detail


def test_without_a_filter_nothing_runs(simulator: Path) -> None:
    found = proved_on(simulator, "--refuse seccomp=ENOSYS")
    assert found["sandbox-fast"].detail == "sandbox: Function not implemented"
    assert "this kernel gives no seccomp" in found["sandbox-namespaces"].detail


def test_without_a_helper_it_is_said() -> None:
    found = {each.name: each for each in prove_sandbox(Path("/no/helper"))}
    assert "No such file" in found["sandbox-fast"].detail
    assert "No such file" in found["sandbox-namespaces"].detail
    assert HELPER.exists()
