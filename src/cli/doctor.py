"""Trying what a node builds on, and a node."""

import time
from dataclasses import asdict
from pathlib import Path

from execnode.engine.probe import Probe, probe
from execnode.engine.proof import prove_sandbox

from .table import Cell, show
from .tell import listed, put_json, say

__all__ = ["doctor"]

_PROTECTION = "protection "
_USES = {
    "clone3": "starts at a constant cost",
    "cgroup": "ending whole trees",
    "lineage": "the same without cgroups",
    "subreaper": "keeping hold of daemons",
    "landlock": "sandbox: files",
    "seccomp": "sandbox: system calls",
    "user-namespace": "sandbox: hidden paths",
    "network-namespace": "sandbox: no network",
    "pid-namespace": "sandbox: own processes",
    "sandbox-fast": "sandbox: the fast way",
    "sandbox-namespaces": "sandbox: all profiles",
    "terminals": "run --tty",
    "spill": "output beyond memory",
    "helper": "sandbox, a killed node",
    "node": "running commands",
}


def doctor(spill_dir: str | None, *, as_json: bool) -> int:
    """Print what was tried, as a table or as a JSON array, and give the exit code."""
    found = probe(Path(spill_dir) if spill_dir else None)
    probes = [*found, *prove_sandbox(), _try_node()]
    node = probes[-1]
    if as_json:
        put_json([asdict(each) | {"use": _use(each)} for each in probes])
        return 0 if node.ok else 1
    show(["", "TRIED", "GOOD FOR", "FOUND"], [_row(each) for each in probes], wrap=True)
    missing = [each.name.removeprefix(_PROTECTION) for each in probes if not each.ok]
    if not node.ok:
        say("a node cannot run commands here")
        return 1
    say(f"a node can run here, without {listed(missing)}" if missing else "a node can run here")
    return 0


def _row(found: Probe) -> list[Cell]:
    mark: Cell = ("ok", "green") if found.ok else ("no", "bold red")
    return [mark, (found.name, "bold"), (_use(found) or "", "dim"), found.detail]


def _use(found: Probe) -> str | None:
    if found.name.startswith(_PROTECTION):
        return "sandbox: --accept-missing"
    return _USES.get(found.name)


def _try_node() -> Probe:
    """A command on a node in this process, through the whole way of a real one."""
    try:
        from execnode import embedded

        with embedded.connect() as node:
            before = time.perf_counter()
            done = node.run(["/bin/sh", "-c", "echo out; echo err >&2"], timeout=10)
            spent = time.perf_counter() - before
    except Exception as error:  # whatever it is, it is what the person wants to know
        return Probe("node", False, f"{type(error).__name__}: {error}")
    if (done.returncode, done.stdout, done.stderr) != (0, b"out\n", b"err\n"):
        return Probe("node", False, f"a command on it ended with {done!r}")
    return Probe("node", True, f"a command ran on one, in {spent * 1000:.1f} ms")
