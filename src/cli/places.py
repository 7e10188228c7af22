"""Where a user's node keeps what it needs, as the XDG base directory specification has it."""

import os
import stat
from pathlib import Path

from .failure import Failure

__all__ = ["default_socket", "default_token_file", "make_private"]


def default_socket() -> Path:
    """The socket of a node that is not told where to listen."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "execnode" if runtime else _state()
    return folder / "node.sock"


def default_token_file() -> Path:
    """The token of a tcp node that is not told where it is."""
    return _state() / "token"


def _state() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "execnode"


def make_private(folder: Path) -> None:
    """Make a folder that only this user can enter. Raises Failure if it is there and is not so."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise Failure(f"{folder}: {error.strerror}") from None
    if found.st_uid != os.getuid():
        raise Failure(f"{folder} belongs to another user", "choose a place with --listen")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Failure(f"{folder} is open to others", f"chmod 700 {folder}")
