"""`execnode mcp`: tools for agents."""

from pathlib import Path
from typing import Any

import click

from execnode.cli.options import Verb, node_options, time

__all__ = ["command"]


@click.command(
    "mcp",
    cls=Verb,
    examples=[
        ("in the configuration of an MCP client", "execnode mcp --rules /path/my.rules"),
        ("the tools run commands on a node", "execnode mcp --node unix:///path/node.sock"),
        (
            "over HTTP, for clients on this machine",
            "execnode mcp --listen http://127.0.0.1:8765/mcp",
        ),
        (
            "for clients elsewhere, which need a copy of the token",
            "execnode mcp --listen http://10.0.0.5:8765/mcp --auth-token-file ~/mcp.token",
        ),
    ],
)
@click.option(
    "--rules",
    "-r",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file of rules for commands and, on this machine, for each program that they execute; "
    "may be repeated. What it says `prompt` of, the user is asked about.",
)
@click.option(
    "--unmatched",
    type=click.Choice(["allow", "prompt", "forbidden"]),
    default="allow",
    show_default=True,
    help="What to do with a command of which no rule speaks.",
)
@click.option(
    "--without-elicitation",
    type=click.Choice(["deny", "allow"]),
    default="deny",
    show_default=True,
    help="What to do with what the user is to be asked about, if the client cannot ask.",
)
@click.option(
    "--sandbox",
    type=click.Choice(["read-only", "workspace-write", "danger-full-access"]),
    default="danger-full-access",
    show_default=True,
    help="What commands may touch: everything, but only to look; or to change the folder of the "
    "server, /tmp and $TMPDIR, too; or all that this user may. What rules allow, or the user "
    "accepts, runs outside.",
)
@click.option(
    "--bash",
    metavar="PATH",
    help="The shell of all commands, one that executes what BASH_EXEC_WRAPPER or EXEC_WRAPPER says "
    "instead of programs. Default: the user's own, whose programs ask by themselves.",
)
@click.option(
    "--execve",
    "wrapper",
    metavar="PATH",
    help="What is executed instead of programs, to ask. Default: execnode-execve-wrapper.",
)
@click.option(
    "--timeout",
    type=time,
    default="2m",
    show_default=True,
    help="For a `shell` command that names none.",
)
@click.option(
    "--listen",
    metavar="URL",
    help="Serve over HTTP at http://HOST:PORT/PATH (port 0: any) instead of standard input and "
    "output.",
)
@click.option(
    "--auth-token-file",
    metavar="FILE",
    help="The bearer token that HTTP clients have to show; made, at random, if there is no file. "
    "Needed unless only this machine can connect.",
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="A name or address by which HTTP clients know this machine, beside the one of --listen; "
    "may be repeated.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="How much is told on stderr.",
)
@node_options
def command(url: str | None, token_file: str | None, **options: Any) -> None:
    """Offer commands as tools of the Model Context Protocol: shell, exec_command, write_stdin.

    An MCP client starts this and talks to its standard input and output. Commands run on this
    machine as this user, or on a node. When the client ends, they do.
    """
    from execnode.cli.mcp import Order, serve
    from execnode.cli.reach import Target

    serve(Order(**options), Target(url or None, token_file))
