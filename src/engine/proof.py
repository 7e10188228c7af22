"""Proof that sandboxes hold here: processes inside attempt what must be refused.

Both ways are tried, as the node takes them: Landlock and a filter in the child that the engine
starts, and the namespaces of execnode-linux-sandbox. What they try is listed in
_seccomp/trials.c; it is about a folder, this process and a socket, all outside.
"""

import os
import re
import select
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from execnode.engine._pty import PROTECTIONS, Engine, Sandbox, SpawnError
from execnode.engine.probe import Probe
from execnode.engine.programs import HELPER

__all__ = ["prove_sandbox"]

TIMEOUT_S = 30.0
_REFUSED = re.compile(r"protection \d+ this kernel gives no ([a-z-]+):")


@dataclass(frozen=True, slots=True)
class _Outside:
    """What must not be reached: the file `file` in a folder, this process, a listening socket."""

    folder: Path
    inside: Path
    socket: str

    def arguments(self) -> list[str]:
        """What execnode-probe is told of it; what an earlier one did to the file is undone."""
        (self.folder / "file").write_text("x")
        return ["--inside", str(self.folder), str(os.getpid()), self.socket]


def prove_sandbox(helper: Path = HELPER) -> list[Probe]:
    """Try both kinds of sandbox, and name every protection that this machine lacks.

    helper: the helper executable.

    Takes some tens of milliseconds and leaves nothing behind. Never raises for what the machine
    lacks.
    """
    with _outside() as outside:
        fast, fast_lacks = _try_fast(outside, helper)
        full, full_lacks = _try_namespaces(outside, helper)
    ports = {"landlock-ports"} & {*Sandbox([], network="ports").lacks}
    lacks = {*fast_lacks, *full_lacks, *ports}
    return [fast, full, *(_protection(name, name in lacks) for name in PROTECTIONS)]


def _protection(name: str, lacking: bool) -> Probe:
    detail = PROTECTIONS[name] if lacking else "is here"
    return Probe(f"protection {name}", not lacking, detail)


@contextmanager
def _outside() -> Iterator[_Outside]:
    with (
        tempfile.TemporaryDirectory(prefix="execnode-") as base,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        name = f"execnode-proof-{os.getpid()}"
        listener.bind(f"\0{name}")
        listener.listen()
        folder, inside = Path(base, "outside"), Path(base, "inside")
        folder.mkdir()
        inside.mkdir()
        yield _Outside(folder, inside, name)


def _verdict(name: str, output: str, lacks: set[str]) -> Probe:
    """What the process inside found."""
    found = [line.partition("=") for line in output.splitlines()]
    through = [what for what, _, result in found if result != "refused"]
    if not found:
        return Probe(name, False, "nothing ran inside")
    detail = f"{len(found) - len(through)} of {len(found)} attempts refused"
    if through:
        detail += f"; let through: {', '.join(through)}"
    if lacks:
        detail += f"; lacks {', '.join(sorted(lacks))}"
    return Probe(name, not through and not lacks, detail)


# --- Landlock and a filter, by the engine ---------------------------------------------------------


def _try_fast(outside: _Outside, helper: Path) -> tuple[Probe, set[str]]:
    sandbox = Sandbox([(b"/", "read")])
    engine = Engine(memory_limit=1 << 20)
    try:
        output = _run_in(engine, sandbox, outside, helper)
    except SpawnError as error:
        return Probe("sandbox-fast", False, str(error)), {*sandbox.lacks}
    finally:
        engine.close()
    return _verdict("sandbox-fast", output, {*sandbox.lacks}), {*sandbox.lacks}


def _run_in(engine: Engine, sandbox: Sandbox, outside: _Outside, helper: Path) -> str:
    argv = [os.fsencode(word) for word in ("execnode-probe", *outside.arguments())]
    process = engine.spawn([os.fsencode(helper)], argv, [], b"/", sandbox=sandbox)
    output, after = b"", 0
    while True:
        records, _, _ = process.read(after, 1 << 20)
        for sequence, stream, _, data in records:
            after = sequence
            output += bytes(data) if stream == "stdout" else b""
        if process.ended and not records:
            return output.decode(errors="replace")
        if not records:
            if not select.select([engine], [], [], TIMEOUT_S)[0]:
                process.signal(signal.SIGKILL)
            engine.poll()


# --- namespaces, by the helper --------------------------------------------------------------------


def _try_namespaces(outside: _Outside, helper: Path) -> tuple[Probe, set[str]]:
    """Losses are accepted one after the other, for what is behind the first may be missing too."""
    lacks: set[str] = set()
    while True:
        output, status = _run_helper(outside, helper, lacks)
        refused = {*_REFUSED.findall(status)} & PROTECTIONS.keys() - lacks
        if not refused:
            break
        lacks |= refused
    if not output:
        return Probe("sandbox-namespaces", False, status.strip() or "nothing ran inside"), lacks
    return _verdict("sandbox-namespaces", output, lacks), lacks


def _run_helper(outside: _Outside, helper: Path, accepted: set[str]) -> tuple[str, str]:
    read, write = os.pipe()
    command = ["execnode-linux-sandbox", "--read", "/", "--write", str(outside.inside)]
    for name in sorted(accepted):
        command += ["--accept-missing", name]
    command += ["--status-fd", str(write), "--arg0", "execnode-probe", "--", str(helper)]
    try:
        done = subprocess.run(
            [*command, *outside.arguments()],
            executable=helper,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=[write],
            timeout=TIMEOUT_S,
        )
        output = done.stdout
    except (OSError, subprocess.SubprocessError) as error:
        os.write(write, str(error).encode())
        output = ""
    os.close(write)
    with os.fdopen(read) as status:
        return output, status.read()
