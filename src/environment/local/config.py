"""Configuration of the Codex CLI on this machine: the files that a client may ask keys of.

From the weakest to the strongest: the system's, the user's, those of the project from its root down
to the working folder, and the administrator's. A project's own count only where the user has
declared the folder, or the root of its repository, as trusted. What a client enforces comes from a
file of its own, `requirements.toml`.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio.to_thread

from execnode.environment.local.toml import Table, select, to_toml
from execnode.protocol.config import (
    ConfigLayer,
    ConfigLayers,
    ConfigReadParams,
    ConfigReadResponse,
)
from execnode.protocol.errors import INTERNAL_ERROR, RpcError
from execnode.protocol.uri import format_path_uri, parse_cwd_uri

__all__ = ["LocalConfig"]

# What decides where credentials and a person's data are sent is not for a project to say.
_NOT_OF_A_PROJECT: Final = frozenset(
    {
        "chatgpt_base_url",
        "experimental_realtime_ws_base_url",
        "model_provider",
        "model_providers",
        "notify",
        "openai_base_url",
        "otel",
        "profile",
        "profiles",
    }
)
_ROOT_MARKERS: Final = (".git",)


@dataclass(frozen=True, slots=True)
class _File:
    """A configuration file; `base` is the folder that its relative paths are of."""

    source: str
    base: Path
    table: Table


class LocalConfig:
    """The service. system: the folder of the machine's own files."""

    def __init__(self, system: Path = Path("/etc/codex")) -> None:
        self._system = system

    async def read(self, params: ConfigReadParams) -> ConfigReadResponse:
        """Return the asked keys, layer by layer. Raises RpcError: -32603 for an unreadable file.

        The files may be on a slow disk, so they are read in a thread. Safe to cancel.
        """
        cwd = Path(os.fsdecode(parse_cwd_uri(params.cwd, native=False)))
        return await anyio.to_thread.run_sync(self._read, cwd, params, abandon_on_cancel=True)

    def _read(self, cwd: Path, params: ConfigReadParams) -> ConfigReadResponse:
        home = _home()
        codex_home = _codex_home(home)
        system = self._system
        weakest = list(_read(system / "config.toml", "system ({})"))
        user = list(_read(codex_home / "config.toml", "user ({})"))
        layers = [*weakest, *user, *_project_files(cwd, user)]
        layers += _read(system / "managed_config.toml", "legacy managed_config.toml ({})")
        required = list(_read(system / "requirements.toml", "{}"))
        return ConfigReadResponse(
            _uri(home),
            _uri(codex_home),
            socket.gethostname(),
            _selected(layers, params.config_paths, below_cloud=weakest),
            _selected(required, params.requirements_paths, below_cloud=required),
        )


def _selected(
    files: list[_File], paths: list[list[str]], *, below_cloud: list[_File]
) -> ConfigLayers:
    layers = []
    index = 0
    for file in files:
        table = select(file.table, paths)
        if table:
            layers.append(ConfigLayer(file.source, _uri(file.base), to_toml(table)))
            index += file in below_cloud
    return ConfigLayers(layers, index)


def _read(path: Path, source: str) -> Iterator[_File]:
    """Give the file, if it exists. `source` says what it is, with a place for the path."""
    import tomllib  # late, since most nodes are never asked

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("not a file")
        table = tomllib.loads(path.read_bytes().decode())
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _failed(f"failed to load executor-local config: {_text(path)}: {reason}") from None
    yield _File(source.format(_text(path)), path.parent, table)


# --- places ---------------------------------------------------------------------------------------


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise _failed(f"failed to find the home folder: {error}") from None


def _codex_home(home: Path) -> Path:
    named = os.environ.get("CODEX_HOME")
    if not named:
        return home / ".codex"
    path = Path(named).absolute()
    if not path.is_dir():
        raise _failed(
            f"failed to find Codex home: CODEX_HOME names {_text(path)}, which is not a folder"
        )
    return path


def _uri(path: Path) -> str:
    return format_path_uri(os.fsencode(path.absolute()))


def _text(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def _failed(message: str) -> RpcError:
    return RpcError(INTERNAL_ERROR, message)


# --- projects -------------------------------------------------------------------------------------


def _project_files(cwd: Path, user: list[_File]) -> Iterator[_File]:
    """Give the files of the project around `cwd` that the user trusts, the root's first."""
    settings = user[0].table if user else {}
    folders = [cwd, *cwd.parents]
    root = next((each for each in folders if _is_root(each, settings)), cwd)
    repository = next((each for each in folders if _has(each, ".git")), None)
    for folder in reversed(folders[: folders.index(root) + 1]):
        if _trusted(settings, folder, root, repository):
            for file in _read(folder / ".codex" / "config.toml", "project ({})"):
                for key in _NOT_OF_A_PROJECT & file.table.keys():
                    del file.table[key]
                yield file


def _is_root(folder: Path, settings: Table) -> bool:
    markers = settings.get("project_root_markers", _ROOT_MARKERS)
    return isinstance(markers, list | tuple) and any(
        isinstance(marker, str) and _has(folder, marker) for marker in markers
    )


def _has(folder: Path, marker: str) -> bool:
    path = folder / marker
    if marker == ".git" and path.is_dir():  # else a link to a repository elsewhere
        path /= "HEAD"
    return path.exists()


def _trusted(settings: Table, *folders: Path | None) -> bool:
    """Whether the first of the folders of which the user has said anything is trusted."""
    projects = settings.get("projects")
    if not isinstance(projects, dict):
        return False
    for folder in folders:
        if folder is None:
            continue
        for name in (str(folder), os.path.realpath(folder)):
            said = projects.get(name)
            if isinstance(said, dict) and "trust_level" in said:
                return bool(said["trust_level"] == "trusted")
    return False
