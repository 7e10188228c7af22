"""Messages of `environmentConfig/read`: chosen keys of configuration files of the node."""

from __future__ import annotations

from .messages import Unsigned, _Message

__all__ = ["ConfigLayer", "ConfigLayers", "ConfigReadParams", "ConfigReadResponse"]


class ConfigReadParams(_Message, frozen=True):
    """`environmentConfig/read`. A path is the list of keys that lead to a value."""

    cwd: str
    config_paths: list[list[str]]
    requirements_paths: list[list[str]]

    def __post_init__(self) -> None:
        if not self.config_paths and not self.requirements_paths:
            raise ValueError("at least one config or requirements path is required")
        if not all(self.config_paths) or not all(self.requirements_paths):
            raise ValueError("TOML paths must contain at least one key segment")


class ConfigLayer(_Message, frozen=True):
    """What one file says of the asked keys. Relative paths in it are of `base_dir`."""

    source: str
    base_dir: str
    toml: str


class ConfigLayers(_Message, frozen=True):
    """From the weakest to the strongest.

    `cloud_insertion_index`: where a client puts what it is told by the cloud.
    """

    layers: list[ConfigLayer]
    cloud_insertion_index: Unsigned


class ConfigReadResponse(_Message, frozen=True):
    """The layers, and where the node keeps what is whose."""

    user_home_dir: str
    codex_home_dir: str
    hostname: str
    config: ConfigLayers
    requirements: ConfigLayers
