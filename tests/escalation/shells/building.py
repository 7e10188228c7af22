"""Build bash and zsh from the distribution's sources, with the few lines that honour EXEC_WRAPPER.

`make shells` (`python -m tests.escalation.shells.building`) keeps them outside the repository, in
`$EXECNODE_SHELLS` when set, else `$XDG_CACHE_HOME/execnode/shells` (`~/.cache/execnode/shells`).
A folder's name has the hash of the patch and of this recipe: a change of either builds anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PATCHES = Path(__file__).parent
APT = Path("/etc/apt")


@dataclass(frozen=True)
class Shell:
    """How one shell is built; `program` is where make leaves it in its sources."""

    name: str
    program: str
    options: tuple[str, ...]

    @property
    def patch(self) -> Path:
        return PATCHES / f"{self.name}.patch"


BASH = Shell("bash", "bash", ("--without-bash-malloc", "--disable-nls", "--disable-help-builtin"))
ZSH = Shell("zsh", "Src/zsh", ("--disable-gdbm", "--disable-dynamic", "--with-tcsetpgrp"))
SHELLS = (BASH, ZSH)


def cache() -> Path:
    """The folder that holds the shells, which need not exist."""
    if chosen := os.environ.get("EXECNODE_SHELLS"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "execnode" / "shells"


def recipe(shell: Shell) -> str:
    """What tells one build from another, beside the version of the sources."""
    parts = [shell.patch.read_bytes(), " ".join(shell.options).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def built(shell: Shell) -> Path | None:
    """The patched shell of the newest version there is, or None when none was built."""
    found = sorted(cache().glob(f"{shell.name}-*-{recipe(shell)}/{shell.name}"))
    return found[-1] if found else None


def source_lists(folder: Path) -> None:
    """Have `folder` name the sources of the packages that this machine installs."""
    for listed in (APT / "sources.list", *APT.glob("sources.list.d/*")):
        if listed.suffix == ".sources":
            text = re.sub(r"(?m)^Types:.*$", "Types: deb-src", listed.read_text())
        elif listed.suffix == ".list" and listed.is_file():
            text = re.sub(r"(?m)^deb ", "deb-src ", listed.read_text())
        else:
            continue
        (folder / listed.name).write_text(text)


def fetch_sources(names: Sequence[str], folder: Path) -> None:
    """Download the source packages into `folder`, leaving the machine's own lists as they are.

    Raises:
        subprocess.CalledProcessError: apt failed; its own words are on stderr.
        FileNotFoundError: there is no apt here.
    """
    state = folder / "apt"
    for part in ("parts", "lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    source_lists(state / "parts")
    places = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": state / "parts",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Sandbox::User": "",  # the folder is ours alone
    }
    options = [f"-o{key}={value}" for key, value in places.items()]
    subprocess.run(["apt-get", "-qq", *options, "update"], check=True)
    command = ["apt-get", "-qq", *options, "source", "--download-only", *names]
    subprocess.run(command, cwd=folder, check=True)


def unpack(shell: Shell, folder: Path) -> tuple[str, Path]:
    """The version of the downloaded source and the folder it was unpacked to."""
    (archive,) = folder.glob(f"{shell.name}_*.orig.tar.*[xz2]")
    target = folder / f"{shell.name}-sources"
    with tarfile.open(archive) as sources:
        sources.extractall(target, filter="tar")
    (root,) = target.iterdir()
    return archive.name.removeprefix(f"{shell.name}_").partition(".orig")[0], root


def build(shell: Shell, folder: Path) -> Path:
    """Patch and compile one shell and put it into the cache; what make says is in its folder.

    Raises:
        subprocess.CalledProcessError: a step failed; the last lines of its output are on stderr.
    """
    version, root = unpack(shell, folder)
    steps: list[list[str]] = [
        ["patch", "-p1", "--input", str(shell.patch)],
        ["./configure", *shell.options],
        ["make", f"-j{os.cpu_count() or 1}", *(["-C", "Src"] if shell is ZSH else [])],
    ]
    for step in steps:
        done = subprocess.run(
            step, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode:
            print(*done.stdout.splitlines()[-30:], sep="\n", file=sys.stderr)
            done.check_returncode()
    target = cache() / f"{shell.name}-{version}-{recipe(shell)}"
    target.mkdir(parents=True, exist_ok=True)
    partial = target / f".{shell.name}.{os.getpid()}"
    shutil.copy(root / shell.program, partial)
    return partial.rename(target / shell.name)


def main() -> int:
    """Build every shell that is not there and print where they are."""
    missing = [shell for shell in SHELLS if built(shell) is None]
    with tempfile.TemporaryDirectory(prefix="execnode-shells-") as name:
        if missing:
            fetch_sources([shell.name for shell in missing], Path(name))
        for shell in missing:
            print(f"building {shell.name} with {shell.patch.name}", flush=True)
            build(shell, Path(name))
    for shell in SHELLS:
        print(built(shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
