"""A table: what can be done with files under each profile. The words are told in operations.py.

An entry is PLACE=ACCESS: a special place by its kind (perhaps with a subpath), a pattern, or a path
in the tree. An expectation is PATH:RIGHTS; where nothing is, `+` says that it can be made.
"""

from dataclasses import dataclass
from typing import Any

from tests.policy.worlds import Entry, World, pattern, special

__all__ = ["PROFILES", "TREE", "Case"]

# The files of the world. `wt` is a worktree of the repository `repo`.
TREE = [
    *(
        "ws/file",
        "ws/a.env",
        "ws/sub/file",
        "ws/sub/b.env",
        "ws/sub/deep/file",
        "ws/tool=#!/bin/sh",
    ),
    *("ws/.git/config", "ws/inner/file", "ws/inner/.git/config"),
    *("ws/link->sub", "ws/to-file->sub/file", "way->ws"),
    *("wt/file", "wt/.git=gitdir: ~/repo/.git/worktrees/wt"),
    *("repo/.git/config", "repo/.git/worktrees/wt/HEAD", "repo/.git/worktrees/wt/commondir=../.."),
    *("outside/file", "other/file", "other/.aws/credentials", "t/file"),
]
KINDS = ("root", "minimal", "project_roots", "tmpdir", "slash_tmp", "current_working_directory")
CLI = "root=read project_roots=write slash_tmp=write tmpdir=write" + "".join(
    f" project_roots/{name}=read" for name in (".git", ".agents", ".codex", ".aws")
)


@dataclass(frozen=True)
class Case:
    """A profile: entries, or permissions of another shape; and what can be done.

    roots: the workspace roots. tmpdir: the folder of TMPDIR.
    """

    name: str
    entries: str | dict[str, Any]
    expected: str
    roots: str = "ws"
    tmpdir: str | None = None
    network: str = "restricted"
    depth: int | None = None

    def permissions(self, world: World) -> dict[str, Any]:
        """The profile in the words of the dialect; with `minimal`, lest there be no Python."""
        if isinstance(self.entries, dict):
            return {
                key: [world.uri(each) for each in value] if key == "writable_roots" else value
                for key, value in self.entries.items()
            }
        words = self.entries.split()
        if not any(word.startswith("root=") for word in words):
            words.append("minimal=read")
        entries = [entry(world, word) for word in words]
        files = {"type": "restricted", "entries": entries, "glob_scan_max_depth": self.depth}
        return {"type": "managed", "file_system": files, "network": self.network}

    @property
    def unrestricted(self) -> bool:
        """Whether nothing at all is forbidden."""
        return not isinstance(self.entries, str) and (
            self.entries["type"] in ("disabled", "danger-full-access")
            or self.entries.get("network") == "enabled"
        )

    @property
    def online(self) -> bool:
        """Whether the network may be used."""
        told = self.entries if isinstance(self.entries, dict) else {"network": self.network}
        return self.unrestricted or told.get("network") == "enabled" or "network_access" in told

    def places(self) -> dict[str, str]:
        """What is expected of each path."""
        pairs = (word.rpartition(":") for word in self.expected.split())
        return {path: rights for path, _, rights in pairs}


def entry(world: World, word: str) -> Entry:
    place, _, access = word.rpartition("=")
    kind, _, subpath = place.partition("/")
    if kind in KINDS:
        return special(kind, access, **({"subpath": subpath} if subpath else {}))
    return pattern(place, access) if "*" in place else world.entry(place, access)


EVERYTHING = """ws:rwd ws/file:rwd ws/tool:rwdx ws/.git:rwd ws/.git/config:rwd ws/.codex:+ ws/new:+
    outside/file:rwd outside/new:+"""
WORKSPACE = """ws:rw ws/file:rwd ws/sub:rwd ws/sub/file:rwd ws/tool:rwdx ws/link:rwd ws/new:+
    ws/.git:r ws/.git/config:r ws/.codex:0 ws/.agents:0 ws/.aws:0 ws/sub/.git:+
    ws/inner/.git/config:rwd outside:r outside/file:r outside/new:0 other/.aws/credentials:r"""

PROFILES = [
    # ---- nothing, or hardly anything, is restricted
    Case("disabled", {"type": "disabled"}, EVERYTHING),
    Case("danger-full-access", {"type": "danger-full-access"}, EVERYTHING),
    Case("external, online", {"type": "external", "network": "enabled"}, EVERYTHING),
    Case("external", {"type": "external", "network": "restricted"}, EVERYTHING),
    Case(
        "unrestricted",
        {"type": "managed", "file_system": {"type": "unrestricted"}, "network": "restricted"},
        EVERYTHING,
    ),
    Case(
        "unrestricted, online",
        {"type": "managed", "file_system": {"type": "unrestricted"}, "network": "enabled"},
        EVERYTHING,
    ),
    Case("the root with write", "root=write", EVERYTHING),
    # ---- reading everything
    Case(
        "read-only",
        "root=read",
        """ws:r ws/file:r ws/tool:rx ws/.git/config:r ws/.codex:0 ws/new:0 outside/file:r
        /tmp:r /etc:r""",
    ),
    Case("read-only, online", "root=read", "ws:r ws/file:r ws/new:0", network="enabled"),
    Case(
        "the older read-only",
        {"type": "read-only"},
        "ws:r ws/file:r ws/tool:rx ws/new:0 outside/file:r /tmp:r",
    ),
    # ---- a workspace
    Case("workspace-write of the CLI", CLI, WORKSPACE + " t:rw t/file:rwd /tmp:rw", tmpdir="t"),
    Case("the same without TMPDIR", CLI, WORKSPACE + " t:r /tmp:rw"),
    Case("the same online", CLI, WORKSPACE, network="enabled"),
    Case("the older workspace-write", {"type": "workspace-write"}, WORKSPACE + " /tmp:rw"),
    Case(
        "the same with all members",
        {
            "type": "workspace-write",
            "writable_roots": ["other"],
            "network_access": True,
            "exclude_tmpdir_env_var": True,
            "exclude_slash_tmp": True,
        },
        """ws:rw ws/file:rwd ws/.git/config:r ws/.codex:0 other:rw other/file:rwd
        other/.aws/credentials:r other/.git:0 t:r /tmp:r outside/file:r""",
        tmpdir="t",
    ),
    Case("no workspace root", "root=read project_roots=write", "ws:r ws/file:r ws/new:0", roots=""),
    Case(
        "two workspace roots",
        "root=read project_roots=write",
        "ws:rw ws/.git:r other:rw other/.aws:r other/.git:0 t:r",
        roots="ws other",
    ),
    Case(
        "one workspace in another",
        "root=read project_roots=write",
        "ws:rw ws/inner:rw ws/inner/file:rwd ws/inner/.git/config:r ws/inner/.aws:0 ws/sub/.aws:+",
        roots="ws ws/inner",
    ),
    Case(
        "a subpath of the workspace",
        "root=read project_roots/sub=write",
        "ws:r ws/file:r ws/sub:rw ws/sub/file:rwd ws/sub/.git:0 ws/sub/new:+ ws/new:0",
    ),
    Case(
        "the old name of the workspace",
        "current_working_directory=write",
        "ws:rw ws/file:rwd ws/.git/config:r outside:0",
    ),
    Case(
        "a worktree",
        "root=read project_roots=write",
        "wt:rw wt/file:rwd wt/.git:r repo/.git/config:r repo/.git/worktrees/wt/HEAD:r",
        roots="wt",
    ),
    Case(
        "a worktree and its repository",
        "root=read project_roots=write repo=write",
        """wt:rw wt/.git:r repo:rw repo/new:+ repo/.git:r repo/.git/config:r
        repo/.git/worktrees/wt/HEAD:r""",
        roots="wt",
    ),
    Case(
        "a protected name that is granted",
        "root=read project_roots=write ws/.git=write ws/.codex=write",
        "ws:rw ws/file:rwd ws/.git:rw ws/.git/config:rwd ws/.codex:+ ws/.agents:0",
    ),
    # ---- single places
    Case("minimal", "minimal=read", "ws:0 ws/file:0 /etc:r /usr:r /tmp:0 /home:0"),
    Case("TMPDIR", "tmpdir=write", "t:rw t/file:rwd t/.git:0 ws:0 outside:0", tmpdir="t"),
    Case("/tmp", "slash_tmp=write", "/tmp:rw ws:0 ws/file:0 t:0"),
    Case("/tmp to read", "slash_tmp=read", "/tmp:r ws:0"),
    Case("a file to write", "ws/sub/file=write", "ws:r ws/file:0 ws/sub:r ws/sub/file:rw ws/new:0"),
    Case("a file to read", "ws/sub/file=read", "ws:r ws/file:0 ws/sub/file:r ws/sub/b.env:0"),
    Case("an unknown place", "nowhere/at/all=write", "ws:0 nowhere:0"),
    Case("a link to a folder", "way=write", "ws:rw ws/file:rwd ws/.git/config:r way/file:rwd"),
    Case(
        "a link as workspace", CLI, "ws:rw ws/file:rwd ws/.git:r way/new:+ way/.git:r", roots="way"
    ),
    Case("a link to a folder below", "ws/link=write", "ws:r ws/sub:rw ws/link/file:rwd ws/file:0"),
    # ---- one within another
    Case(
        "deny below write",
        "root=read ws=write ws/sub=deny",
        "ws:rw ws/file:rwd ws/sub:- ws/sub/file:- ws/link/file:-",
    ),
    Case(
        "deny a file below write",
        "root=read ws=write ws/sub/file=deny",
        "ws:rw ws/sub:rw ws/sub/file:- ws/sub/b.env:rwd ws/to-file:d",
    ),
    Case(
        "deny below read",
        "root=read ws/sub=deny",
        "ws:r ws/file:r ws/sub:- ws/sub/file:- outside/file:r",
    ),
    Case(
        "read below write",
        "ws=write ws/sub=read",
        "ws:rw ws/sub:r ws/sub/file:r ws/sub/new:0 ws/sub/deep:r ws/new:+",
    ),
    Case(
        "write below read",
        "ws=read ws/sub=write",
        "ws:r ws/file:r ws/sub:rw ws/sub/file:rwd ws/sub/.git:0 ws/.codex:0",
    ),
    Case(
        "write below read below write",
        "ws=write ws/sub=read ws/sub/deep=write",
        "ws:rw ws/sub:r ws/sub/file:r ws/sub/deep:rw ws/sub/deep/file:rwd ws/sub/deep/new:+",
    ),
    Case(
        "read below deny below read",
        "root=read ws=deny ws/sub=read",
        "ws:- ws/file:0 ws/sub:r ws/sub/file:r outside/file:r",
    ),
    Case(
        "deny wins over write wins over read",
        "root=read ws/sub=write ws/sub=deny ws/inner=read ws/inner=write",
        "ws/sub:- ws/inner:rw ws/inner/file:rwd",
    ),
    Case(
        "a pattern",
        "root=read project_roots=write **/*.env=deny",
        "ws:rw ws/file:rwd ws/a.env:- ws/sub:rw ws/sub/b.env:- ws/sub/file:rwd ws/sub/c.env:+",
    ),
    Case(
        "a pattern of one level",
        "root=read project_roots=write **/*.env=deny",
        "ws/a.env:- ws/sub/b.env:rwd",
        depth=1,
    ),
    Case(
        "a pattern to read",
        "root=read project_roots=write **/*.env=read",
        "ws/a.env:r ws/sub/b.env:r ws/sub/file:rwd",
    ),
    Case(
        "missing paths",
        """root=read project_roots=write ws/no/way=deny ws/sub/none=read outside/none=deny
        ws/later=write""",
        "ws:rw ws/no:0 ws/sub/none:0 ws/later:+ ws/sub/new:+ outside/none:0",
    ),
    Case(
        "the root with write, narrowed",
        "root=write ws/sub=read outside=deny",
        "ws:rw ws/sub:r ws/sub/file:r ws/.git/config:rwd ws/.codex:+ outside:- outside/file:-",
    ),
]
