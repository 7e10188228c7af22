"""Random profiles about random trees: what their plans allow works inside, and nothing else."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import given, settings

from tests.policy.test_properties import (
    Wish,
    everywhere,
    grow,
    plan_of,
    profiles,
    project_roots,
    trees,
)
from tests.sandbox.conftest import uid_of
from tests.sandbox.probing import asked, check_plan, in_namespaces
from tests.sandbox.world import World

# Without a look at the tree, and so that Python runs.
SYSTEM = Wish("minimal", "", "read")


@pytest.fixture(scope="module", params=["root", "nobody"])
def user(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(uid_of(request.param)) as world:
        yield world


def is_plain(path: str) -> bool:
    """Whether there is no link in a path."""
    return os.path.realpath(path) == path and not Path(path).is_symlink()


@settings(deadline=None, max_examples=40)
@given(trees, profiles, project_roots)
def test_what_a_plan_allows_works_and_nothing_else(
    user: World, tree: list[str], profile: list[Wish], projects: list[str]
) -> None:
    folder = Path(mkdtemp(prefix="tree-", dir=user.base))
    try:
        places = grow(str(folder), tree)
        for above, folders, files in os.walk(folder):
            for path in (above, *(f"{above}/{name}" for name in (*folders, *files))):
                os.chown(path, user.uid, user.uid, follow_symlinks=False)
        plan = plan_of(places, [SYSTEM, *profile], projects)
        paths = {path for path in everywhere(places) if path.startswith(f"{folder}/")}
        real = {path for path in paths if is_plain(path)}
        there = {path for path in real if os.path.lexists(path)}
        names = {path for path in real - there if Path(path).parent.is_dir()}
        answer = in_namespaces(user, plan, asked(folder, there, names))
        check_plan(plan, answer)
    finally:
        shutil.rmtree(folder)
