"""A scratch folder that stands for the neutral folders of the recordings.

A scenario speaks of /work-dir, and the server that was recorded lived with /home-dir, /temp-dir
and /codex-home. Here they are folders below a temporary one: names are rewritten on their way to
the server and back, also inside the base64 of output and files.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench import peers

FOLDERS: Final = ("/work-dir", "/home-dir", "/temp-dir", "/codex-home")
# Members whose text is base64.
_ENCODED: Final = {"chunk", "dataBase64", "bodyBase64", "deltaBase64"}
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# Where the real server lives, which is /server-pkg in the recordings.
_PACKAGE: Final = os.fsencode((peers.codex_folder() / peers.CODEX_PROGRAM).parents[1])


class Scratch:
    """The folders below `root`, which has no trailing slash."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in FOLDERS:
            (root / folder[1:]).mkdir()

    @property
    def work(self) -> Path:
        """The project's folder, in which servers start."""
        return self.root / "work-dir"

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        """The variables of a server: those of the recordings, and `more`."""
        return {
            "PATH": PATH,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": f"{self.root}/home-dir",
            "TMPDIR": f"{self.root}/temp-dir",
            "CODEX_HOME": f"{self.root}/codex-home",
            **more,
        }

    def outwards(self, message: Any) -> Any:
        """A message as it is sent: neutral names become those of the scratch folders."""
        return _rewrite(message, self._to_scratch)

    def inwards(self, message: Any) -> Any:
        """A message as it is told: the other way round."""
        return _rewrite(message, self._to_neutral)

    def path(self, name: str) -> Path:
        """The real path of one that is relative to the project, or neutral and absolute."""
        neutral = os.path.join("/work-dir", name)  # noqa: PTH118 - also for absolute names
        return Path(os.fsdecode(self._to_scratch(os.fsencode(neutral))))

    def _to_neutral(self, data: bytes) -> bytes:
        return data.replace(os.fsencode(self.root), b"").replace(_PACKAGE, b"/server-pkg")

    def _to_scratch(self, data: bytes) -> bytes:
        for folder in FOLDERS:
            data = data.replace(folder.encode(), os.fsencode(self.root) + folder.encode())
        return data


@contextmanager
def scratch() -> Iterator[Scratch]:
    """A scratch folder that is gone afterwards.

    It is not in /tmp, which sandbox profiles treat in their own way.
    """
    root = Path(tempfile.mkdtemp(prefix="xn-interop-", dir="/var/tmp"))
    try:
        yield Scratch(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _rewrite(value: Any, change: Callable[[bytes], bytes], member: str = "") -> Any:
    match value:
        case dict():
            return {key: _rewrite(each, change, key) for key, each in value.items()}
        case list():
            return [_rewrite(each, change, member) for each in value]
        case str() if member in _ENCODED:
            try:
                data = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                return value
            changed = change(data)
            return value if changed == data else base64.b64encode(changed).decode()
        case str():
            text = value.encode(errors="surrogatepass")
            return change(text).decode(errors="surrogatepass")
    return value
