"""A plan never allows what its profile does not: plans of random profiles about random trees.

The rules of the dialect are written down here a second time, the slow and obvious way: every entry
is asked about every path, and the longest match decides.
"""

import fnmatch
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from execnode.policy.normal_form import Claim, rules_of
from execnode.policy.plan import Access, Plan, allows
from tests.policy.worlds import World, pattern, special

READ, WRITE = Access.READ, Access.WRITE
PROTECTED = (".git", ".agents", ".codex", ".aws")
STRENGTH = {"read": 0, "write": 1, "deny": 2}

# --- what is drawn --------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "x.env", ".git"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
accesses = st.sampled_from(["read", "write", "deny"])


@dataclass(frozen=True)
class Wish:
    """An entry of a profile: a path, a pattern, or a special place by its kind."""

    kind: str
    text: str
    access: str


def wishes(kinds: st.SearchStrategy[Wish]) -> st.SearchStrategy[list[Wish]]:
    return st.lists(kinds, max_size=5)


fixed = st.builds(Wish, st.just("path"), paths | st.just("."), accesses)
roots = st.builds(Wish, st.sampled_from(["root", "project_roots"]), st.just(""), accesses)
globs = st.builds(Wish, st.just("glob"), st.sampled_from(["*.env", "**/*.env", "a/*"]), accesses)
plain_trees = st.lists(paths.map(lambda path: f"{path}/f"), max_size=5)
links = st.builds("{}->{}".format, paths, paths.map("~/{}".format) | names)
trees = st.lists(paths.map(lambda path: f"{path}/f") | links, max_size=7)
profiles = wishes(fixed | fixed | roots | globs)
project_roots = st.lists(paths | st.just("."), max_size=2)


def grow(folder: str, tree: list[str]) -> World:
    """Make what of a tree can be made: some of it is in the way of the rest."""
    world = World(Path(folder))
    for each in tree:
        try:
            world.make(each)
        except OSError:
            continue
    return world


def plan_of(world: World, profile: list[Wish], projects: list[str]) -> Plan:
    entries = [
        world.entry(wish.text, wish.access)
        if wish.kind == "path"
        else pattern(wish.text, wish.access)
        if wish.kind == "glob"
        else special(wish.kind, wish.access)
        for wish in profile
    ]
    return world.plan(*entries, roots=projects)


def everywhere(world: World) -> Iterator[str]:
    """All that is there, names that are not, and what lies above."""
    yield from ("/", str(world.folder.parent))
    for folder, folders, files in os.walk(world.folder):
        yield folder
        for name in (*folders, *files, *PROTECTED, "a", "new"):
            yield f"{folder}/{name}"
            yield f"{folder}/{name}/new"


# --- the rules, the slow way ----------------------------------------------------------------------


class Dialect:
    """The rules of section 10.3 for one profile in one world."""

    def __init__(self, world: World, profile: list[Wish], projects: list[str]) -> None:
        self.top = str(world.folder)
        self.projects = projects
        self.places = [(place, wish.access) for wish in profile for place in self.matches(wish)]
        # The root with write, and nothing that narrows it.
        self.everything = any(wish.kind == "root" and wish.access == "write" for wish in profile)
        for wish in profile:
            narrows = self.matches(wish) or wish.kind == "glob"
            if wish.access == "deny" or (wish.access == "read" and wish.kind != "root"):
                self.everything &= not narrows

    def matches(self, wish: Wish) -> list[str]:
        """The paths of an entry, without links."""
        match wish.kind:
            case "root":
                return ["/"]
            case "project_roots":
                return [self.real(project) for project in self.projects]
            case "path":
                return [self.real(wish.text)]
        if wish.access != "deny":
            return []
        # Any number of folders, or as many as the pattern has.
        anywhere, name_pattern = wish.text.startswith("**/"), wish.text.removeprefix("**/")
        return [
            f"{folder}/{name}"
            for folder, folders, files in os.walk(self.top)
            for name in (*folders, *files)
            if fnmatch.fnmatch(
                name if anywhere else os.path.relpath(f"{folder}/{name}", self.top), name_pattern
            )
            and (anywhere or self.depth(f"{folder}/{name}") == wish.text.count("/") + 1)
        ]

    def depth(self, path: str) -> int:
        return len(Path(path).relative_to(self.top).parts)

    def real(self, text: str) -> str:
        return os.path.realpath(f"{self.top}/{text}")

    def decide(self, path: str) -> str | None:
        """The access of the longest match; deny over write over read."""
        decided = self.longest(path, self.places)
        if decided == "write" and not self.everything:
            return self.longest(path, [*self.places, *self.protected()])
        return decided

    def longest(self, path: str, places: list[tuple[str, str]]) -> str | None:
        claims = [
            (len(place), STRENGTH[access], access)
            for place, access in places
            if path == place or path.startswith(f"{place.rstrip('/')}/")
        ]
        return max(claims)[2] if claims else None

    def protected(self) -> Iterator[tuple[str, str]]:
        written = [place for place, access in self.places if access == "write"]
        for place in written:
            if Path(place).is_dir():
                names = (f"{place.rstrip('/')}/{name}" for name in PROTECTED)
                yield from ((name, "read") for name in names if name not in written)

    def allows(self, path: str, right: Access) -> bool:
        decided = self.decide(path)
        return decided == "write" or (decided == "read" and right is READ)


# --- properties -----------------------------------------------------------------------------------

slow = settings(deadline=None, max_examples=150)


@slow
@given(trees, profiles, project_roots)
def test_a_plan_never_allows_what_its_profile_does_not(
    tree: list[str], profile: list[Wish], projects: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = grow(folder, tree)
        plan = plan_of(world, profile, projects)
        dialect = Dialect(world, profile, projects)
        for path in map(os.path.realpath, everywhere(world)):
            parent = os.fsencode(Path(path).parent)
            if not os.path.lexists(path) and not allows(plan, parent, WRITE):
                continue  # it is not there, and nobody inside can make it
            if Path(path).is_symlink():
                continue  # it leads to itself
            for right in (READ, WRITE):
                if allows(plan, path.encode(), right):
                    assert dialect.allows(path, right), (path, right, plan)


@slow
@given(plain_trees, wishes(fixed | roots), project_roots)
def test_without_links_a_plan_allows_what_its_profile_does(
    tree: list[str], profile: list[Wish], projects: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = grow(folder, tree)
        plan = plan_of(world, profile, projects)
        dialect = Dialect(world, profile, projects)
        for path, _, _ in os.walk(world.folder):
            for right in (READ, WRITE):
                assert allows(plan, path.encode(), right) is dialect.allows(path, right)


@slow
@given(trees, profiles, paths, paths | st.just("gone"), paths, st.sampled_from(["read", "deny"]))
def test_no_link_to_something_narrowed_can_be_changed(
    tree: list[str], profile: list[Wish], link: str, target: str, below: str, access: str
) -> None:
    narrowing = [Wish("path", text, access) for text in (link, f"{link}/{below}")]
    with tempfile.TemporaryDirectory() as folder:
        world = grow(folder, [f"{link}->~/{target}", *tree])
        own = world.folder / link
        for wish in narrowing:
            plan = plan_of(world, [Wish("path", ".", "write"), *profile, wish], [])
            assert own.is_symlink()
            assert not allows(plan, bytes(own), WRITE)


@slow
@given(trees, profiles, project_roots, st.data())
def test_the_order_of_entries_is_irrelevant(
    tree: list[str], profile: list[Wish], projects: list[str], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(profile))
    with tempfile.TemporaryDirectory() as folder:
        world = grow(folder, tree)
        plan = plan_of(world, profile, projects)
        assert plan_of(world, shuffled, projects[::-1]) == plan
        assert plan_of(world, [*profile, *profile[::-1]], projects) == plan


@slow
@given(trees, profiles, project_roots)
def test_the_normal_form_is_its_own_and_every_rule_matters(
    tree: list[str], profile: list[Wish], projects: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(grow(folder, tree), profile, projects)
    claims = [Claim(rule.path, rule.access, link=rule.link) for rule in plan.rules]
    assert rules_of(claims, minimal=plan.minimal) == plan.rules
    for rule in plan.rules:
        without = Plan(tuple(each for each in plan.rules if each != rule), plan.minimal)
        rights = [
            [allows(each, rule.path, right) for right in (READ, WRITE)] for each in (plan, without)
        ]
        assert rights[0] != rights[1]


@slow
@given(trees, profiles, project_roots, fixed | globs | roots)
def test_a_deny_never_allows_more(
    tree: list[str], profile: list[Wish], projects: list[str], wish: Wish
) -> None:
    denied = Wish(wish.kind, wish.text, "deny")
    with tempfile.TemporaryDirectory() as folder:
        world = grow(folder, tree)
        before = plan_of(world, profile, projects)
        after = plan_of(world, [*profile, denied], projects)
        for name in everywhere(world):
            for path in {name, os.path.realpath(name)}:
                for right in (READ, WRITE):
                    if allows(after, path.encode(), right):
                        assert allows(before, path.encode(), right)


@slow
@given(trees, profiles, project_roots)
def test_what_may_not_come_into_being_can_be_prevented(
    tree: list[str], profile: list[Wish], projects: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of(grow(folder, tree), profile, projects)
        for path in plan.missing:
            assert not os.path.lexists(path)
            above = Path(os.fsdecode(path)).parent
            assert above.is_dir()
            assert allows(plan, bytes(above), WRITE)
        for path in plan.pins():
            assert Path(os.fsdecode(path)).is_dir()
            assert allows(plan, path, WRITE)
