"""`execnode policy`: what a policy says."""

from pathlib import Path

import click

from execnode.cli.options import Verb, Verbs

__all__ = ["command"]


@click.group(
    "policy",
    cls=Verbs,
    no_args_is_help=True,
    subcommand_metavar="VERB ...",
    examples=[
        ("what rules say of a command", "execnode policy check --rules my.rules -- git push")
    ],
)
def command() -> None:
    """Ask a policy what may run. Nothing is run."""


@command.command(
    "check",
    cls=Verb,
    options_metavar="[OPTIONS] [--]",
    context_settings={"allow_interspersed_args": False},
    examples=[
        ("what the rules say", "execnode policy check --rules my.rules -- git push"),
        (
            "of every command in a script",
            "execnode policy check --rules my.rules -- bash -lc 'make && git push'",
        ),
        (
            "of several files; for a script",
            "execnode policy check -r our.rules -r my.rules -- rm -r x | jq -r .decision",
        ),
        (
            "that files have no mistakes and their examples hold",
            "execnode policy check -r my.rules true",
        ),
    ],
)
@click.option(
    "--rules",
    "-r",
    "files",
    metavar="FILE",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A file of rules; may be repeated.",
)
@click.option("--pretty", is_flag=True, help="Print the JSON over several lines.")
@click.option(
    "--resolve-host-executables/--no-resolve-host-executables",
    "resolve",
    default=True,
    help="Look a program that is named by its path up by its base name too, or do not. Default: "
    "do, as everything else that uses rules does.",
)
@click.argument("argv", metavar="COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
def check(files: tuple[Path, ...], pretty: bool, resolve: bool, argv: tuple[str, ...]) -> None:
    """Print what the rules say of COMMAND, as one JSON object.

    "decision" is the strictest of all "matchedRules"; it is left out when the rules do not settle
    it. A script of bash, sh, dash or zsh is taken apart into "commands".

    Exit code 0 whatever the decision, 1 for a file that cannot be used, 2 for wrong usage.
    """
    from execnode.cli.policy import check as print_check

    print_check(files, argv, pretty=pretty, resolve=resolve)
