"""Running a command on a node, as if it were here."""

import errno
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from execnode.client.errors import ProtocolError, StartError
from execnode.client.node import Node
from execnode.client.process import Process
from execnode.protocol.codec import JsonCodec
from execnode.protocol.errors import RpcError
from execnode.protocol.presets import Sandbox
from execnode.protocol.processes import Limits, Retention
from execnode.protocol.sandbox import SandboxContext
from execnode.protocol.uri import parse_path_uri

from .console import terminal_size
from .failure import (
    BROKEN_PIPE,
    LOST,
    NOT_EXECUTABLE,
    NOT_FOUND,
    NOT_RUN,
    TIMED_OUT,
    USAGE,
    Failure,
)
from .joint import Feed, Joint, Parting
from .options import TreeLimit
from .reach import Target, run_async
from .sinks import JsonLines, Streams
from .tell import OutputFailed, put, put_json, say

__all__ = ["Order", "run"]

# More than any node grants: the node's own limit holds.
_AS_LONG_AS_IT_GETS = 366 * 86400.0
_DETACHED_BYTES = 16 << 20


class Order(NamedTuple):
    """What was asked for on the command line."""

    argv: tuple[str, ...]
    tty: bool
    cwd: str | None
    variables: tuple[tuple[str, str], ...]
    clear_env: bool
    stdin: bool | None
    sandbox: str | None
    limits: tuple[TreeLimit, ...]
    rlimits: tuple[tuple[str, int | tuple[int, int]], ...]
    timeout: float | None
    grace: float | None
    retention: tuple[str | None, int | None] | None
    detach: bool
    as_json: bool


def run(order: Order, target: Target) -> int:
    """Do it, and give the exit code. Raises Failure."""
    if not order.detach:
        return run_async(lambda: _stay(order, target), target)
    if target.url is None:
        hint = "start one with `execnode serve` and name it with --node"
        raise Failure("--detach needs a node that stays", hint, USAGE)
    if order.stdin:
        raise Failure("--detach and --stdin exclude each other", code=USAGE)
    return run_async(lambda: _detach(order, target), target)


async def _stay(order: Order, target: Target) -> int:
    feed = _feed(order)
    sink = JsonLines() if order.as_json else Streams()
    joint = Joint(sink, feed=feed, tty=order.tty, owner=True)
    async with target.connected(code=NOT_RUN) as node:

        async def begin() -> Process:
            return await _start(node, order, stdin=feed.reads)

        parting = await _join(joint, node, begin)
    return _exit_code(joint, parting)


async def _join(joint: Joint, node: Node, begin: Callable[[], Awaitable[Process]]) -> Parting:
    """`Joint.run`; what goes wrong once the command has started is told as such."""
    try:
        return await joint.run(node, begin)
    except (ConnectionError, ProtocolError) as error:
        raise Failure(f"{error}", "how the command ended is not known", LOST) from error
    except OutputFailed as error:
        raise Failure(f"{error}", code=LOST) from None


async def _detach(order: Order, target: Target) -> int:
    async with target.connected(code=NOT_RUN, session_ttl=_AS_LONG_AS_IT_GETS) as node:
        process = await _start(node, order, stdin=False)
        process.detach()
        if order.as_json:
            put_json({"ref": process.ref, "pid": process.pid})
        else:
            put(process.ref or "")
    return 0


async def _start(node: Node, order: Order, *, stdin: bool) -> Process:
    """Start the command. Raises Failure with the exit code that a shell would give."""
    folder = _folder(order, node)
    try:
        process = await node.start(
            order.argv,
            cwd=folder,
            env={} if order.clear_env else None,
            extra_env=_variables(order),
            sandbox=_sandbox(order, folder),
            limits=_limits(order),
            rlimits=dict(order.rlimits) or None,
            timeout=order.timeout,
            grace=order.grace,
            stdin=stdin,
            tty=order.tty,
            size=terminal_size() if order.tty else None,
            retention=_retention(order),
        )
    except StartError as error:
        raise _not_started(error, order) from None
    except (ConnectionError, ProtocolError) as error:
        hint = None
        if "limits.optional" in str(error):
            hint = "--limit NAME=VALUE,optional runs it without a limit that cannot be had"
        raise Failure(f"{error}", hint, NOT_RUN) from None
    if process.sandbox is not None and process.sandbox.lost:
        say(f"execnode: its sandbox goes without {', '.join(process.sandbox.lost)}")
    if process.unlimited:
        names = ", ".join(name.removesuffix("Bytes") for name in process.unlimited)
        say(f"execnode: the node cannot limit {names} (--limit)")
    return process


def _limits(order: Order) -> Limits | None:
    """--limit. Raises Failure for a number that is not possible."""
    if not order.limits:
        return None
    last = {each.member: each for each in order.limits}
    raw: dict[str, object] = {member: each.value for member, each in last.items()}
    raw["optional"] = [member for member, each in last.items() if each.optional]
    try:
        return JsonCodec().decode_params(Limits, raw)
    except RpcError as error:
        member = str((error.data or {}).get("at"))
        wrong = f"--limit {member.removesuffix('Bytes')}: {raw.get(member)} is out of range"
        raise Failure(wrong, code=USAGE) from None


def _folder(order: Order, node: Node) -> str:
    """The command's working folder. Raises Failure when there is none to begin at."""
    if order.cwd is not None and os.path.isabs(order.cwd):  # noqa: PTH117 (the node's paths)
        return order.cwd
    try:
        return os.path.join(node.cwd, order.cwd) if order.cwd else node.cwd  # noqa: PTH118
    except FileNotFoundError as error:
        raise Failure(str(error.strerror), "name another with --cwd", NOT_RUN) from None


def _sandbox(order: Order, folder: str) -> SandboxContext | None:
    """--sandbox. Raises Failure for a file that has none."""
    match order.sandbox:
        case None:
            return None
        case "read-only":
            return Sandbox.read_only()
        case "workspace-write":
            return Sandbox.workspace_write(folder)
        case file:
            return _read_sandbox(file)


def _read_sandbox(file: str) -> SandboxContext:
    hint = "--sandbox is read-only, workspace-write or a file with an object as in docs/sandbox.md"
    try:
        raw = json.loads(Path(file).read_bytes())
        return JsonCodec().decode_params(SandboxContext, raw)
    except OSError as error:
        raise Failure(f"--sandbox {file}: {error.strerror}", hint, USAGE) from None
    except ValueError as error:
        raise Failure(f"--sandbox {file}: no JSON: {error}", hint, USAGE) from None
    except RpcError as error:
        raise Failure(f"--sandbox {file}: {error.message}", hint, USAGE) from None


def _variables(order: Order) -> Mapping[str, str]:
    """--env, and what kind of terminal it is."""
    term = {"TERM": os.environ.get("TERM", "xterm")} if order.tty else {}
    return term | dict(order.variables)


def _retention(order: Order) -> Retention | None:
    """--retention; a command that is left alone must not stop because nobody takes its output."""
    if order.retention is None:
        return Retention("drop-oldest", _DETACHED_BYTES) if order.detach else None
    mode, size = order.retention
    drops = order.detach if mode is None else mode == "drop-oldest"
    return Retention("drop-oldest" if drops else "block", size)


def _feed(order: Order) -> Feed:
    wanted = (order.tty or not os.isatty(0)) if order.stdin is None else order.stdin
    return Feed.ALL if wanted else Feed.NOTHING


def _not_started(error: StartError, order: Order) -> Failure:
    message = f"{error.filename}: {error.strerror}"
    if error.stage != "execve":
        return Failure(message, code=NOT_RUN)
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        return Failure(message, code=NOT_EXECUTABLE)
    hint = None
    if "/" in order.argv[0]:
        hint = "if the file is there, the interpreter that its first line names is not"
    elif " " in order.argv[0]:
        hint = "give the program and its arguments apart, or: sh -c '...'"
    return Failure(message, hint, NOT_FOUND)


def _exit_code(joint: Joint, parting: Parting) -> int:
    if parting is Parting.OUTPUT_GONE:
        return BROKEN_PIPE
    process = joint.process
    if process is None:
        return 128 + joint.number
    code = process.returncode
    if code is None or code < 0:
        say("execnode: how the command ended is not known")
        return LOST
    if process.reason == "timeout":
        say("execnode: ended, since its time was over (--timeout)")
        return TIMED_OUT
    if process.reason in ("oom", "policy"):
        say(f"execnode: ended by the node ({process.reason})")
    if process.denial is not None:
        path = os.fsdecode(parse_path_uri(process.denial.path))
        say(f"execnode: its sandbox does not let it {process.denial.right} {path} (--sandbox)")
    return code
