"""Offering tools to agents, as `execnode mcp` is told to."""

import logging
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import anyio
import click

from execnode.client.errors import ProtocolError
from execnode.environment.services import Environment
from execnode.mcp.questions import Answer
from execnode.mcp.rooms import Rooms
from execnode.mcp.service import make_server
from execnode.mcp.settings import Settings
from execnode.mcp.stdio import serve_stdio
from execnode.mcp.web import Place, WebServer, parse_place
from execnode.policy.rules import Decision

from .failure import FAILED, Failure
from .policy import load
from .reach import Target
from .tell import put, say
from .tokens import load_or_make

__all__ = ["Order", "serve"]


class Order(NamedTuple):
    """The options of the verb."""

    files: Sequence[Path]
    unmatched: str
    without_elicitation: str
    sandbox: Literal["read-only", "workspace-write", "danger-full-access"]
    bash: str | None
    wrapper: str | None
    timeout: float
    listen: str | None
    auth_token_file: str | None
    hosts: Sequence[str]
    log_level: str


def serve(order: Order, target: Target) -> None:
    """Serve until the client is gone, or a signal. Raises Failure, and click's errors."""
    logging.basicConfig(
        level=order.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    settings = _settings(order, target)
    place = _place(order)
    token = None
    if order.auth_token_file is not None:
        token, made = load_or_make(Path(order.auth_token_file))
        if made:
            say(f"execnode: clients need the token in {order.auth_token_file}")
    anyio.run(_serve, target, settings, place, token, order.hosts)


def _settings(order: Order, target: Target) -> Settings:
    for option, value in (("--bash", order.bash), ("--execve", order.wrapper)):
        if value is None:
            continue
        if target.url is not None:
            raise click.UsageError(
                f"{option} does not go with --node: programs ask through a descriptor, which does "
                "not reach over a connection. The rules count for the commands as they are given"
            )
        if not order.files:
            raise click.UsageError(f"{option} is for asking, and there are no --rules to ask about")
        if shutil.which(value) is None:
            raise Failure(f"{option} {value}: there is no program that can be executed")
    return Settings(
        rules=load(order.files) if order.files else None,
        unmatched=Decision[order.unmatched.upper()],
        without_elicitation=Answer.ACCEPT
        if order.without_elicitation == "allow"
        else Answer.NOBODY,
        intercept=bool(order.files) and target.url is None,
        wrapper=order.wrapper,
        sandbox=None if order.sandbox == "danger-full-access" else order.sandbox,
        shell=order.bash,
        interpose=order.bash is None,
        timeout=order.timeout,
    )


def _place(order: Order) -> Place | None:
    """Where to listen, or None for standard input and output."""
    if order.listen is None:
        if order.auth_token_file or order.hosts:
            raise click.UsageError("--auth-token-file and --allow-host are for --listen")
        return None
    try:
        place = parse_place(order.listen)
    except ValueError as error:
        said = str(error)  # Python's own words do not name it
        named = said if order.listen in said else f"{order.listen}: {said}"
        raise click.UsageError(f"--listen {named}") from None
    if not place.is_loopback and order.auth_token_file is None:
        raise click.UsageError(
            f"--listen {order.listen}: whoever connects there runs commands as this user; give "
            "--auth-token-file, or listen on 127.0.0.1"
        )
    if place.is_everywhere and not order.hosts:
        raise click.UsageError(
            f"--listen {order.listen}: name this machine as clients do, with --allow-host"
        )
    return place


async def _serve(
    target: Target,
    settings: Settings,
    place: Place | None,
    token: str | None,
    hosts: Sequence[str],
) -> None:
    async with _environment(target) as environment, Rooms.open(environment, settings) as rooms:
        server = make_server(rooms)
        if place is None:
            await _until_told(partial(serve_stdio, server))
            return
        try:
            web = WebServer(server, place, token=token, hosts=hosts)
        except OSError as error:
            raise Failure(f"cannot listen on {place.url()}: {error.strerror}") from None
        put(web.url)
        await _until_told(web.serve, web.end)


async def _until_told(
    function: Callable[[], Awaitable[None]], end: Callable[[], None] | None = None
) -> None:
    """Call a function, and end it when a signal says so: by `end`, or else by cancelling it."""
    async with anyio.create_task_group() as tasks:

        async def listen() -> None:
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for _ in signals:
                    (end or tasks.cancel_scope.cancel)()

        tasks.start_soon(listen)
        await function()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _environment(target: Target) -> AsyncIterator[Environment]:
    """Where commands run. Raises Failure."""
    gone: Failure | None = None
    async with AsyncExitStack() as stack:
        if target.url is None:
            context = Environment.local()
        else:
            context = Environment.connect(
                target.url, token_file=target.token_file, client_name="execnode-mcp"
            )
        try:
            environment = await stack.enter_async_context(context)
        except (OSError, ProtocolError, ValueError) as error:
            raise target.failure(error, FAILED) from None
        try:
            environment.exec.cwd  # noqa: B018 (all commands begin there)
        except FileNotFoundError as error:
            gone = Failure(f"the working folder: {error.strerror}")
        else:
            yield environment
    if gone is not None:
        raise gone  # out of the task groups, which would wrap it
