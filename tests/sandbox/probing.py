"""operations.py in a sandbox: what it is asked, and whether its answer is what a plan says."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from execnode.policy.plan import Access, Plan, allows, parents
from tests.sandbox.world import HERE, PYTHON, World

__all__ = ["PROBE", "Answer", "asked", "check_plan", "every_path", "in_namespaces", "told"]

PROBE = (HERE / "operations.py").read_text()
ATTEMPTS = (HERE / "attempts.py").read_text()
# What a world needs to be as it is.
NOT_OURS = ("execnode-helper", "listener", "mailbox")

Answer: TypeAlias = dict[str, dict[str, str]]


def asked(
    base: Path,
    places: Iterable[str],
    names: Iterable[str],
    needed: Iterable[str] = (),
    attempts: Iterable[str] = (),
    facts: Mapping[str, object] | None = None,
) -> str:
    """What the probe is to try. It refuses attempts where they could succeed."""
    return json.dumps(
        {
            "base": str(base),
            "places": sorted(places),
            "names": sorted(names),
            "deeds": [*needed, *attempts],
            "attempts": ATTEMPTS if attempts else "",
            "facts": facts or {},
        }
    )


def told(done: subprocess.CompletedProcess[str]) -> Answer:
    assert done.returncode == 0, done.stderr
    answer: Answer = json.loads(done.stdout)
    return answer


def in_namespaces(world: World, plan: Plan, request: str) -> Answer:
    options = [os.fsdecode(word) for word in plan.helper_options()]
    done = subprocess.run(
        ["execnode-linux-sandbox", *options, "--", PYTHON, "-I", "-S", "-c", PROBE],
        executable=world.helper, input=request, capture_output=True, text=True, timeout=30,
        cwd=world.workspace, **world.user,
    )  # fmt: skip
    return told(done)


def every_path(base: Path) -> list[str]:
    """What the tree has, by paths without links."""
    return [
        f"{folder}/{name}"
        for folder, folders, files in os.walk(base)
        for name in (*folders, *files)
        if not Path(folder, name).is_symlink() and name not in NOT_OURS
    ]


def leads_on(plan: Plan, path: bytes) -> bool:
    """Whether a path is seen, though not covered, for the sake of something in it."""
    return any(rule.access is not Access.DENY and path in parents(rule.path) for rule in plan.rules)


def check_plan(plan: Plan, answer: Answer) -> None:
    """What was read and changed is what the plan says, in both directions."""
    for path, letters in answer["places"].items():
        real = os.fsencode(os.path.realpath(path))
        may_read, may_write = (allows(plan, real, right) for right in (Access.READ, Access.WRITE))
        readable = "r" in letters and not leads_on(plan, real)
        assert (readable or may_read, "w" in letters) == (may_read, may_write), (path, letters)
        assert readable or leads_on(plan, real) or not may_read, (path, letters)
    for path, sign in answer["names"].items():
        real = os.fsencode(os.path.realpath(path))
        assert (sign == "+") is allows(plan, real, Access.WRITE), (path, sign)
