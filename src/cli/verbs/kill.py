"""`execnode kill`: end processes, or signal them."""

import click

from execnode.cli.options import Verb, json_option, node_options, ref_argument, time

__all__ = ["command"]


@click.command(
    "kill",
    cls=Verb,
    examples=[
        ("SIGTERM, and SIGKILL for what is left after 5 seconds", "execnode kill 3f2a"),
        ("SIGKILL at once", "execnode kill --grace 0 3f2a 90c1"),
        ("only a signal, to its process group", "execnode kill --signal HUP 3f2a"),
    ],
)
@node_options
@click.option(
    "--signal",
    "-s",
    "name",
    metavar="NAME",
    help="Send only this signal, to its process group: TERM, SIGUSR1, ...",
)
@click.option(
    "--grace",
    type=time,
    default="5s",
    show_default=True,
    help="How long it has after SIGTERM before SIGKILL.",
)
@json_option("Print one JSON object a line for each process.")
@ref_argument(several=True)
def command(
    url: str | None,
    token_file: str | None,
    name: str | None,
    grace: float,
    as_json: bool,
    refs: tuple[str, ...],
) -> int:
    """End each process called REF, with all that it has started, and wait until it has ended.

    This reaches daemons too. For a process that has ended already, what it left behind is ended.
    The refs of those that are ended are printed.
    """
    from execnode.cli.kill import kill
    from execnode.cli.reach import required

    return kill(required(url, token_file), refs, name=name, grace=grace, as_json=as_json)
