"""What the verbs' command lines have in common."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import click

__all__ = [
    "TreeLimit",
    "Verb",
    "Verbs",
    "json_option",
    "limit",
    "node_options",
    "protections",
    "ref_argument",
    "retention",
    "rlimit",
    "size",
    "time",
    "variable",
]

_SIZE_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_TIME_UNITS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

_F = TypeVar("_F", bound=Callable[..., Any])


class Verb(click.Command):
    """A command whose help ends with examples: (what it does, what to type)."""

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, unwrapped, since they are there to be copied."""
        formatter.write_paragraph()
        formatter.write("Examples:\n")
        for remark, command in self._examples:
            formatter.write(f"  # {remark}\n  {command}\n")


class Verbs(Verb, click.Group):
    """Verbs below a verb, with examples of all."""


def size(value: str) -> int:
    """Bytes: `4096`, `64K`, `16M`, `1G`, by powers of 1024. Raises click.BadParameter."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", value.strip(), re.IGNORECASE)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a size like 4096, 64K, 16M or 1G")
    number = int(match[1]) << _SIZE_SHIFTS[match[2].upper()]
    if number >= 1 << 63:
        raise click.BadParameter(f"{value!r} is too large")
    return number


def time(value: str) -> float:
    """Seconds: `1.5`, `90s`, `5m`, `2h`, `7d`, `200ms`. Raises click.BadParameter."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d*)?|\.\d+)(ms|[smhd]?)", value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is not a time like 1.5, 90s, 5m, 2h or 7d")
    return float(match[1]) * _TIME_UNITS[match[2]]


def variable(value: str) -> tuple[str, str]:
    """`NAME=VALUE`, or `NAME` for the value that it has here. Raises click.BadParameter."""
    name, equals, text = value.partition("=")
    if not name:
        raise click.BadParameter(f"{value!r} has no name; write NAME=VALUE")
    if equals:
        return name, text
    if name not in os.environ:
        raise click.BadParameter(f"{name} has no value here; write {name}=VALUE")
    return name, os.environ[name]


def retention(value: str) -> tuple[str | None, int | None]:
    """`block`, `drop-oldest`, a size, or `MODE:SIZE`: (mode or None, bytes or None).

    Raises click.BadParameter.
    """
    mode, colon, number = value.partition(":")
    if mode in ("block", "drop-oldest"):
        return mode, size(number) if colon else None
    if colon or not mode[:1].isdigit():
        raise click.BadParameter(f"{value!r} is not like block, drop-oldest or block:16M")
    return None, size(mode)


class TreeLimit(NamedTuple):
    """A limit of a command and all that it starts, as `limits` of a request has it."""

    member: Literal["pids", "memoryBytes", "cpu"]
    value: float
    optional: bool


def limit(value: str) -> TreeLimit:
    """`pids=100`, `memory=512M`, `cpu=1.5`, with `,optional` or without.

    Which numbers are possible is not known here. Raises click.BadParameter.
    """
    name, _, text = value.partition("=")
    text, comma, word = text.partition(",")
    if comma and word != "optional":
        raise click.BadParameter(f"{value!r} may have only `optional` behind a comma")
    if name == "memory":
        return TreeLimit("memoryBytes", size(text), bool(comma))
    if name == "pids" and re.fullmatch(r"\d{1,9}", text):
        return TreeLimit("pids", int(text), bool(comma))
    if name == "cpu" and re.fullmatch(r"\d{1,9}(\.\d*)?|\.\d+", text):
        return TreeLimit("cpu", float(text), bool(comma))
    raise click.BadParameter(f"{value!r} is not like memory=512M, pids=100 or cpu=1.5")


def rlimit(value: str) -> tuple[str, int | tuple[int, int]]:
    """`nofile=256`, `as=1G`, `cpu=10:20`: a name, and one limit or the soft and the hard one.

    Raises click.BadParameter.
    """
    name, equals, text = value.partition("=")
    if not equals or not re.fullmatch(r"[a-z]+", name):
        raise click.BadParameter(f"{value!r} is not like nofile=256, as=1G or cpu=10:20")
    soft, colon, hard = text.partition(":")
    return name, (size(soft), size(hard)) if colon else size(soft)


def protections(
    _context: click.Context, _param: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Names of protections of a sandbox. Raises click.BadParameter."""
    if not names:
        return ()  # the engine is not needed for that
    from execnode.engine import PROTECTIONS

    for name in names:
        if name not in PROTECTIONS:
            known = ", ".join(PROTECTIONS)
            raise click.BadParameter(f"{name!r} is no protection; there are {known}")
    return tuple(dict.fromkeys(names))


def node_options(function: _F) -> _F:
    """Add --node and --token-file."""
    for option in (
        click.option(
            "--token-file",
            envvar="EXECNODE_TOKEN_FILE",
            show_envvar=True,
            metavar="FILE",
            help="The token that a tcp, ws or wss node asks for.",
        ),
        click.option(
            "--node",
            "url",
            envvar="EXECNODE_NODE",
            show_envvar=True,
            metavar="URL",
            help="The node: unix:///path.sock, tcp://HOST:PORT, ws://HOST:PORT, wss://HOST:PORT or "
            "stdio:COMMAND ARG...",
        ),
    ):
        function = option(function)
    return function


def json_option(text: str) -> Callable[[_F], _F]:
    """Add --json; `text` says what it prints."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def _complete_ref(context: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    from .reach import complete_ref

    return complete_ref(
        context.params.get("url") or os.environ.get("EXECNODE_NODE"),
        context.params.get("token_file") or os.environ.get("EXECNODE_TOKEN_FILE"),
        incomplete,
    )


def ref_argument(*, several: bool = False) -> Callable[[_F], _F]:
    """Add the REF of a process, or several as `refs`."""
    if several:
        return click.argument(
            "refs", metavar="REF...", nargs=-1, required=True, shell_complete=_complete_ref
        )
    return click.argument("ref", shell_complete=_complete_ref)
