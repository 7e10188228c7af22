"""The plugins and skills that a folder holds.

A plugin is a folder with a manifest, a skill one with a SKILL.md. Links are not followed below a
root, so that nothing is found twice or without end.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from execnode.environment.local.files.work import Stop
from execnode.protocol.capabilities import CapabilityFile, DiscoveredRoot, Plugin, Skill
from execnode.protocol.errors import os_error_message
from execnode.protocol.uri import format_path_uri

__all__ = ["MAX_FILES", "Found", "nothing", "search"]

_MANIFESTS: Final = (
    ".codex-plugin/plugin.json",
    ".claude-plugin/plugin.json",
    ".cursor-plugin/plugin.json",
)
_SKILL: Final = "SKILL.md"
_SKILL_METADATA: Final = "agents/openai.yaml"
# Where these are when the manifest does not say.
_MCP_CONFIG: Final = ".mcp.json"
_APPS_CONFIG: Final = ".app.json"

# Levels below a root, folders and their entries, bytes of one file and of an answer's files.
_MAX_DEPTH: Final = 6
_MAX_FOLDERS: Final = 2000
_MAX_ENTRIES: Final = 20_000
_MAX_FILE: Final = 1 << 20
MAX_FILES: Final = 32 << 20


class Found(Struct):
    """What a root holds, and bytes of files that the answer has still room for."""

    root: DiscoveredRoot
    left: int


def search(stop: Stop, root_id: str, path: bytes, room: int) -> Found:
    """Look into a root. room: bytes of files that the answer has room for."""
    place = Path(os.fsdecode(path))
    uri = format_path_uri(path)
    try:
        is_folder = stat.S_ISDIR(place.stat().st_mode)
    except OSError as error:
        return Found(nothing(root_id, uri, os_error_message(error.errno or 0)), room)
    if not is_folder:
        error_text = f"capability root {uri} is not a directory"
        return Found(DiscoveredRoot(root_id, uri, None, [], [], [], error_text), room)
    search = _Search(stop, room)
    plugin = search.plugin(place)
    skills = search.skills(place)
    manifests = sorted(search.namespaces.values(), key=lambda file: file.path)
    root = DiscoveredRoot(root_id, uri, plugin, skills, manifests, search.warnings, None)
    return Found(root, search.room)


def nothing(root_id: str, uri: str, reason: str) -> DiscoveredRoot:
    """The answer for a root that cannot be looked into."""
    error = f"failed to inspect capability root {uri}: {reason}"
    return DiscoveredRoot(root_id, uri, None, [], [], [], error)


def _uri(path: Path) -> str:
    return format_path_uri(os.fsencode(path))


@dataclass
class _Search:
    """A search of one root.

    room: bytes of files that there is still room for. namespaces: manifests by their plugins'
    folders, of every plugin that matters here.
    """

    stop: Stop
    room: int
    warnings: list[str] = field(default_factory=list)
    namespaces: dict[Path, CapabilityFile] = field(default_factory=dict)
    _nearest: dict[Path, Path | None] = field(default_factory=dict)

    def plugin(self, folder: Path) -> Plugin | None:
        """Return the plugin that a folder is, if it is one."""
        manifest = self._manifest(folder)
        if manifest is None:
            return None
        self.namespaces[folder] = manifest
        self._nearest[folder] = folder
        try:
            said = json.loads(manifest.contents)
        except (ValueError, RecursionError):  # shown as it is: what to make of it is for the client
            said = None
        said = said if isinstance(said, dict) else {}
        return Plugin(
            manifest,
            self._referred(folder, manifest, said, "mcpServers", _MCP_CONFIG),
            self._referred(folder, manifest, said, "apps", _APPS_CONFIG),
        )

    def skills(self, root: Path) -> list[Skill]:
        """Return the skills in a folder and below, by path."""
        skills = []
        for folder in sorted(
            self._folders_of_skills(root), key=lambda each: os.fsencode(each / _SKILL)
        ):
            instructions = self._file(folder / _SKILL)
            if instructions is not None:
                skills.append(Skill(instructions, self._file(folder / _SKILL_METADATA)))
                self._add_namespace(folder)
        return skills

    def _folders_of_skills(self, root: Path) -> Iterator[Path]:
        waiting = [(root, 0)]
        folders = entries = 0
        while waiting:
            self.stop.check()
            folder, depth = waiting.pop()
            folders += 1
            try:
                found = list(os.scandir(folder))
            except OSError as error:
                reason = os_error_message(error.errno or 0)
                self.warnings.append(f"failed to look into {_uri(folder)}: {reason}")
                continue
            entries += len(found)
            for entry in found:
                if entry.name == _SKILL and entry.is_file(follow_symlinks=False):
                    yield folder
                elif depth < _MAX_DEPTH and entry.is_dir(follow_symlinks=False):
                    waiting.append((folder / entry.name, depth + 1))
            if waiting and (folders >= _MAX_FOLDERS or entries >= _MAX_ENTRIES):
                self.warnings.append(
                    f"{_uri(root)} holds more than is looked at: "
                    f"{folders} folders with {entries} entries"
                )
                return

    def _add_namespace(self, folder: Path) -> None:
        """Note the plugin that a folder belongs to: the nearest one above it, if any."""
        passed = []
        nearest: Path | None = None
        while True:
            if folder in self._nearest:
                nearest = self._nearest[folder]
                break
            passed.append(folder)
            manifest = self._manifest(folder)
            if manifest is not None:
                self.namespaces[folder] = manifest
                nearest = folder
                break
            if folder == folder.parent:
                break
            folder = folder.parent
        self._nearest.update(dict.fromkeys(passed, nearest))

    def _manifest(self, folder: Path) -> CapabilityFile | None:
        files = (self._file(folder / name) for name in _MANIFESTS)
        return next((file for file in files if file is not None), None)

    def _referred(
        self, folder: Path, manifest: CapabilityFile, said: dict[str, Any], key: str, default: str
    ) -> CapabilityFile | None:
        """Return the file that a manifest names, or one with the usual name if it names none."""
        value = said.get(key)
        if value is None:
            value = f"./{default}"
        if not isinstance(value, str):  # the manifest itself says what the file would
            return None
        if not value.startswith("./") or ".." in value.split("/"):
            rule = "not contain `..`" if value.startswith("./") else "start with `./`"
            self.warnings.append(f"ignoring {key} in {manifest.path}: path must {rule}")
            return None
        return self._file(folder / value[2:].lstrip("/"))

    def _file(self, path: Path) -> CapabilityFile | None:
        """Return a file, if there is one; what is no text or too large is warned of."""
        try:
            # A FIFO in its place would wait for a writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):  # a manifest may name what is no path
            return None
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            contents = file.read(_MAX_FILE + 1)
        uri = _uri(path)
        if len(contents) > _MAX_FILE:
            self.warnings.append(f"capability file {uri} exceeds the {_MAX_FILE}-byte limit")
            return None
        if len(contents) > self.room:
            self.warnings.append(f"capability file {uri} is beyond {MAX_FILES} bytes in all")
            return None
        try:
            text = contents.decode()
        except UnicodeDecodeError as error:
            self.warnings.append(f"capability file {uri} is not UTF-8: {error.reason}")
            return None
        self.room -= len(contents)
        return CapabilityFile(uri, text)
