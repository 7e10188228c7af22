"""Values on the command line."""

import click
import pytest

from execnode.cli.options import limit, protections, retention, rlimit, size, time, variable
from execnode.cli.verbs.serve import command as serve
from execnode.engine import PROTECTIONS


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64K", 65536),
        ("16m", 16 << 20),
        ("1G", 1 << 30),
        ("2T", 2 << 40),
        ("3KiB", 3072),
        ("3kB", 3072),
        (" 5 ", 5),
    ],
)
def test_sizes_are_powers_of_1024(text: str, number: int) -> None:
    assert size(text) == number


@pytest.mark.parametrize("text", ["", "-1", "1.5G", "G", "1 G", "0x10", "1E", "9" * 20, "8388608T"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("1.5", 1.5), (".5", 0.5), ("90s", 90), ("5m", 300), ("2h", 7200), ("7d", 604800)],
)
def test_times_are_seconds_unless_they_say(text: str, seconds: float) -> None:
    assert time(text) == seconds


def test_milliseconds() -> None:
    assert time("250ms") == pytest.approx(0.25)


@pytest.mark.parametrize("text", ["", "-1", "inf", "nan", "1e3", "5 minutes", "s", "9" * 400])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        time(text)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("block", ("block", None)),
        ("drop-oldest", ("drop-oldest", None)),
        ("block:4K", ("block", 4096)),
        ("drop-oldest:0", ("drop-oldest", 0)),
        ("16M", (None, 16 << 20)),
    ],
)
def test_retentions(text: str, pair: tuple[str | None, int | None]) -> None:
    assert retention(text) == pair


@pytest.mark.parametrize("text", ["", "drop", "block:", "block:x", "4K:block", "keep:1"])
def test_what_is_no_retention_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        retention(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pids=100", ("pids", 100, False)),
        ("memory=512M", ("memoryBytes", 512 << 20, False)),
        ("cpu=1.5,optional", ("cpu", 1.5, True)),
        ("cpu=.5", ("cpu", 0.5, False)),
        ("cpu=2", ("cpu", 2, False)),
    ],
)
def test_limits(text: str, told: tuple[str, float, bool]) -> None:
    assert limit(text) == told


@pytest.mark.parametrize(
    "text",
    [
        *("", "pids", "pids=", "pids=1.5", "pids=1K", "cpu=x", "cpu=1e3", "cpu=.", "nofile=3"),
        *("memory=1.5G", "memory=1M,", "memory=1M,maybe", "memoryBytes=1"),
    ],
)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        limit(text)


@pytest.mark.parametrize(
    ("text", "pair"),
    [("nofile=256", ("nofile", 256)), ("as=1G", ("as", 1 << 30)), ("cpu=10:20", ("cpu", (10, 20)))],
)
def test_limits_of_each_process(text: str, pair: tuple[str, int | tuple[int, int]]) -> None:
    assert rlimit(text) == pair


@pytest.mark.parametrize("text", ["", "nofile", "nofile=", "NOFILE=3", "=3", "cpu=1:", "cpu=a:b"])
def test_what_is_no_limit_of_a_process_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        rlimit(text)


def test_a_variable_without_a_value_has_the_one_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR", "green")
    assert variable("COLOUR") == ("COLOUR", "green")
    assert variable("COLOUR=") == ("COLOUR", "")
    assert variable("A=b=c") == ("A", "b=c")
    monkeypatch.delenv("COLOUR")
    with pytest.raises(click.BadParameter, match="COLOUR has no value here"):
        variable("COLOUR")


def test_protections_are_those_of_the_mechanism() -> None:
    option = next(each for each in serve.params if each.name == "accept_missing")
    assert isinstance(option, click.Option)
    assert all(name in (option.help or "") for name in PROTECTIONS)
    context = click.Context(serve)
    assert protections(context, option, ("landlock", "namespaces", "landlock")) == (
        "landlock",
        "namespaces",
    )
    with pytest.raises(click.BadParameter, match="'seccomp' is no protection; there are"):
        protections(context, option, ("seccomp",))
