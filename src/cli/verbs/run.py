"""`execnode run`: a command somewhere else, as if it were here."""

from typing import Any

import click

from execnode.cli.options import (
    Verb,
    json_option,
    limit,
    node_options,
    retention,
    rlimit,
    time,
    variable,
)

__all__ = ["command"]


@click.command(
    "run",
    cls=Verb,
    options_metavar="[OPTIONS] [--]",
    context_settings={"allow_interspersed_args": False},
    examples=[
        ("here, on a node that lives as long as the command", "execnode run -- make test"),
        (
            "on a node, through a pipe and back",
            "execnode run --node unix:///run/user/1000/execnode/node.sock -- sort < in > out",
        ),
        ("a shell on a terminal of its own", "execnode run --tty -- bash -l"),
        (
            "at most five minutes, in another folder",
            "execnode run --timeout 5m --cwd /srv -- ./job",
        ),
        (
            "with 512 MiB and one and a half processors, for it and all that it starts",
            "execnode run --limit memory=512M --limit cpu=1.5 -- make",
        ),
        (
            "at most 100 processes if the node can see to that, and no core files",
            "execnode run --limit pids=100,optional --rlimit core=0 -- ./job",
        ),
        (
            "in the background; then look at it",
            "ref=$(execnode run --detach -- make) && execnode logs --follow $ref",
        ),
        ("for a script", "execnode run --json -- uname -a | jq -r 'select(.text).text'"),
    ],
)
@node_options
@click.option("--tty", "-t", is_flag=True, help="Run it on a terminal, which yours stands for.")
@click.option("--cwd", metavar="FOLDER", help="Its working folder; default: the node's own.")
@click.option(
    "--env",
    "-e",
    "variables",
    type=variable,
    metavar="NAME=VALUE",
    multiple=True,
    help="Set a variable on top of the node's own; NAME alone takes the value from here.",
)
@click.option("--clear-env", is_flag=True, help="Give it only the variables of --env.")
@click.option(
    "--stdin/--no-stdin",
    default=None,
    help="Pass our stdin on, or do not. Default: unless it is a terminal, or with --tty.",
)
@click.option(
    "--sandbox",
    metavar="PROFILE",
    help="What it may touch: read-only (everything, but only to look), workspace-write (and change "
    "its working folder, /tmp and $TMPDIR), or a file with a sandbox object as JSON.",
)
@click.option(
    "--limit",
    "limits",
    type=limit,
    metavar="NAME=VALUE[,optional]",
    multiple=True,
    help="What it and all it starts may take together: memory=512M, pids=100 (processes and "
    "threads), cpu=1.5 (processors). It is not run where the node cannot limit that, unless it is "
    "optional.",
)
@click.option(
    "--rlimit",
    "rlimits",
    type=rlimit,
    metavar="NAME=SOFT[:HARD]",
    multiple=True,
    help="What each process by itself may take (setrlimit(2)): nofile=256, as=1G, cpu=10:20 "
    "(seconds).",
)
@click.option(
    "--timeout", type=time, help="End it with all it has started after so long; exit code 124."
)
@click.option(
    "--grace", type=time, help="How long it then has after SIGTERM before SIGKILL. Default: 0."
)
@click.option(
    "--retention",
    type=retention,
    metavar="[MODE:]SIZE",
    help="How much output the node keeps that nobody has taken, and whether it then stops the "
    "command (block) or forgets the oldest (drop-oldest). Default: block:1M, and "
    "drop-oldest:16M with --detach.",
)
@click.option("--detach", "-d", is_flag=True, help="Print its ref and leave it running.")
@json_option("Print its events as JSON, one object a line.")
@click.argument("argv", metavar="COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(url: str | None, token_file: str | None, **options: Any) -> int:
    """Run COMMAND: its output comes here as it is written, stdout and stderr apart.

    Without a node (or with --node '') it runs on this machine, on a node that ends with it.

    Ctrl-C goes to the command as SIGINT; a second one ends it with all it has started. With --tty
    every key goes to the command, but Ctrl-] typed three times within a second ends it.
    """
    from execnode.cli.reach import Target
    from execnode.cli.run import Order, run

    return run(Order(**options), Target(url or None, token_file))
