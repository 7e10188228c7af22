"""`execnode logs`: the output that a node has kept."""

import click

from execnode.cli.options import Verb, json_option, node_options, ref_argument

__all__ = ["command"]


@click.command(
    "logs",
    cls=Verb,
    examples=[
        ("what is kept, stdout and stderr apart", "execnode logs 3f2a > out 2> err"),
        ("and what follows, until it ends", "execnode logs --follow 3f2a"),
        ("only its errors", "execnode logs --only stderr 3f2a 2>&1 | less"),
    ],
)
@node_options
@click.option("--follow", "-f", is_flag=True, help="Go on until the process has ended.")
@click.option("--only", type=click.Choice(["stdout", "stderr"]), help="Leave the other stream out.")
@json_option("Print one JSON object a line for each piece of output.")
@ref_argument()
def command(
    url: str | None, token_file: str | None, follow: bool, only: str | None, as_json: bool, ref: str
) -> int:
    """Print the output of the process called REF that its node has kept.

    stdout goes to stdout and stderr to stderr; a terminal's output is one stream and counts as
    stdout. What is not kept any more is told on stderr, where it is missing. How much is kept is
    set by `run --retention`, and for how long after the process's end by `serve --keep-finished`.
    """
    from execnode.cli.logs import logs
    from execnode.cli.reach import required

    return logs(required(url, token_file), ref, follow=follow, only=only, as_json=as_json)
