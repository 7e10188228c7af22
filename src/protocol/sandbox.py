"""The `sandbox` object: what a request may touch.

It comes with process/start, with every method about files and with capability discovery. Its own
members have camelCase, those inside `permissions` snake_case, as the dialect has them. What each
shape means is told in docs/sandbox.md and decided in policy/; here is only what may be said.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from .text import OsText

__all__ = [
    "AccessName",
    "DangerFullAccess",
    "Disabled",
    "Entry",
    "EntryPath",
    "External",
    "FilePermissions",
    "FixedPath",
    "GlobPattern",
    "Managed",
    "Minimal",
    "NetworkName",
    "Permissions",
    "PolicyContext",
    "ProjectRoots",
    "ReadOnly",
    "RestrictedFiles",
    "Root",
    "SandboxContext",
    "SandboxDenial",
    "SandboxReport",
    "SlashTmp",
    "Special",
    "SpecialPath",
    "Tmpdir",
    "Unknown",
    "UnrestrictedFiles",
    "WorkingDirectory",
    "WorkspaceWrite",
]

NetworkName: TypeAlias = Literal["restricted", "enabled"]
# `write` implies `read`; `none` is an old name of `deny`.
AccessName: TypeAlias = Literal["read", "write", "deny", "none"]


class _Choice(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """One of several shapes, told apart by `type`."""


# --- places ---------------------------------------------------------------------------------------


class Special(Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """A place that is known by what it is for, told apart by `kind`."""


class Root(Special, frozen=True, tag="root"):
    """Everything."""


class Minimal(Special, frozen=True, tag="minimal"):
    """What programs need to run: /usr, /etc and the like, a small /dev and /proc."""


class WorkingDirectory(Special, frozen=True, tag="current_working_directory"):
    """An old name of `project_roots`."""


class ProjectRoots(Special, frozen=True, tag="project_roots"):
    """Each workspace root, or `subpath` below each."""

    subpath: str | None = None


class Tmpdir(Special, frozen=True, tag="tmpdir"):
    """The folder that TMPDIR names."""


class SlashTmp(Special, frozen=True, tag="slash_tmp"):
    """/tmp."""


class Unknown(Special, frozen=True, tag="unknown"):
    """A place that only a later version knows; it covers nothing."""

    path: str
    subpath: str | None = None


class FixedPath(_Choice, frozen=True, tag="path"):
    """A file, or a folder with all below it."""

    path: str


class GlobPattern(_Choice, frozen=True, tag="glob_pattern"):
    """What matches when the sandbox is made; a relative pattern begins at the cwd."""

    pattern: OsText


class SpecialPath(_Choice, frozen=True, tag="special"):
    """A place by what it is for."""

    value: Root | Minimal | WorkingDirectory | ProjectRoots | Tmpdir | SlashTmp | Unknown


EntryPath: TypeAlias = FixedPath | GlobPattern | SpecialPath


class Entry(Struct, frozen=True, omit_defaults=True):
    """What may be done with a place. `missing_path_behavior` makes no difference on Linux."""

    path: EntryPath
    access: AccessName
    missing_path_behavior: Literal["skip"] | None = None


# --- permissions ----------------------------------------------------------------------------------


class RestrictedFiles(_Choice, frozen=True, tag="restricted"):
    """What the entries cover. `glob_scan_max_depth`: how deep folders are searched for globs."""

    entries: list[Entry]
    glob_scan_max_depth: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None


class UnrestrictedFiles(_Choice, frozen=True, tag="unrestricted"):
    """All files."""


FilePermissions: TypeAlias = RestrictedFiles | UnrestrictedFiles


class Managed(_Choice, frozen=True, tag="managed"):
    """Files and network as told."""

    file_system: FilePermissions
    network: NetworkName


class Disabled(_Choice, frozen=True, tag="disabled"):
    """No restriction."""


class External(_Choice, frozen=True, tag="external"):
    """Somebody else guards the files; the network as told."""

    network: NetworkName


class ReadOnly(_Choice, frozen=True, tag="read-only"):
    """Ours, after an older form: everything may be read, nothing written; no network."""


class WorkspaceWrite(_Choice, frozen=True, tag="workspace-write"):
    """Ours, after an older form: everything may be read; work is written where work is done.

    That is each workspace root (the cwd if there is none), `writable_roots` (URIs or native paths),
    /tmp and the folder that TMPDIR names.
    """

    writable_roots: list[str] = []
    network_access: bool = False
    exclude_tmpdir_env_var: bool = False
    exclude_slash_tmp: bool = False


class DangerFullAccess(_Choice, frozen=True, tag="danger-full-access"):
    """Ours, after an older form: no restriction."""


Permissions: TypeAlias = (
    Managed | Disabled | External | ReadOnly | WorkspaceWrite | DangerFullAccess
)


# --- the object -----------------------------------------------------------------------------------


class _Member(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What has camelCase on the wire."""


class PolicyContext(_Member, frozen=True):
    """What takes the place of the outer cwd and workspace roots."""

    cwd: str | None = None
    workspace_roots: list[str] = []


class SandboxContext(_Member, frozen=True):
    """The object itself. The members about Windows are checked and have no effect.

    `isolate` is ours: processes of its own (what it leaves ends with it), a /proc and a /dev of its
    own, also where the profile could be enforced without. It adds nothing to a profile that
    restricts nothing.
    """

    permissions: Permissions
    windows_sandbox_level: Literal["disabled", "restricted-token", "elevated", "mxc"]
    cwd: str | None = None
    workspace_roots: list[str] = []
    policy_context: PolicyContext | None = None
    user_home_dir: str | None = None
    temporary_directories: list[str] | None = None
    use_legacy_landlock: bool = False
    windows_sandbox_proxy_settings_mode: Literal["reconcile", "preserve"] | None = None
    sandbox_override: Literal[
        "noOverride", "escalatedSandboxWithRestrictions", "bypassSandboxFirstAttempt"
    ] = "noOverride"
    isolate: bool = False


# --- what is told of it ---------------------------------------------------------------------------


class SandboxReport(_Member, frozen=True):
    """How a sandbox is enforced.

    `path`: by nothing, since it restricts nothing; by Landlock and a filter of system calls; or by
    namespaces, too. `lost`: protections that are missing, whose loss the node's operator accepted.
    """

    path: Literal["none", "landlock", "namespaces"]
    lost: list[str] = []


class SandboxDenial(_Member, frozen=True):
    """What a sandbox has denied: reading or writing the file at a URI.

    `allow`: the entry of a profile that would allow it. A protected name wants one of its own.
    """

    path: str
    right: Literal["read", "write"]
    allow: Entry
