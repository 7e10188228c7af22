"""The command's frame: its verbs, and how each of them ends."""

import sys
from importlib import import_module

import click

from execnode import __version__

from .failure import BROKEN_PIPE, FAILED, INTERRUPTED, USAGE, Failure
from .tell import OutputFailed, OutputGone

__all__ = ["execute"]

# Here rather than in the verbs' modules, so that `execnode --help` need not import these.
_VERBS = {
    "serve": "Run a node: let clients start processes on this machine.",
    "run": "Run a command, on a node or right here.",
    "sandbox": "Run a command that touches only what it may.",
    "ps": "List the processes of a node.",
    "attach": "Join a process that runs: its output, its terminal.",
    "logs": "Print what a node has kept of a process's output.",
    "kill": "End processes with all they have started, or signal them.",
    "mcp": "Offer commands as tools to agents (Model Context Protocol).",
    "policy": "Ask a policy what may run.",
    "doctor": "Try what this machine lets a node do.",
    "completion": "Print the script that completes commands in your shell.",
}

_EXAMPLES = """\
Examples:
  execnode run -- make test                    a command here, on a node of its own
  execnode serve                               a node on a private Unix socket
  export EXECNODE_NODE=unix:///path/node.sock
  execnode run --tty -- bash                   a shell on that node
  execnode ps                                  what runs there

Each verb's --help shows more."""


class _Verbs(click.Group):
    """Verbs that are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command = import_module(f"execnode.cli.verbs.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(_VERBS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write("\n".join(_EXAMPLES.splitlines()) + "\n")


@click.group(
    cls=_Verbs,
    name="execnode",
    no_args_is_help=True,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="execnode %(version)s")
def app() -> None:
    """Run processes on a Linux machine, near or far, and keep hold of them.

    Exit codes: what the command that was run gave, 128 + number if a signal ended it, 127 if it was
    not found, 126 if it could not be executed, 125 if it was not run, 124 if its time was over, 255
    if how it ended is not known; of all other verbs 0, 1 for a failure, and 2 for wrong usage.
    """


def execute() -> int:
    """Run the verb that the arguments name, and give the exit code."""
    try:
        result = app.main(prog_name="execnode", standalone_mode=False)
    except Failure as failure:
        failure.show()
        return failure.code
    except OutputGone:
        return BROKEN_PIPE
    except OutputFailed as failed:
        Failure(f"{failed}").show()
        return FAILED
    except click.exceptions.NoArgsIsHelpError as asked:
        asked.show()
        return USAGE
    except click.ClickException as error:
        _usage_failure(error).show()
        return USAGE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _usage_failure(error: click.ClickException) -> Failure:
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        path = context.command_path
    else:  # click's parser does not always say
        path = " ".join(["execnode", *(word for word in sys.argv[1:2] if word in _VERBS)])
    message = " ".join(error.format_message().split())  # click spreads choices over lines
    return Failure(message[:1].lower() + message[1:].rstrip("."), f"see {path} --help", USAGE)
