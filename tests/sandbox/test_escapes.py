"""Nothing gets out: each attempt of attempts.py, on both paths, as root and as nobody."""

import pytest

from execnode.engine._pty import landlock_abi
from tests.sandbox.attempts import ATTEMPTS
from tests.sandbox.judging import check, facts_of
from tests.sandbox.world import HERE, PYTHON, World

TOLD_APART = ("protected", "hidden", "missing", "rename_the_w")
NAMESPACED = [
    name for name in ATTEMPTS if any(word in name for word in TOLD_APART)
]  # the fast path knows no such rules


@pytest.mark.parametrize("name", ATTEMPTS)
def test_namespaces_hold_against(name: str, fresh: World) -> None:
    ws = fresh.workspace
    done = fresh.run(
        ["--profile", "workspace-write", "--read-only", ws / "deep/down/kept",
         "--deny", ws / "secret", "--deny", ws / "hidden"],
        PYTHON, "-I", HERE / "attempts.py", name, facts_of(fresh, "namespaces"),
    )  # fmt: skip
    check(fresh, done.stdout, done.stderr, done.returncode)


@pytest.mark.skipif(landlock_abi() < 6, reason="Landlock ABI 6 is missing")
@pytest.mark.parametrize("name", [name for name in ATTEMPTS if name not in NAMESPACED])
def test_the_fast_path_holds_against(name: str, fresh: World) -> None:
    done = fresh.run_fast(
        [("/", "read")],
        PYTHON, "-I", HERE / "attempts.py", name, facts_of(fresh, "fast"),
    )  # fmt: skip
    check(fresh, done.stdout, done.stderr, done.returncode)
