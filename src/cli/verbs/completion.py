"""`execnode completion`: what a shell has to be told to complete our commands."""

import click

from execnode.cli.options import Verb
from execnode.cli.tell import put

__all__ = ["command"]


@click.command(
    "completion",
    cls=Verb,
    examples=[
        ("bash: in ~/.bashrc", 'eval "$(execnode completion bash)"'),
        ("zsh: in ~/.zshrc, after compinit", 'eval "$(execnode completion zsh)"'),
        ("fish: in ~/.config/fish/config.fish", "execnode completion fish | source"),
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that lets SHELL complete verbs, options and the refs of processes."""
    from click.shell_completion import get_completion_class

    from execnode.cli.app import app

    kind = get_completion_class(shell)
    assert kind is not None  # the choices above are click's own
    put(kind(app, {}, "execnode", "_EXECNODE_COMPLETE").source())
