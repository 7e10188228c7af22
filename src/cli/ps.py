"""Listing the processes of a node."""

import shlex
import time

from execnode.client.node import ProcessInfo

from .reach import Target, run_async
from .table import Cell, show
from .tell import put_json

__all__ = ["ps"]

_COLUMNS = ("REF", "PID", "STATE", "STARTED", "CLIENT", "COMMAND")


def ps(target: Target, *, also_ended: bool, as_json: bool) -> None:
    """Print them, as a table or as JSON lines. Raises Failure."""

    async def ask() -> list[ProcessInfo]:
        async with target.connected(session_ttl=0, recovery=0) as node:
            return await node.list(all_sessions=True)

    processes = [p for p in run_async(ask, target) if also_ended or not p.closed]
    if as_json:
        for process in processes:
            put_json(_fields(process))
        return
    now = time.time()
    show(_COLUMNS, [_row(process, now) for process in processes])


def _row(process: ProcessInfo, now: float) -> list[Cell]:
    alive = process.returncode is None
    style = "green" if alive else "red" if process.returncode else "dim"
    return [
        (process.ref, "bold"),
        str(process.pid),
        (_state(process), style),
        _ago(now - process.started_at),
        process.client_name + ("" if process.attached else ", away"),
        shlex.join(process.argv),
    ]


def _state(process: ProcessInfo) -> str:
    """In a word or three: `running`, `exit 2`, `signal 9`, `timeout`, ..."""
    code = process.returncode
    if code is None:
        return "running"
    if process.reason == "exit":
        words = f"exit {code}"
    elif process.reason == "signal":
        words = f"signal {code - 128}"
    else:
        words = process.reason or "lost"
    return words if process.closed else f"{words}, output open"


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def _fields(process: ProcessInfo) -> dict[str, object]:
    """The names are those of process/list on the wire."""
    return {
        "ref": process.ref,
        "pid": process.pid,
        "argv": list(process.argv),
        "cwd": process.cwd,
        "tty": process.tty,
        "startedAtMs": round(process.started_at * 1000),
        "exited": process.returncode is not None,
        "exitCode": process.returncode,
        "closed": process.closed,
        "reason": process.reason,
        "clientName": process.client_name,
        "attached": process.attached,
        "bytes": dict(process.bytes),
    }
