"""What this machine is, as clients are told (`environmentInfo`)."""

import os
import pwd
from pathlib import Path

from msgspec import UNSET, UnsetType

from execnode import __version__
from execnode.protocol.messages import EnvironmentInfo, Shell
from execnode.protocol.methods import CAPABILITIES
from execnode.protocol.uri import format_path_uri

__all__ = ["environment_info", "user_shell"]


def user_shell() -> str:
    """The path of the user's shell: SHELL, or what passwd(5) says, or /bin/sh.

    One that is not UTF-8 could not be told to clients, and is passed over.
    """
    shell = os.environ.get("SHELL")
    if not shell:
        try:
            shell = pwd.getpwuid(os.getuid()).pw_shell
        except KeyError:
            shell = ""
    return shell if shell.isprintable() and os.access(shell, os.X_OK) else "/bin/sh"


def environment_info() -> EnvironmentInfo:
    """What clients are told. The working folder is that of this moment."""
    shell = user_shell()
    temporary = _uri(os.environb.get(b"TMPDIR"))
    try:
        cwd: str | None = format_path_uri(os.getcwdb())  # noqa: PTH109
    except FileNotFoundError:  # it was removed
        cwd = None
    return EnvironmentInfo(
        shell=Shell(Path(shell).name, shell),
        executor_version=__version__,
        provider_id=f"execnode-{__version__}",
        cwd=cwd,
        user_home_dir=_uri(os.environb.get(b"HOME")),
        platform_os="linux",
        prepend_path_dirs=[],
        temporary_directories=[temporary] if temporary else [],
        temp_dir=temporary or "file:///tmp",
        capabilities=dict.fromkeys(CAPABILITIES, True),
    )


def _uri(path: bytes | None) -> str | UnsetType:
    return format_path_uri(path) if path and path.startswith(b"/") else UNSET
