"""What a sandbox object asks for, without its spelling.

The many shapes of a profile come down to demands: a place, and what may be done with it. Nothing
here looks at files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from execnode.policy.plan import FULL_NETWORK, NO_NETWORK, Access, Network, join
from execnode.protocol.errors import INVALID_PARAMS, RpcError, invalid_params
from execnode.protocol.sandbox import (
    AccessName,
    Entry,
    External,
    FixedPath,
    GlobPattern,
    Managed,
    Minimal,
    NetworkName,
    ProjectRoots,
    ReadOnly,
    RestrictedFiles,
    Root,
    SandboxContext,
    SlashTmp,
    Special,
    Tmpdir,
    WorkingDirectory,
    WorkspaceWrite,
)
from execnode.protocol.uri import parse_path_uri

__all__ = ["Context", "Demand", "Request", "What", "context_of", "request_of"]


class What(Enum):
    """What a demand is about."""

    PATH = auto()
    ROOT = auto()
    MINIMAL = auto()
    PATTERN = auto()


@dataclass(frozen=True, slots=True)
class Demand:
    """`where` is an absolute path, or a pattern; empty for MINIMAL."""

    what: What
    access: Access
    where: bytes = b""


@dataclass(frozen=True, slots=True)
class Context:
    """What the places of a profile depend on. Absolute paths; links may be in them.

    cwd: where relative patterns begin. tmpdir: the folder that TMPDIR names.
    """

    cwd: bytes | None = None
    workspace_roots: tuple[bytes, ...] = ()
    tmpdir: bytes | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """The demands, None when files are not restricted; `max_depth` as for look.matches."""

    demands: tuple[Demand, ...] | None
    network: Network
    cwd: bytes | None = None
    max_depth: int | None = None

    @property
    def everything(self) -> bool:
        """Whether all files may be written: nothing narrows that."""
        if self.demands is None:
            return True
        not_narrowed = all(
            demand.access is Access.WRITE or (demand.access is Access.READ and demand.where == b"/")
            for demand in self.demands
        )
        return not_narrowed and any(
            demand.what is What.ROOT and demand.access is Access.WRITE for demand in self.demands
        )

    @property
    def searches(self) -> bool:
        """Whether there are patterns, for which trees have to be searched."""
        return any(demand.what is What.PATTERN for demand in self.demands or ())

    @property
    def readable(self) -> bool:
        """Whether all files may be read: nothing is denied."""
        if self.demands is None:
            return True
        return any(demand.what is What.ROOT for demand in self.demands) and not any(
            demand.access is Access.DENY for demand in self.demands
        )


_ACCESS: Final[dict[AccessName, Access]] = {
    "read": Access.READ,
    "write": Access.WRITE,
    "deny": Access.DENY,
    "none": Access.DENY,
}
_NETWORK: Final[dict[NetworkName, Network]] = {"restricted": NO_NETWORK, "enabled": FULL_NETWORK}
_ROOT: Final = Demand(What.ROOT, Access.READ, b"/")
_SLASH_TMP: Final = b"/tmp"


def context_of(sandbox: SandboxContext, cwd: bytes | None, tmpdir: bytes | None) -> Context:
    """Return the context that a sandbox object tells.

    cwd: that of the process, where there is one. tmpdir: the value of TMPDIR, in the environment of
    the process or else of the node; what is empty or has no place to begin names nothing.

    Raises RpcError for a path that is none.
    """
    for uri in (sandbox.user_home_dir, *(sandbox.temporary_directories or ())):
        _check(uri)
    told = sandbox.policy_context or sandbox
    own_cwd = cwd if told.cwd is None else parse_path_uri(told.cwd)
    if tmpdir and not tmpdir.startswith(b"/"):
        tmpdir = None if cwd is None else join(cwd, tmpdir)
    return Context(own_cwd, tuple(map(parse_path_uri, told.workspace_roots)), tmpdir or None)


def request_of(sandbox: SandboxContext, context: Context) -> Request:
    """Return what a sandbox object asks for.

    Raises RpcError for a path that is none (-32602, -32600), for a subpath that leaves its root,
    and when a cwd is needed and there is none (-32602).
    """
    cwd = context.cwd
    match sandbox.permissions:
        case Managed(RestrictedFiles(entries, max_depth), network):
            demands = tuple(demand for entry in entries for demand in _demands(entry, context))
            return Request(demands, _NETWORK[network], cwd, max_depth)
        case Managed(_, network) | External(network):
            return Request(None, _NETWORK[network], cwd)
        case ReadOnly():
            return Request((_ROOT,), NO_NETWORK, cwd)
        case WorkspaceWrite() as profile:
            demands = tuple(
                Demand(What.PATH, Access.WRITE, path) for path in _workspace(profile, context)
            )
            allowed = FULL_NETWORK if profile.network_access else NO_NETWORK
            return Request((_ROOT, *demands), allowed, cwd)
    return Request(None, FULL_NETWORK, cwd)


def _check(uri: str | None) -> None:
    """Refuse what is no URI; what is one and names no path on Linux is not used anyway."""
    try:
        parse_path_uri(uri or "/")
    except RpcError as error:
        if error.code == INVALID_PARAMS:
            raise


# --- entries --------------------------------------------------------------------------------------


def _demands(entry: Entry, context: Context) -> Iterator[Demand]:
    access = _ACCESS[entry.access]
    match entry.path:
        case FixedPath(uri):
            yield Demand(What.PATH, access, _entry_path(uri))
        case GlobPattern(pattern):
            if not pattern.value.startswith(b"/"):
                _require_cwd(context)
            yield Demand(What.PATTERN, access, pattern.value)
        case special:
            yield from _special(special.value, access, context)


def _special(place: Special, access: Access, context: Context) -> Iterator[Demand]:
    match place:
        case Root():
            yield Demand(What.ROOT, access, b"/")
        case Minimal():
            yield Demand(What.MINIMAL, access)
        case ProjectRoots() | WorkingDirectory():
            _require_cwd(context)
            subpath = place.subpath if isinstance(place, ProjectRoots) else None
            for root in context.workspace_roots:
                yield Demand(What.PATH, access, _below(root, subpath or ""))
        case Tmpdir() if context.tmpdir is not None:
            yield Demand(What.PATH, access, context.tmpdir)
        case SlashTmp():
            yield Demand(What.PATH, access, _SLASH_TMP)


def _workspace(profile: WorkspaceWrite, context: Context) -> Iterator[bytes]:
    if context.workspace_roots:
        yield from context.workspace_roots
    else:
        yield _require_cwd(context)
    yield from map(_entry_path, profile.writable_roots)
    if not profile.exclude_slash_tmp:
        yield _SLASH_TMP
    if context.tmpdir is not None and not profile.exclude_tmpdir_env_var:
        yield context.tmpdir


def _entry_path(uri: str) -> bytes:
    try:
        return parse_path_uri(uri)
    except RpcError as error:
        if error.code == INVALID_PARAMS:
            raise
        message = f"invalid sandbox permission path URI: {error.message}"
        raise RpcError(error.code, message) from None


def _below(root: bytes, subpath: str) -> bytes:
    """Join a subpath, which must lead down. Were it left out, a deny might be lost in silence."""
    names = subpath.rstrip("/").split("/")
    if subpath and not {"", ".", ".."}.isdisjoint(names):
        raise invalid_params(f"the subpath `{subpath}` does not lead down from a project root")
    for name in filter(None, names):
        root = join(root, name.encode())
    return root


def _require_cwd(context: Context) -> bytes:
    if context.cwd is None:
        raise invalid_params("file system sandbox context with dynamic permissions requires cwd")
    return context.cwd
