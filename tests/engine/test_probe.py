import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from execnode.engine.probe import Probe, _parse, probe
from tests.engine.family import build_helper, nothing_leaks
from tests.locate import ROOT

NAMES = [
    "kernel",
    "cgroup",
    "clone3",
    "lineage",
    "subreaper",
    "landlock",
    "seccomp",
    "user-namespace",
    "network-namespace",
    "pid-namespace",
    "terminals",
    "limits",
    "spill",
]


@pytest.fixture(scope="module")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_helper(tmp_path_factory.mktemp("helper"))


@pytest.fixture(scope="module")
def found(helper: Path) -> dict[str, Probe]:
    return {result.name: result for result in probe(helper=helper)}


def test_everything_is_tried_and_said_in_words(found: dict[str, Probe]) -> None:
    assert list(found) == NAMES
    assert all(result.detail for result in found.values())


@pytest.mark.parametrize("name", ["kernel", "clone3", "lineage", "subreaper", "terminals"])
def test_what_the_engine_itself_needs_is_there(found: dict[str, Probe], name: str) -> None:
    assert found[name].ok, found[name].detail


def test_the_answer_is_fit_for_json(found: dict[str, Probe]) -> None:
    results = [asdict(result) for result in found.values()]
    assert json.loads(json.dumps(results)) == results


def test_a_probe_leaves_nothing_behind(helper: Path) -> None:
    before = set(Path("/sys/fs/cgroup").rglob(f"execnode-{os.getpid()}-*"))
    with nothing_leaks():
        probe(helper=helper)
    assert set(Path("/sys/fs/cgroup").rglob(f"execnode-{os.getpid()}-*")) == before


def test_a_missing_helper_is_said_and_the_rest_is_tried(tmp_path: Path) -> None:
    names = {result.name: result for result in probe(helper=tmp_path / "none")}
    assert not names["helper"].ok
    assert "No such file" in names["helper"].detail
    assert names["terminals"].ok


def test_a_folder_that_cannot_be_spilled_to_is_said(helper: Path, tmp_path: Path) -> None:
    [result] = [
        result for result in probe(tmp_path / "none", helper=helper) if result.name == "spill"
    ]
    assert result == Probe("spill", False, f"{tmp_path}/none: No such file or directory")


def test_a_refusal_is_found_by_trying() -> None:
    """The kernel has it all; a limit or a filter on this process takes it away."""
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "from execnode.engine.probe import _terminals\n"
        "print(_terminals().ok)\n"
    )
    script = f"import execnode.engine.probe\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"


def test_namespaces_that_are_refused_are_reported_with_the_reason(helper: Path) -> None:
    """In a user namespace whose own limit of user namespaces is zero."""
    script = f"echo 0 >/proc/sys/user/max_user_namespaces && exec -a execnode-probe {helper}"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "bash", "-c", script],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(done.stderr)
    results = {result.name: result for result in map(_parse, done.stdout.splitlines())}
    assert not results["user-namespace"].ok
    assert results["user-namespace"].detail == "unshare CLONE_NEWUSER: No space left on device"
    assert results["seccomp"].ok
