"""Running a node, as `execnode serve` is told to."""

import logging
import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import click
import trio

from execnode import __version__
from execnode.environment.local.confined.pool import SandboxSettings
from execnode.environment.local.exec import ExecSettings
from execnode.environment.local.files.service import FileSettings
from execnode.environment.local.start import ExecLimits
from execnode.server.listeners import Address, ListenError, parse_address
from execnode.server.node import NodeSettings
from execnode.server.node import serve as run_node

from .failure import Failure
from .places import default_socket, default_token_file, make_private
from .tell import OutputFailed, OutputGone, listed, put, say, styled
from .tokens import load_or_make
from .web import check_together, web_settings

__all__ = ["serve"]

_MIN_FRAME = 1 << 16
_MAX_FRAME = (1 << 32) - 1  # the length before a frame has 4 bytes


def serve(urls: Sequence[str], options: Mapping[str, Any]) -> None:
    """Run a node until it is told to end. `options`: those of the verb, by name.

    Raises Failure, and click's errors for values that do not go together.
    """
    logging.basicConfig(
        level=options["log_level"].upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    addresses = _addresses(urls)
    settings = _settings(addresses, options)
    over_stdio = any(address.kind == "stdio" for address in addresses)
    unheard: list[Exception] = []

    def announce(bound: list[str]) -> None:
        try:
            _announce(bound, over_stdio=over_stdio)
        except (OutputGone, OutputFailed) as error:
            unheard.append(error)  # the nurseries wrap what passes them
            raise

    async def run() -> None:
        await run_node(
            settings,
            addresses,
            on_bound=announce,
            encoding=options["encoding"],
            with_stdin=options["exit_on_stdin_close"],
        )

    try:
        trio.run(run)
    except ListenError as error:
        raise Failure(str(error)) from None
    except ExceptionGroup:
        if not unheard:
            raise
        raise unheard[0] from None


def _addresses(urls: Sequence[str]) -> list[Address]:
    if not urls:
        socket = default_socket()
        make_private(socket.parent)
        urls = [f"unix://{socket}"]
    try:
        addresses = [parse_address(url) for url in urls]
    except ListenError as error:
        raise click.UsageError(f"--listen {error}") from None
    if sum(address.kind == "stdio" for address in addresses) > 1:
        raise click.UsageError("--listen stdio: there is only one")
    return addresses


def _settings(addresses: Sequence[Address], options: Mapping[str, Any]) -> NodeSettings:
    limits = ExecLimits(
        max_retention=options["max_retention"],
        processes=options["max_processes"],
        keep_seconds=options["keep_finished"],
    )
    execs = ExecSettings(
        limits=limits,
        memory=options["memory"],
        spill=options["spill"],
        spill_dir=options["spill_dir"],
        cgroups=not options["no_cgroups"],
        keep=options["keep_children"],
        accept_missing=options["accept_missing"],
    )
    kinds = {address.kind for address in addresses}
    check_together(kinds, options)
    if options["max_frame"] < _MIN_FRAME:
        raise click.UsageError("--max-frame: at least 64K, for what clients begin with")
    token = _token(kinds, options)
    sandboxes = SandboxSettings(accept_missing=options["accept_missing"])
    return NodeSettings(
        execs=execs,
        files=FileSettings(sandboxes=sandboxes),
        max_frame=min(options["max_frame"], _MAX_FRAME),
        max_sessions=options["max_sessions"],
        max_connections=options["max_connections"],
        session_ttl=options["session_ttl"],
        max_session_ttl=options["max_session_ttl"],
        shutdown_grace=options["shutdown_grace"],
        token=token,
        web=web_settings(kinds, token, options),
    )


def _token(kinds: Set[str], options: Mapping[str, Any]) -> str | None:
    """What clients from a network have to present; None where there are none, or all may enter."""
    asked = kinds & ({"tcp"} if options["ws_auth"] else {"tcp", "ws", "wss"})
    if not asked:
        return None
    if options["auth"] == "none":
        warning = styled("warning:", "1;33")
        say(f"{warning} --auth none: everybody who can connect runs commands as this user")
        return None
    file = options["token_file"]
    path = Path(file) if file else default_token_file()
    if not file:
        make_private(path.parent)
    token, made = load_or_make(path)
    if made or not file:
        say(f"execnode: {listed(sorted(asked))} clients need the token in {path} (--token-file)")
    return token


def _announce(bound: Sequence[str], *, over_stdio: bool) -> None:
    """Print the URLs: to stdout, unless that is a connection itself."""
    for url in bound:
        (say if over_stdio else put)(url)
    if os.isatty(1) and os.isatty(2) and bound:  # else a script reads the URLs
        name = styled("execnode", "1")
        say(f"{name} {__version__}, pid {os.getpid()}; Ctrl-C ends it. In another terminal:")
        say(f"  export EXECNODE_NODE={bound[0]}")
        say("  execnode run -- uname -a")
