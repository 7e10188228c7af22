"""`execnode doctor`: what this machine lets a node do."""

import click

from execnode.cli.options import Verb, json_option

__all__ = ["command"]


@click.command(
    "doctor",
    cls=Verb,
    examples=[
        ("what works, what does not and why", "execnode doctor"),
        ("in a script", "execnode doctor --json | jq -e '.[] | select(.name==\"landlock\").ok'"),
        ("with another folder for output", "execnode doctor --spill-dir /var/tmp"),
    ],
)
@click.option("--spill-dir", type=click.Path(file_okay=False), help="As for `execnode serve`.")
@json_option("Print one JSON array of what was tried.")
def command(spill_dir: str | None, as_json: bool) -> int:
    """Try what a node builds on, and run a command on a node to see it work.

    Everything is tried, not looked up. Exit code 0 when a node can run commands here; the rest is
    what it can do beyond that.
    """
    from execnode.cli.doctor import doctor

    return doctor(spill_dir, as_json=as_json)
