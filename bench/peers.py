"""Programs of other projects that benches and interop need: where they are, and how to get them.

`make peers` (`python -m bench.peers`) downloads them with npm into a cache outside the repository:
`$EXECNODE_PEERS` when set, else `$XDG_CACHE_HOME/execnode/peers` (`~/.cache/execnode/peers`).
A bench whose peer is absent is skipped; it never downloads anything by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

CODEX_PACKAGE = "@openai/codex@0.169.0-linux-x64"
INSPECTOR_PACKAGE = "@modelcontextprotocol/inspector@2.12.0"
CODEX_PROGRAM = "package/vendor/x86_64-unknown-linux-musl/bin/codex"


def cache() -> Path:
    """The folder that holds the peers, which need not exist."""
    if chosen := os.environ.get("EXECNODE_PEERS"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "execnode" / "peers"


def codex_folder() -> Path:
    """The folder that holds one version of Codex, its settings folder and nothing else."""
    return cache() / CODEX_PACKAGE.rpartition("@")[2]


def codex() -> Path | None:
    """The Codex program, or None when it was not fetched."""
    program = codex_folder() / CODEX_PROGRAM
    return program if program.exists() else None


def codex_home() -> Path:
    """An empty settings folder for Codex, made when needed.

    It is not below the temporary folder, where Codex refuses to put its helper programs.
    """
    home = codex_folder() / "home"
    home.mkdir(parents=True, exist_ok=True)
    return home


def fetch_codex() -> Path:
    """Download and unpack the Codex package unless it is there.

    Returns:
        The path of the program.

    Raises:
        FileNotFoundError: npm is not installed.
        subprocess.CalledProcessError: npm failed; its own words are on stderr.
    """
    folder = codex_folder()
    if not codex():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", CODEX_PACKAGE]
        packed = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        tarball = folder / packed.stdout.split()[-1]
        partial = folder / "partial"
        with tarfile.open(tarball) as package:
            package.extractall(partial, filter="data")
        (partial / "package").rename(folder / "package")
        tarball.unlink()
    return folder / CODEX_PROGRAM


def _inspector_folder() -> Path:
    return cache() / INSPECTOR_PACKAGE.rpartition("/")[2]


def inspector() -> Path | None:
    """The MCP inspector's command, or None when it was not fetched."""
    command = _inspector_folder() / "node_modules" / ".bin" / "mcp-inspector"
    return command if command.exists() else None


def fetch_inspector() -> Path:
    """Have npm install the MCP inspector, which tests/interop uses, unless it is there.

    Returns and raises as fetch_codex.
    """
    command = inspector()
    if command is None:
        folder = _inspector_folder()
        folder.mkdir(parents=True, exist_ok=True)
        options = ["--silent", "--no-fund", "--no-audit", "--prefix", str(folder)]
        subprocess.run(["npm", "install", *options, INSPECTOR_PACKAGE], check=True)
        command = inspector()
    if command is None:
        raise FileNotFoundError(f"npm has installed no command from {INSPECTOR_PACKAGE}")
    return command


def main() -> int:
    """Fetch every peer and print where it is."""
    program = fetch_codex()
    version = subprocess.run(
        [program, "--version"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CODEX_HOME": str(codex_home())},
    )
    print(f"{version.stdout.strip()}: {program}")
    print(f"{INSPECTOR_PACKAGE}: {fetch_inspector()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
