"""Nodes as processes of their own, which end with the test however that ends."""

import os
import re
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from execnode.environment.local.exec import ExecSettings
from execnode.environment.local.files.service import FileSettings
from execnode.environment.local.start import ExecLimits
from execnode.server.node import NodeSettings
from tests.locate import ROOT
from tests.server.speech import Lines
from tests.server.wire import PATIENCE, Refused, Wire, attempts, eventually

__all__ = ["ExecLimits", "ExecSettings", "FileSettings", "NodeProcess", "NodeSettings"]


_SERVE = """
import ctypes, logging, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: not longer than the test
import trio
from pathlib import PosixPath
from execnode.environment.local.confined.pool import SandboxSettings
from execnode.environment.local.exec import ExecSettings
from execnode.environment.local.files.service import FileSettings
from execnode.environment.local.start import ExecLimits
from execnode.server.listeners import parse_address
from execnode.server.node import NodeSettings, serve
from execnode.server.web import WebSettings
logging.basicConfig(level="INFO", format="%(levelname)s %(name)s: %(message)s")
uid = int(sys.argv[3])
if uid:  # now, since another user may not reach the interpreter's files
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
settings = eval(sys.argv[2])
addresses = [parse_address(url) for url in sys.argv[5:]]
def tell(urls):
    with os.fdopen(int(sys.argv[1]), "w") as announcements:
        announcements.write("".join(f"{url}\\n" for url in urls))
trio.run(lambda: serve(settings, addresses, on_bound=tell, encoding=sys.argv[4]))
"""


class NodeProcess:
    """A node on a Unix socket in `folder`, and at other `urls` too.

    stdio: gives it pipes as standard input and output; encoding: what it speaks there. prepare:
    runs in it before it starts, as in subprocess. uid: whose it is.
    """

    def __init__(
        self,
        folder: Path,
        settings: NodeSettings | None = None,
        *urls: str,
        stdio: bool = False,
        encoding: str = "cbor",
        prepare: Callable[[], None] | None = None,
        uid: int = 0,
        env: dict[bytes, bytes] | None = None,
    ) -> None:
        own = f"unix://{folder}/node.sock"
        self.log_file = folder / "log"
        self._checked = 0
        if uid:
            os.chown(folder, uid, uid)
        reader, writer = os.pipe()
        in_out = subprocess.PIPE if stdio else subprocess.DEVNULL
        program = [sys.executable, "-c", _SERVE, str(writer), repr(settings or NodeSettings())]
        with self.log_file.open("wb") as log:
            self.popen = subprocess.Popen(
                [*program, str(uid), encoding, own, *urls],
                cwd=ROOT,
                env={**os.environb, **(env or {})},
                stdin=in_out,
                stdout=in_out,
                stderr=log,
                preexec_fn=prepare,
                pass_fds=[writer],
            )
        os.close(writer)
        with os.fdopen(reader) as announcements:
            self.urls = announcements.read().split()
        self.url = self.urls[0] if self.urls else ""
        self.pid = self.popen.pid

    def __enter__(self) -> Self:
        assert self.urls, self.log
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        if kind is None:
            self.check()

    def kill(self) -> None:
        """End it at once, and with it all that it has started."""
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()

    def end(self, number: int = signal.SIGTERM, within: float = PATIENCE) -> int:
        """Signal it, and return its exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(within)

    def connect(self, url: str | None = None, *, binary: bool = False, **params: object) -> Wire:
        """A connection that is through with its handshake. binary: CBOR on a WebSocket."""
        url = url or self.url
        wire = Wire.to(url, binary=binary) if url.startswith("ws") else Wire.to(url)
        try:
            wire.handshake(**params)
        except BaseException:
            wire.close()
            raise
        return wire

    def resume(self, lost: Wire, url: str | None = None, **params: Any) -> Wire:
        """A connection in the session of one that was lost, which the node may not know yet."""
        for _ in attempts():
            try:
                return self.connect(url, resumeSessionId=lost.session, **params)
            except Refused as error:
                if error.code != -32010:
                    raise
        raise TimeoutError

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def check(self) -> None:
        """Nothing went wrong in the node since the last time: errors are logged."""
        text = self.log[self._checked :]
        self._checked += len(text)
        assert not re.search("^ERROR|Traceback|Warning", text, re.MULTILINE), text

    # --- what it holds ----------------------------------------------------------------------------

    def descriptors(self) -> list[str]:
        """What it has open, by kind or name, sorted; without the cgroups, which it keeps."""
        links = [_link(path) for path in Path(f"/proc/{self.pid}/fd").iterdir()]
        return sorted(re.sub(r":\[\d+\]", "", each) for each in links if "/cgroup/" not in each)

    def holds_no_more_than(self, before: list[str]) -> bool:
        """Whether all it has open it had open before, when a connection may have been ending."""
        return not Counter(self.descriptors()) - Counter(before)

    def cgroups(self) -> list[Path]:
        """The folders of the cgroups that it has open."""
        links = [_link(path) for path in Path(f"/proc/{self.pid}/fd").iterdir()]
        return [Path(each) for each in links if "/cgroup/" in each]

    def children(self) -> set[int]:
        """Its children, zombies included, without the guardian."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        pids = {int(pid) for pid in text.split()}
        return {pid for pid in pids if b"execnode-guardian" not in _command(pid)}

    def resident(self) -> int:
        """Bytes of memory that are its own."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Pipes:
    """A node's standard input and output, as a socket is used by Wire."""

    def __init__(self, node: NodeProcess) -> None:
        assert node.popen.stdin is not None
        assert node.popen.stdout is not None
        self._to, self._from = os.dup(node.popen.stdin.fileno()), node.popen.stdout.fileno()
        node.popen.stdin.close()
        self._seconds = 0.0

    def settimeout(self, seconds: float) -> None:
        self._seconds = seconds

    def sendall(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._to, data) :]

    def recv(self, size: int) -> bytes:
        if not select.select([self._from], [], [], self._seconds)[0]:
            raise TimeoutError
        return os.read(self._from, size)

    def end_input(self) -> None:
        if self._to >= 0:
            os.close(self._to)
        self._to = -1

    def close(self) -> None:
        self.end_input()


def piped_wire(node: NodeProcess, *, json: bool = False) -> Wire:
    """A client at the other ends of a node's pipes."""
    pipes: Any = Pipes(node)
    return Wire(pipes, Lines() if json else None)


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def alive(pid: int) -> bool:
    """Whether a process runs, zombies not counted."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(*pids: int) -> bool:
    """Whether processes end within a while."""
    return eventually(lambda: not any(map(alive, pids)))
