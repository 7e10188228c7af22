"""Nothing is weaker for being reached through a link."""

import os

import pytest

from execnode.policy.look import End, resolve
from tests.policy.worlds import READ_ALL, WRITE_PROJECT, World, special


@pytest.fixture
def linked(world: World) -> World:
    """A project in real/ that is also called link/, and a folder beside it."""
    world.make("real/in/f", "real/.git/c", "beside/d/", "link->real")
    return world


# --- roots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["link", "link/in"])
def test_a_root_is_what_its_link_leads_to(linked: World, root: str) -> None:
    assert linked.plan(READ_ALL, WRITE_PROJECT, roots=[root]) == linked.plan(
        READ_ALL, WRITE_PROJECT, roots=[root.replace("link", "real")]
    )


@pytest.mark.parametrize("narrowed", ["link/in", "real/in"])
@pytest.mark.parametrize("written", ["link", "real"])
@pytest.mark.parametrize(("access", "rights"), [("deny", ""), ("read", "r")])
def test_it_does_not_matter_by_which_name_a_path_is_narrowed(
    linked: World, narrowed: str, written: str, access: str, rights: str
) -> None:
    plan = linked.plan(READ_ALL, linked.entry(written, "write"), linked.entry(narrowed, access))
    linked.check(plan, f"real:rw real/in:{rights or '-'} real/in/f:{rights or '-'}")


def test_a_link_out_of_what_may_be_written_grants_nothing(linked: World) -> None:
    linked.make("real/out->~/beside")
    plan = linked.plan(READ_ALL, WRITE_PROJECT, roots=["real"])
    linked.check(plan, "beside:r beside/d:r")


def test_a_link_that_is_named_with_write_grants_its_target(linked: World) -> None:
    linked.make("real/out->~/beside")
    entries = (READ_ALL, linked.entry("real/out", "write"))
    assert linked.plan(*entries) == linked.plan(READ_ALL, linked.entry("beside", "write"))


# --- links that could be changed from inside ------------------------------------------------------


@pytest.mark.parametrize("access", ["read", "deny"])
def test_a_link_to_something_protected_stays_as_it_is(linked: World, access: str) -> None:
    linked.make("real/out->~/beside/d", "real/on->in")
    plan = linked.plan(
        READ_ALL,
        special("project_roots", "write"),
        linked.entry("real/out", access),
        linked.entry("real/on/f", access),
        roots=["real"],
    )
    told = linked.told(plan)
    assert (told["real/out"], told["real/on"]) == ("READ->", "READ->")
    assert told["real/in/f"] == access.upper()
    linked.check(plan, "real/out:r real/on:r")


def test_every_link_on_the_way_stays(linked: World) -> None:
    linked.make("real/one->two", "real/two->in", "real/in/three->f")
    plan = linked.plan(
        READ_ALL, WRITE_PROJECT, linked.entry("real/one/three", "deny"), roots=["real"]
    )
    told = linked.told(plan)
    assert [told[f"real/{name}"] for name in ("one", "two", "in/three")] == ["READ->"] * 3
    assert told["real/in/f"] == "DENY"


def test_links_that_cannot_be_changed_from_inside_need_no_rule(linked: World) -> None:
    plan = linked.plan(READ_ALL, linked.entry("link/in", "deny"))
    assert linked.told(plan) == {"/": "READ", "real/in": "DENY"}


def test_a_link_is_shown_where_it_would_be_invisible(linked: World) -> None:
    for access in ("read", "write"):
        plan = linked.plan(linked.entry("link/in", access))
        assert linked.told(plan)["link"] == "READ->"
        linked.check(plan, "link:r real:-")
    assert linked.plan(linked.entry("link/in", "deny")).rules == ()


# --- protected names ------------------------------------------------------------------------------


def test_a_protected_name_that_is_a_link_stays_and_leads_to_something_protected(
    linked: World,
) -> None:
    linked.make("real/.codex->in", "real/.agents->~/beside/d", "real/.aws->nowhere")
    plan = linked.plan(READ_ALL, WRITE_PROJECT, linked.entry("beside", "write"), roots=["real"])
    told = linked.told(plan)
    assert [told[f"real/{name}"] for name in (".codex", ".agents", ".aws")] == ["READ->"] * 3
    assert (told["real/in"], told["beside/d"], told["real/nowhere"]) == (
        *("READ", "READ", "missing"),
    )


def test_a_protected_name_never_shows_what_it_leads_to(linked: World) -> None:
    linked.make("real/.codex->~/beside")
    plan = linked.plan(WRITE_PROJECT, roots=["real"])
    linked.check(plan, "beside:-")


def test_a_protected_link_that_is_named_with_write_may_be_changed(linked: World) -> None:
    linked.make("real/.codex->in")
    plan = linked.plan(
        READ_ALL, WRITE_PROJECT, linked.entry("real/.codex", "write"), roots=["real"]
    )
    assert "real/.codex" not in linked.told(plan)
    linked.check(plan, "real/in/f:rw")


# --- git ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["gitdir: repository\n", "gitdir: ~/repository\n"])
def test_the_repository_that_a_git_file_names_is_protected(world: World, text: str) -> None:
    world.make(f".git={text}", "repository/config")
    plan = world.plan(READ_ALL, WRITE_PROJECT)
    world.check(plan, ".git:r repository:r repository/config:r")


def test_so_is_the_one_that_a_worktree_shares(world: World) -> None:
    own = "main/.git/worktrees/w"
    world.make(f"w/.git=gitdir: ~/{own}\n", f"{own}/commondir=../..\n", "main/.git/hooks/")
    plan = world.plan(READ_ALL, WRITE_PROJECT, world.entry("main", "write"), roots=["w"])
    world.check(plan, f"main:rw main/.git/hooks:r {own}:r")
    inside = world.plan(READ_ALL, WRITE_PROJECT)  # main/.git is at the top of nothing
    world.check(inside, f"main/.git/hooks:rw {own}:rw")


def test_a_repository_that_is_missing_cannot_be_made(world: World) -> None:
    world.make(".git=gitdir: repository\n")
    assert world.path("repository") in world.plan(READ_ALL, WRITE_PROJECT).missing


def test_a_repository_that_is_named_with_write_may_be_written(world: World) -> None:
    world.make(".git=gitdir: repository\n", "repository/")
    plan = world.plan(READ_ALL, WRITE_PROJECT, world.entry("repository", "write"))
    world.check(plan, ".git:r repository:rw")


def test_a_git_file_never_shows_anything(world: World) -> None:
    world.make("w/.git=gitdir: ~/repository\n", "repository/")
    world.check(world.plan(WRITE_PROJECT, roots=["w"]), "repository:-")


@pytest.mark.parametrize("text", ["gitdir:repository\n", "x", "", "gitdir: a\0b"])
def test_what_git_does_not_take_for_a_git_file_names_nothing(world: World, text: str) -> None:
    world.make("repository/")
    (world.folder / ".git").write_text(text)
    world.check(world.plan(READ_ALL, WRITE_PROJECT), "repository:rw")


def test_a_git_name_that_is_no_file_is_not_read(world: World) -> None:
    os.mkfifo(world.folder / ".git")
    world.check(world.plan(READ_ALL, WRITE_PROJECT), ".git:r")


# --- the way along a path -------------------------------------------------------------------------


def test_resolving_agrees_with_the_system(linked: World) -> None:
    linked.make("a/up->../link/in/../in", "abs->~/a", "self->.", "dots->a/../beside")
    for name in ("link/in/f", "a/up/f", "abs/up", "self/self/link", "dots/d", "a/../link"):
        path = os.fsencode(linked.folder / name)
        place = resolve(path)
        assert (place.end, place.real, place.rest) == (End.FOUND, os.path.realpath(path), ())
    assert resolve(b"/").real == b"/"
    assert resolve(b"/../..").real == b"/"


def test_where_a_way_ends(linked: World) -> None:
    linked.make("loop->loop", "dangling->no/where")
    real, folder = linked.path("real"), linked.path(".")
    ends = {
        "real/a/b": (End.MISSING, real, (b"a", b"b")),
        "real/in/f/x": (End.NO_FOLDER, linked.path("real/in/f"), (b"x",)),
        "dangling/x": (End.MISSING, folder, (b"no", b"where", b"x")),
        "loop/x": (End.NEVER, folder, (b"loop", b"x")),
        "real/" + "n" * 300: (End.NEVER, real, (b"n" * 300,)),
    }
    for name, expected in ends.items():
        place = resolve(linked.path(name))
        assert (place.end, place.real, place.rest) == expected
    assert resolve(linked.path("dangling")).target == linked.path("no/where")


def test_what_cannot_be_looked_into_is_treated_as_a_whole(unprivileged_world: World) -> None:
    world = unprivileged_world
    world.make("shut/secret")
    (world.folder / "shut").chmod(0)
    for access, rights in (("deny", ""), ("read", "r")):
        plan = world.plan(READ_ALL, WRITE_PROJECT, world.entry("shut/secret", access))
        world.check(plan, f"shut/x:{rights or '-'}")
    assert world.plan(world.entry("shut/secret", "read")).rules == ()
