"""`execnode attach`: join a process that somebody has started."""

import click

from execnode.cli.options import Verb, node_options, ref_argument

__all__ = ["command"]


@click.command(
    "attach",
    cls=Verb,
    examples=[
        ("join it, from the oldest output that is kept", "execnode attach 3f2a"),
        ("only what comes from now on", "execnode attach --tail 3f2a"),
        ("type a line into it", "echo yes | execnode attach --tail 3f2a"),
    ],
)
@node_options
@click.option("--tail", is_flag=True, help="Only new output, not what is kept.")
@click.option(
    "--stdin/--no-stdin",
    default=None,
    help="Pass our stdin on, or do not. Default: if the process has a terminal.",
)
@ref_argument()
def command(
    url: str | None, token_file: str | None, tail: bool, stdin: bool | None, ref: str
) -> int:
    """Join the process called REF (see `execnode ps`; its first characters are enough).

    Its output comes here. If it has a terminal, yours stands for that: keys and window size go
    there. Ctrl-C goes to the process either way.

    Ctrl-] typed three times within a second leaves it running, and so does whatever else ends this
    command. When the process ends, so does this command, with its exit code.
    """
    from execnode.cli.attach import attach
    from execnode.cli.reach import required

    return attach(required(url, token_file), ref, tail=tail, stdin=stdin)
