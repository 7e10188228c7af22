"""`execnode sandbox`: a command that touches only what it may."""

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from execnode.cli.options import Verb

__all__ = ["command"]

_Decorator: TypeAlias = Callable[[Callable[..., int]], Callable[..., int]]

_WORDS = "execnode.sandbox.words"


class _Sandbox(Verb):
    """A verb that keeps its words as they were typed: the helper reads most of them itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)


def _path(name: str, text: str) -> _Decorator:
    return click.option(name, metavar="PATH", multiple=True, help=text)


def _number(name: str, text: str) -> _Decorator:
    return click.option(name, metavar="N", multiple=True, help=text)


@click.command(
    "sandbox",
    cls=_Sandbox,
    options_metavar="[OPTIONS] --",
    context_settings={"allow_interspersed_args": False},
    examples=[
        ("look at everything, change nothing", "execnode sandbox --profile read-only -- ls -l /"),
        ("work in this folder, offline", "execnode sandbox --profile workspace-write -- make test"),
        (
            "only what is listed",
            "execnode sandbox --minimal --read src --write build -- make -C build",
        ),
        (
            "a profile as clients send it",
            "execnode sandbox --profile-file profile.json -- ./run-tests",
        ),
        (
            "what a profile comes down to here",
            "execnode sandbox --profile workspace-write --explain | jq .rules",
        ),
    ],
)
@click.option(
    "--profile",
    metavar="NAME|JSON",
    help="read-only, workspace-write or full-access; or a profile as a JSON object, as the "
    "`permissions` of a request, or a whole `sandbox` object.",
)
@click.option(
    "--profile-file",
    type=click.File("rb"),
    metavar="FILE",
    help="The JSON from a file; - is stdin.",
)
@click.option("--explain", is_flag=True, help="Print the plan of the profile as JSON; run nothing.")
@click.option(
    "--workspace",
    "workspaces",
    metavar="DIR",
    multiple=True,
    help="What the profile calls the workspace. Default: --cwd. May be repeated, as all below.",
)
@_path("--read", "See a file, or a folder and what is in it.")
@_path("--write", "Change it too.")
@_path("--read-only", "The same as --read, for a path in a writable one.")
@_path("--deny", "Hide it; of all these the longest path decides.")
@_path("--missing", "What does not exist and may not be made.")
@click.option(
    "--literal", is_flag=True, help="The paths that come after this have no links in them."
)
@click.option("--minimal", is_flag=True, help="Read what programs need: /usr, /bin, /lib, /etc.")
@click.option(
    "--network",
    is_flag=False,
    flag_value="full",
    metavar="[none|full]",
    help="Without a word: full. Default: none, and full with full-access.",
)
@_number("--connect-port", "Connect to this TCP port, and to no other.")
@_number("--bind-port", "Listen on this TCP port, and on no other.")
@click.option("--isolate", is_flag=True, help="Namespaces, even where less would do, or nothing.")
@click.option("--cwd", metavar="DIR", help="Where to start. Default: here.")
@click.option("--arg0", metavar="NAME", help="What the command is told of its name.")
@click.option(
    "--accept-missing",
    metavar="NAME",
    multiple=True,
    help="Run even if the kernel lacks this protection.",
)
@_number("--pass-fd", "Leave this descriptor open; all others from 3 up are closed.")
@click.option("--status-fd", metavar="N", help="Tell failures and losses there, and not on stderr.")
@click.argument("argv", metavar="COMMAND [ARG]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Run COMMAND so that it sees, changes and reaches only what a profile or the options allow.

    It takes the options of execnode-linux-sandbox, which does the work, and profiles beside them.

    Exit code: the command's; 125 if the sandbox cannot be made, 126 if the command cannot be
    executed inside, 127 if it is not there.
    """
    from execnode.cli.sandbox import sandbox

    return sandbox(ctx.meta[_WORDS], options)
