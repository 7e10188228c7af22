"""A command from its start to its end, wherever it runs: the shared part of all `run`s."""

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio

from execnode.protocol.errors import RpcError

from .completed import Captured, Completed
from .errors import TimeoutExpired
from .options import Argument, Options
from .tasks import background

__all__ = ["run"]

_END_SECONDS = 5.0


async def run(
    start: Callable[..., Awaitable[Any]],
    argv: Sequence[Argument],
    options: Options,
    *,
    input: bytes | str | None,  # noqa: A002 (subprocess.run calls it so)
    check: bool,
    encoding: str | None,
    errors: str,
    times_out: bool = True,
) -> Completed[bytes] | Completed[str]:
    """What `Node.run` says, with processes of `start`.

    `times_out`: `start` takes the options `timeout` and `grace`.
    """
    if isinstance(input, str):
        input = input.encode(encoding or "utf-8", errors)  # noqa: A001
    timeout, grace = options.get("timeout"), options.get("grace")
    if not times_out:
        options = options.copy()
        options.pop("timeout", None)
    # Before the start, so that it is over for us when it is for the node.
    deadline = math.inf if timeout is None else anyio.current_time() + timeout
    captured = Captured()
    process = await start(argv, stdin=input is not None, **options)
    async with process, background() as tasks:
        if input is not None:
            tasks.start_soon(_feed, process, input)
        with anyio.CancelScope(deadline=deadline):
            await captured.drain(process)
        late = anyio.current_time() >= deadline
        if late:
            # The node's own timeout ends a program that runs; this reaches what one that has
            # ended left behind, too.
            await process.terminate(leftovers=True)
            with anyio.move_on_after((grace or 0) + _END_SECONDS):
                await captured.drain(process)
    if timeout is not None and (late or process.reason == "timeout"):
        raise TimeoutExpired(process.args, timeout, captured.stdout, captured.stderr)
    done = captured.completed(process, encoding, errors)
    if check:
        done.check_returncode()
    return done


async def _feed(process: Any, data: bytes) -> None:
    """Write all input; a program that does not want it is no error, as in subprocess."""
    with suppress(ConnectionError, RpcError):
        await process.write(data)
        await process.close_stdin()
