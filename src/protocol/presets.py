"""The sandbox objects that most callers want, in the dialect's own form; all others are built."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, TypeAlias

from .sandbox import (
    AccessName,
    Entry,
    FixedPath,
    Managed,
    NetworkName,
    ProjectRoots,
    RestrictedFiles,
    Root,
    SandboxContext,
    SlashTmp,
    SpecialPath,
    Tmpdir,
)
from .uri import format_path_uri

__all__ = ["Sandbox"]

_Folder: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
# What work is not to change, though it is in the workspace: tools take orders from it.
_PROTECTED = (".git", ".agents", ".codex", ".aws")


class Sandbox:
    """Makes sandbox objects."""

    @staticmethod
    def read_only(*, network: bool = False, isolate: bool = False) -> SandboxContext:
        """Everything may be read, nothing written. `isolate` as in SandboxContext."""
        return _context([_entry(Root(), "read")], network, isolate)

    @staticmethod
    def workspace_write(
        workspace: _Folder,
        *more: _Folder,
        network: bool = False,
        temporary: bool = True,
        deny: Iterable[_Folder] = (),
    ) -> SandboxContext:
        """Everything may be read, and the workspaces written, but for their protected names.

        workspace, more: absolute paths on the node. temporary: /tmp and what TMPDIR names may be
        written, too. deny: absolute paths that are hidden. Raises ValueError for a relative path.
        """
        entries = [_entry(Root(), "read"), _entry(ProjectRoots(), "write")]
        entries += [_entry(ProjectRoots(name), "read", "skip") for name in _PROTECTED]
        if temporary:
            entries += [_entry(SlashTmp(), "write"), _entry(Tmpdir(), "write")]
        entries += [Entry(FixedPath(_uri(path)), "deny") for path in deny]
        return _context(entries, network, False, [_uri(each) for each in (workspace, *more)])


def _context(
    entries: list[Entry], network: bool, isolate: bool, roots: Iterable[str] = ()
) -> SandboxContext:
    allowed: NetworkName = "enabled" if network else "restricted"
    permissions = Managed(RestrictedFiles(entries), allowed)
    roots = list(roots)
    cwd = roots[0] if roots else None
    return SandboxContext(permissions, "disabled", cwd, roots, isolate=isolate)


def _entry(
    place: Root | ProjectRoots | SlashTmp | Tmpdir,
    access: AccessName,
    missing: Literal["skip"] | None = None,
) -> Entry:
    return Entry(SpecialPath(place), access, missing)


def _uri(path: _Folder) -> str:
    native = os.fsencode(path)
    if not native.startswith(b"/"):
        raise ValueError(f"a path of a sandbox must be absolute, not {os.fsdecode(native)!r}")
    return format_path_uri(native)
