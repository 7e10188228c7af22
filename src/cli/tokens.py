"""The file that holds a node's token."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from .failure import Failure

__all__ = ["load_or_make"]

_BYTES = 32


def load_or_make(path: Path) -> tuple[str, bool]:
    """The token in a file, and whether it was made: at random, 0600, if there was no file.

    Raises Failure for a file that others can read, or without a token in it.
    """
    with suppress(FileNotFoundError):
        return _load(path), False
    try:
        _make(path)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None
    return _load(path), True


def _load(path: Path) -> str:
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            token = file.read().strip()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {getattr(error, 'strerror', None) or 'not text'}") from None
    if mode & 0o077:
        raise Failure(f"{path} can be read by others", f"chmod 600 {path}")
    if not token:
        raise Failure(f"{path} is empty", "remove it, and a token is made")
    return token


def _make(path: Path) -> None:
    """Write a new token. A file that another node makes meanwhile stays, and is never seen half."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(_BYTES) + "\n")
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
