"""`execnode ps`: what runs on a node."""

import click

from execnode.cli.options import Verb, json_option, node_options

__all__ = ["command"]


@click.command(
    "ps",
    cls=Verb,
    examples=[
        ("what runs", "execnode ps --node unix:///run/user/1000/execnode/node.sock"),
        ("also what has ended and is kept", "execnode ps --all"),
        ("end all that runs", "execnode ps --json | jq -r .ref | xargs -r execnode kill"),
    ],
)
@node_options
@click.option("--all", "-a", "also_ended", is_flag=True, help="Also those that have ended.")
@json_option("Print one JSON object a line for each process.")
def command(url: str | None, token_file: str | None, also_ended: bool, as_json: bool) -> None:
    """List the processes of a node, of all its clients, oldest first.

    A client that is `away` has no connection; its processes are kept until it is back, or its
    time is over.
    """
    from execnode.cli.ps import ps
    from execnode.cli.reach import required

    ps(required(url, token_file), also_ended=also_ended, as_json=as_json)
