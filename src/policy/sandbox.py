"""The sandbox object of a request: what it may say, and whether anything has to be enforced for it.

Profiles are the dialect's. A profile that restricts nothing is done directly; every other one needs
a sandbox that the kernel enforces.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from execnode.protocol.codec import JsonCodec
from execnode.protocol.errors import INTERNAL_ERROR, RpcError, invalid_params
from execnode.protocol.uri import parse_path_uri

__all__ = ["SandboxContext", "require_direct_files", "require_direct_start", "sandbox_context"]

Network: TypeAlias = Literal["restricted", "enabled"]

# --- permissions ----------------------------------------------------------------------------------


class _Variant(Struct, frozen=True, tag_field="type"):
    """One of several shapes, told apart by `type`."""


class FixedPath(_Variant, frozen=True, tag="path"):
    """A file or the tree below it."""

    path: str


class GlobPattern(_Variant, frozen=True, tag="glob_pattern"):
    """All paths that match; a relative pattern begins at the context's cwd."""

    pattern: str


class SpecialValue(Struct, frozen=True):
    """A place that is known by what it is for."""

    kind: Literal[
        "root",
        "minimal",
        "current_working_directory",
        "project_roots",
        "tmpdir",
        "slash_tmp",
        "unknown",
    ]
    path: str | None = None
    subpath: str | None = None


class SpecialPath(_Variant, frozen=True, tag="special"):
    """Such a place as a path."""

    value: SpecialValue


class Entry(Struct, frozen=True):
    """What may be done with a path. `none` is an old name of `deny`."""

    path: FixedPath | GlobPattern | SpecialPath
    access: Literal["read", "write", "deny", "none"]
    missing_path_behavior: Literal["skip"] | None = None


class UnrestrictedFiles(_Variant, frozen=True, tag="unrestricted"):
    """All files."""


class RestrictedFiles(_Variant, frozen=True, tag="restricted"):
    """What the entries cover; the one with the longest matching path decides."""

    entries: list[Entry]
    glob_scan_max_depth: Annotated[int, Meta(ge=1)] | None = None


class Disabled(_Variant, frozen=True, tag="disabled"):
    """No restriction."""


class External(_Variant, frozen=True, tag="external"):
    """Files are somebody else's care."""

    network: Network


class Managed(_Variant, frozen=True, tag="managed"):
    """Files and network as they say."""

    file_system: UnrestrictedFiles | RestrictedFiles
    network: Network


# --- the context ----------------------------------------------------------------------------------


class PolicyContext(Struct, frozen=True, rename="camel"):
    """What takes the place of the outer cwd and workspace roots."""

    cwd: str | None = None
    workspace_roots: list[str] = []


class SandboxContext(Struct, frozen=True, rename="camel"):
    """The `sandbox` member of a request. Some of it has no effect on Linux, and is checked only."""

    permissions: Disabled | External | Managed
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

    @property
    def effective_cwd(self) -> str | None:
        """The base of relative patterns."""
        return self.policy_context.cwd if self.policy_context is not None else self.cwd

    @property
    def file_entries(self) -> list[Entry] | None:
        """The entries that restrict files; None when nothing does."""
        permissions = self.permissions
        if not isinstance(permissions, Managed):
            return None
        if isinstance(permissions.file_system, UnrestrictedFiles):
            return None
        return permissions.file_system.entries


_CODEC: Final = (
    JsonCodec()
)  # for its words on parameters; the values are the same in every encoding
_ROOTS: Final = ("project_roots", "current_working_directory")


def sandbox_context(raw: dict[str, Any]) -> SandboxContext:
    """Check a sandbox object. Raises RpcError -32602 for what it may not say."""
    context = _CODEC.decode_params(SandboxContext, raw)
    inner = context.policy_context
    roots = [*context.workspace_roots, *(inner.workspace_roots if inner is not None else ())]
    singles = (context.cwd, context.user_home_dir, inner.cwd if inner is not None else None)
    for uri in (*roots, *(context.temporary_directories or ()), *singles):
        if uri is not None:
            parse_path_uri(uri)
    for entry in context.file_entries or ():
        if isinstance(entry.path, FixedPath):
            parse_path_uri(entry.path.path)
    return context


def require_direct_files(raw: dict[str, Any] | None, *, reads: bool) -> None:
    """Raise RpcError unless a request about files can be done without a sandbox.

    reads: the request changes nothing, so being able to read everything is enough.
    """
    if raw is None:
        return
    context = sandbox_context(raw)
    entries = context.file_entries
    if entries is None:
        return
    if context.effective_cwd is None and any(map(_needs_cwd, entries)):
        raise invalid_params("file system sandbox context with dynamic permissions requires cwd")
    if _covers_all(entries, reads=reads):
        return
    raise RpcError(
        INTERNAL_ERROR,
        "this node cannot enforce a sandbox, and does not touch files without the one that was "
        "asked for; send `sandbox` null to reach them unrestricted",
    )


def require_direct_start(raw: dict[str, Any] | None) -> None:
    """Raise RpcError unless a process can be run without a sandbox."""
    if raw is None:
        return
    context = sandbox_context(raw)
    permissions, entries = context.permissions, context.file_entries
    if isinstance(permissions, Disabled):
        return
    if permissions.network == "enabled" and (entries is None or _covers_all(entries, reads=False)):
        return
    raise RpcError(
        INTERNAL_ERROR,
        "this node cannot enforce a sandbox, and does not run a process without the one that was "
        "asked for; send `sandbox` null to run it unrestricted",
    )


def _needs_cwd(entry: Entry) -> bool:
    path = entry.path
    if isinstance(path, GlobPattern):
        return not path.pattern.startswith("/")
    return isinstance(path, SpecialPath) and path.value.kind in _ROOTS


def _covers_all(entries: list[Entry], *, reads: bool) -> bool:
    """Whether the entries leave nothing out: the root may be used, and nothing narrows that."""
    if not reads:  # another writable root has parts that are read-only
        return bool(entries) and all(_is_root(each) and each.access == "write" for each in entries)
    readable = all(each.access in ("read", "write") for each in entries)
    return readable and any(map(_is_root, entries))


def _is_root(entry: Entry) -> bool:
    return isinstance(entry.path, SpecialPath) and entry.path.value.kind == "root"
