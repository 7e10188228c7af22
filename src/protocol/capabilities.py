"""Messages of capability discovery: plugins and skills in folders of the node's machine."""

from __future__ import annotations

from typing import Any

from .messages import _Message
from .sandbox import SandboxContext, SandboxReport

__all__ = [
    "CapabilityFile",
    "CapabilityRoot",
    "DiscoverParams",
    "DiscoverResponse",
    "DiscoverRootsParams",
    "DiscoverRootsResponse",
    "DiscoveredRoot",
    "Plugin",
    "Skill",
]


class CapabilityRoot(_Message, frozen=True):
    """A folder to look in; `id` is the client's name for it."""

    id: str
    path: str
    sandbox: SandboxContext | None = None


class DiscoverRootsParams(_Message, frozen=True):
    """`capabilityRoots/discoverV1`."""

    roots: list[CapabilityRoot]


class CapabilityFile(_Message, frozen=True):
    """A whole file, as text."""

    path: str
    contents: str


class Plugin(_Message, frozen=True):
    """A plugin's manifest, and the files that it refers to."""

    manifest: CapabilityFile
    mcp_config: CapabilityFile | None
    apps_config: CapabilityFile | None


class Skill(_Message, frozen=True):
    """A SKILL.md, and the agents/openai.yaml beside it."""

    instructions: CapabilityFile
    metadata: CapabilityFile | None


class DiscoveredRoot(_Message, frozen=True):
    """What was found. `namespace_manifests`: of the plugins that the skills belong to.

    `warnings` say what was left out, `error` why nothing could be found at all. `sandbox` (ours):
    how the root's sandbox is enforced; None without one.
    """

    id: str
    path: str
    plugin: Plugin | None
    skills: list[Skill]
    namespace_manifests: list[CapabilityFile]
    warnings: list[str]
    error: str | None
    sandbox: SandboxReport | None = None


class DiscoverRootsResponse(_Message, frozen=True):
    """In the order of the request."""

    roots: list[DiscoveredRoot]


class DiscoverParams(_Message, frozen=True):
    """`capabilities/discoverV2`."""

    cwd: str
    sandbox: SandboxContext | None = None


class DiscoverResponse(_Message, frozen=True):
    """What the node itself offers for a folder."""

    plugins: list[dict[str, Any]]
    skills: list[dict[str, Any]]
    warnings: list[str]
