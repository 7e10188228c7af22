"""Section 10 of the dialect, row by row: profile and tree in, rights out."""

import os
from typing import Any

import pytest

from execnode.policy.plan import UNRESTRICTED, Network, Plan
from execnode.policy.profile import plan_for
from execnode.policy.request import context_of, request_of
from execnode.protocol.errors import RpcError
from tests.policy.worlds import (
    READ_ALL,
    WRITE_ALL,
    WRITE_PROJECT,
    World,
    pattern,
    special,
)

FULL, NONE = Network(True), Network(False)


# --- profiles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "permissions",
    [
        {"type": "disabled"},
        {"type": "danger-full-access"},
        {"type": "external", "network": "enabled"},
        {"type": "managed", "file_system": {"type": "unrestricted"}, "network": "enabled"},
        {
            "type": "managed",
            "file_system": {"type": "restricted", "entries": [WRITE_ALL, READ_ALL]},
            "network": "enabled",
        },
    ],
    ids=lambda permissions: permissions["type"],
)
def test_profiles_that_restrict_nothing(world: World, permissions: dict[str, Any]) -> None:
    assert world.plan_of(world.context(permissions)) == UNRESTRICTED


@pytest.mark.parametrize(
    "permissions",
    [
        {"type": "external", "network": "restricted"},
        {"type": "managed", "file_system": {"type": "unrestricted"}, "network": "restricted"},
    ],
    ids=lambda permissions: permissions["type"],
)
def test_profiles_that_restrict_the_network_only(world: World, permissions: Any) -> None:
    plan = world.plan_of(world.context(permissions))
    assert plan == Plan(UNRESTRICTED.rules, network=NONE)
    assert plan.unrestricted_files
    assert not plan.unrestricted


def test_the_network_of_a_restricted_profile(world: World) -> None:
    assert world.plan(READ_ALL).network == NONE
    assert world.plan(READ_ALL, network="enabled").network == FULL


def test_the_older_read_only_form(world: World) -> None:
    plan = world.plan_of(world.context({"type": "read-only"}))
    assert plan == world.plan(READ_ALL)


def test_the_older_workspace_write_form_is_that_of_the_command_line(world: World) -> None:
    world.make("project/", "tmp/")
    tmpdir = world.path("tmp")
    older = world.context({"type": "workspace-write"}, ["project"])
    assert world.plan_of(older, tmpdir) == world.plan(
        READ_ALL,
        WRITE_PROJECT,
        special("slash_tmp", "write"),
        special("tmpdir", "write"),
        roots=["project"],
        tmpdir=tmpdir,
    )


def test_the_options_of_the_older_workspace_write_form(world: World) -> None:
    world.make("project/", "tmp/", "uri/", "native/")
    permissions = {
        "type": "workspace-write",
        "writable_roots": [world.uri("uri"), str(world.folder / "native")],
        "network_access": True,
        "exclude_tmpdir_env_var": True,
        "exclude_slash_tmp": True,
    }
    plan = world.plan_of(world.context(permissions, ["project"]), world.path("tmp"))
    assert plan.network == FULL
    world.check(plan, ".:r project:rw tmp:r uri:rw native:rw /tmp:r")


def test_the_older_workspace_write_form_works_in_the_cwd_without_workspace_roots(
    world: World,
) -> None:
    permissions = {"type": "workspace-write", "exclude_slash_tmp": True}
    plan = world.plan_of(world.context(permissions, []))
    world.check(plan, ".:rw .git:- /:r")


# --- places ---------------------------------------------------------------------------------------


def test_what_no_entry_covers_is_invisible(world: World) -> None:
    world.make("a/x", "b/")
    plan = world.plan(world.entry("a", "read"))
    world.check(plan, "a:r a/x:r b:- .:- /:- /usr:-")


def test_minimal(world: World) -> None:
    plan = world.plan(special("minimal", "read"), WRITE_PROJECT)
    assert plan.minimal
    world.check(plan, "/usr/bin/env:r /etc/passwd:r /var:- /home:- /tmp:- .:rw")


def test_minimal_never_lets_write(world: World) -> None:
    assert world.plan(special("minimal", "write")) == world.plan(special("minimal", "read"))


def test_minimal_adds_nothing_to_the_root(world: World) -> None:
    assert world.plan(READ_ALL, special("minimal", "read")) == world.plan(READ_ALL)


def test_minimal_narrows_a_writable_root(world: World) -> None:
    plan = world.plan(WRITE_ALL, special("minimal", "read"))
    world.check(plan, "/usr:r /etc:r /var:rw")


def test_minimal_denied_is_hidden(world: World) -> None:
    plan = world.plan(READ_ALL, special("minimal", "deny"))
    world.check(plan, "/usr:- /etc:- /var:r")


def test_minimal_can_be_narrowed_and_widened(world: World) -> None:
    plan = world.plan(
        special("minimal", "read"), world.entry("/etc/passwd", "deny"), world.entry("/etc", "read")
    )
    assert [rule.path for rule in plan.rules] == [b"/etc/passwd"]
    world.check(plan, "/etc/passwd:- /etc/group:r")


@pytest.mark.parametrize("kind", ["project_roots", "current_working_directory"])
def test_every_workspace_root_is_a_project_root(world: World, kind: str) -> None:
    world.make("a/", "b/", "c/")
    plan = world.plan(READ_ALL, special(kind, "write"), roots=["a", "b"])
    world.check(plan, "a:rw b:rw c:r")


def test_without_workspace_roots_project_roots_grant_nothing(world: World) -> None:
    assert world.plan(READ_ALL, WRITE_PROJECT, roots=[]) == world.plan(READ_ALL)


def test_a_subpath_of_project_roots(world: World) -> None:
    world.make("sub/deep/", "other/")
    for subpath in ("sub/deep", "sub/deep/"):
        plan = world.plan(READ_ALL, special("project_roots", "write", subpath=subpath))
        world.check(plan, ".:r sub:r sub/deep:rw")
    assert world.plan(special("project_roots", "read", subpath="")) == world.plan(
        special("project_roots", "read")
    )


@pytest.mark.parametrize("subpath", ["/etc", "../x", "a/../..", "./a", "a//b"])
@pytest.mark.parametrize("access", ["read", "write", "deny"])
def test_a_subpath_leads_down_or_is_refused(world: World, subpath: str, access: str) -> None:
    with pytest.raises(RpcError, match="does not lead down") as caught:
        world.plan(READ_ALL, special("project_roots", access, subpath=subpath))
    assert caught.value.code == -32602


def test_the_policy_context_takes_the_place_of_cwd_and_roots(world: World) -> None:
    world.make("a/x.env", "b/x.env")
    inner = {"cwd": world.uri("b"), "workspaceRoots": [world.uri("b")]}
    plan = world.plan(READ_ALL, WRITE_PROJECT, pattern("*.env"), roots=["a"], policyContext=inner)
    world.check(plan, "a:r a/x.env:r b:rw b/x.env:-")
    assert world.plan(READ_ALL, WRITE_PROJECT, policyContext={}) == world.plan(READ_ALL)


def test_tmpdir(world: World) -> None:
    world.make("t/")
    entries = (READ_ALL, special("tmpdir", "write"))
    plan = world.plan(*entries, tmpdir=world.path("t"))
    world.check(plan, "t:rw .:r")
    assert world.plan(*entries, tmpdir=b"t") == plan
    assert world.plan(*entries, tmpdir=os.fsencode(world.folder / "t" / ".." / "t")) == plan
    for nothing in (None, b"", world.path("missing"), b"missing"):
        assert world.plan(*entries, tmpdir=nothing) == world.plan(READ_ALL)


def test_slash_tmp(world: World) -> None:
    plan = world.plan(special("slash_tmp", "write"))
    world.check(plan, "/tmp:rw /var:-")


def test_unknown_places_cover_nothing(world: World) -> None:
    unknown = special("unknown", "write", path=str(world.folder), subpath="x")
    assert world.plan(READ_ALL, unknown) == world.plan(READ_ALL)


@pytest.mark.parametrize(
    "entry", [WRITE_PROJECT, special("current_working_directory", "read"), pattern("*.env")]
)
def test_what_depends_on_the_cwd_requires_one(world: World, entry: dict[str, Any]) -> None:
    sandbox = world.sandbox([READ_ALL, entry], cwd=None)
    with pytest.raises(RpcError, match="requires cwd") as caught:
        request_of(sandbox, context_of(sandbox, None, None))
    assert caught.value.code == -32602
    assert request_of(sandbox, context_of(sandbox, world.path("."), None)).cwd == world.path(".")


def test_an_absolute_pattern_requires_no_cwd(world: World) -> None:
    sandbox = world.sandbox([READ_ALL, pattern(world.tell("~/*.env"))], cwd=None)
    assert request_of(sandbox, context_of(sandbox, None, None)).cwd is None


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"cwd": "relative"}, -32602),
        ({"workspaceRoots": ["http://x/"]}, -32602),
        ({"policyContext": {"cwd": "x"}}, -32602),
        ({"userHomeDir": "x"}, -32602),
        ({"temporaryDirectories": ["file:///ok", "x"]}, -32602),
        ({"workspaceRoots": ["file://elsewhere/x"]}, -32600),
    ],
)
def test_paths_that_are_none(world: World, members: dict[str, Any], code: int) -> None:
    with pytest.raises(RpcError) as caught:
        world.plan(READ_ALL, **members)
    assert caught.value.code == code


def test_a_path_of_another_machine_in_an_entry(world: World) -> None:
    foreign = {"path": {"type": "path", "path": "file://elsewhere/x"}, "access": "read"}
    with pytest.raises(RpcError, match=r"^invalid sandbox permission path URI: 'file:") as caught:
        world.plan(foreign)
    assert caught.value.code == -32600


# --- rules ----------------------------------------------------------------------------------------


def test_the_longest_path_decides(world: World) -> None:
    world.make("sub/deep/x/y", "sub/z", "f")
    plan = world.plan(
        READ_ALL,
        WRITE_PROJECT,
        world.entry("sub", "read"),
        world.entry("sub/deep", "write"),
        world.entry("sub/deep/x", "deny"),
        world.entry("sub/deep/x/y", "read"),
    )
    world.check(plan, "f:rw sub:r sub/z:r sub/deep:rw sub/deep/x:- sub/deep/x/n:- sub/deep/x/y:r")


@pytest.mark.parametrize(
    ("accesses", "rights"),
    [
        (["read", "write"], "rw"),
        (["read", "deny"], ""),
        (["write", "deny"], ""),
        (["write", "none", "read"], ""),
    ],
)
def test_at_equal_length_deny_beats_write_beats_read(
    world: World, accesses: list[str], rights: str
) -> None:
    world.make("a/")
    entries = [world.entry("a", access) for access in accesses]
    for ordered in (entries, entries[::-1]):
        world.check(world.plan(READ_ALL, *ordered), f"a:{rights or '-'}")


def test_the_root_denied_is_no_rule_at_all(world: World) -> None:
    world.make("a/")
    denied = special("root", "deny")
    assert world.plan(denied, READ_ALL, world.entry("a", "read")) == world.plan(
        world.entry("a", "read")
    )
    assert world.plan(denied).rules == ()


@pytest.mark.parametrize(
    "narrowing",
    [
        special("slash_tmp", "deny"),
        special("slash_tmp", "read"),
        pattern("*.matches-nothing"),
        {"path": {"type": "path", "path": "file:///no/such/path"}, "access": "read"},
    ],
)
def test_a_writable_root_that_is_narrowed_has_protected_names(
    world: World, narrowing: dict[str, Any]
) -> None:
    plan = world.plan(WRITE_ALL, narrowing)
    assert not plan.unrestricted_files
    world.check(plan, "/var:rw /.git:-")


def test_a_writable_root_is_not_narrowed_by_what_may_be_written(world: World) -> None:
    plan = world.plan(WRITE_ALL, WRITE_PROJECT, special("tmpdir", "deny"), READ_ALL)
    assert plan.unrestricted_files


def test_a_root_by_its_path_is_a_root_as_any_other(world: World) -> None:
    assert b"/.git" in world.plan(world.entry("/", "write")).missing


# --- protected names ------------------------------------------------------------------------------


def test_protected_names_are_read_only_or_stay_missing(world: World) -> None:
    world.make(".git/config", ".codex")
    plan = world.plan(READ_ALL, WRITE_PROJECT)
    assert world.told(plan) == {
        "/": "READ",
        ".": "WRITE",
        ".git": "READ",
        ".codex": "READ",
        ".agents": "missing",
        ".aws": "missing",
    }
    world.check(plan, ".:rw .git:r .git/config:r .codex:r .agents:- .agents/x:- sub/.git:rw")


def test_what_keeps_a_name_missing_for_another_sandbox_is_missing_for_this_one(
    world: World,
) -> None:
    world.make(".git/", ".aws/", "sub/x.env/")
    for name in (".aws", "sub/x.env"):
        (world.folder / name).chmod(0o1555)
    plan = world.plan(READ_ALL, WRITE_PROJECT, pattern("**/*.env"), world.entry(".aws/x", "read"))
    told = world.told(plan)
    assert (told[".git"], told[".aws"]) == ("READ", "missing")
    assert set(told) == {"/", ".", ".git", ".aws", ".agents", ".codex"}


def test_every_writable_root_has_them(world: World) -> None:
    world.make("sub/.git/x", "sub/deep/")
    plan = world.plan(READ_ALL, WRITE_PROJECT, world.entry("sub", "write"))
    world.check(plan, "sub:rw sub/.git:r sub/.codex:- sub/deep/.git:rw .git:-")


def test_a_file_that_may_be_written_has_none(world: World) -> None:
    world.make("f")
    assert world.told(world.plan(READ_ALL, world.entry("f", "write"))) == {
        "/": "READ",
        "f": "WRITE",
    }


def test_an_entry_that_names_one_with_write_lifts_its_protection(world: World) -> None:
    world.make(".git/config")
    plan = world.plan(
        READ_ALL,
        WRITE_PROJECT,
        world.entry(".git", "write"),
        special("project_roots", "write", subpath=".aws"),
        special("project_roots", "read", subpath=".git"),
        special("project_roots", "read", subpath=".aws"),
    )
    world.check(plan, ".git:rw .git/config:rw .aws:rw .codex:-")


def test_an_entry_below_one_lifts_only_its_own(world: World) -> None:
    world.make(".git/hooks/", ".git/config")
    plan = world.plan(READ_ALL, WRITE_PROJECT, world.entry(".git/hooks", "write"))
    world.check(plan, ".git:r .git/config:r .git/hooks:rw")


def test_a_denied_one_is_hidden(world: World) -> None:
    world.make(".git/config")
    plan = world.plan(READ_ALL, WRITE_PROJECT, world.entry(".git", "deny"))
    world.check(plan, ".git:- .git/config:-")


# --- missing paths --------------------------------------------------------------------------------


@pytest.mark.parametrize("access", ["read", "deny"])
def test_a_missing_path_below_what_may_be_written_cannot_be_made(world: World, access: str) -> None:
    world.make("there/")
    plan = world.plan(
        READ_ALL,
        world.entry("there", "write"),
        world.entry("there/m", access),
        world.entry("there/q/r/s", access),
    )
    assert {world.path("there/m"), world.path("there/q")} <= set(plan.missing)
    world.check(plan, "there/m:- there/m/x:- there/q:- there/n:rw")


def test_skipping_missing_paths_makes_no_difference(world: World) -> None:
    entry = world.entry("m", "read")
    skipping = {**entry, "missing_path_behavior": "skip"}
    assert world.plan(WRITE_PROJECT, skipping) == world.plan(WRITE_PROJECT, entry)


@pytest.mark.parametrize("access", ["read", "deny"])
def test_elsewhere_a_missing_path_is_nothing(world: World, access: str) -> None:
    entries = (world.entry("m", access), world.entry("no/where", access))
    assert world.plan(READ_ALL, *entries) == world.plan(READ_ALL)
    assert world.plan(*entries).rules == ()


def test_a_missing_path_with_write_grants_nothing(world: World) -> None:
    assert world.plan(READ_ALL, world.entry("m", "write")) == world.plan(READ_ALL)


def test_a_link_in_something_writable_grants_nothing(world: World) -> None:
    """It may be an earlier sandbox's, made where a folder that may be written was missing."""
    world.make("project/", "outside/", "elsewhere/")
    entries = [READ_ALL, WRITE_PROJECT, world.entry("project/later", "write")]
    plan = world.plan(*entries, roots=["project"])
    world.check(plan, "project/later:rw outside:r")
    world.make("project/later->~/outside")
    plan = world.plan(*entries, roots=["project"])
    world.check(plan, "project:rw outside:r")
    # A link that no sandbox could have made is followed.
    world.make("elsewhere/later->~/outside")
    plan = world.plan(*entries, world.entry("elsewhere/later", "write"), roots=["project"])
    world.check(plan, "project:rw outside:rw elsewhere:r")


def test_what_a_refused_link_leads_to_keeps_its_protection(world: World) -> None:
    world.make("project/tool/.git/config", "project/later->~/project/tool")
    entries = [READ_ALL, WRITE_PROJECT, world.entry("project/later", "write")]
    plan = world.plan(*entries, roots=["project"])
    world.check(plan, "project/tool:rw project/tool/.git/config:r")


def test_a_path_through_a_file_keeps_the_file(world: World) -> None:
    world.make("f")
    plan = world.plan(READ_ALL, WRITE_PROJECT, world.entry("f/x", "deny"))
    assert world.told(plan)["f"] == "READ"
    assert world.plan(world.entry("f/x", "read")).rules == ()


def test_a_name_that_cannot_be_is_nothing(world: World) -> None:
    long = world.entry("n" * 300, "deny")
    assert world.plan(READ_ALL, WRITE_PROJECT, long) == world.plan(READ_ALL, WRITE_PROJECT)


# --- cwd ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "begins"), [("a", "a"), ("link", "a"), ("b", "/"), ("missing", "missing")]
)
def test_the_cwd_is_kept_if_visible(world: World, asked: str, begins: str) -> None:
    world.make("a/", "b/", "link->a")
    sandbox = world.sandbox([world.entry("a", "read")])
    request = request_of(sandbox, context_of(sandbox, None, None))
    assert plan_for(request, world.path(asked)).cwd == world.path(begins)
    assert plan_for(request).cwd is None
