"""The comparer sees what it should see; otherwise no comparison means anything."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop import compare, scenario
from tests.interop.compare import Accepted, Difference
from tests.interop.scenario import Json
from tests.interop.story import summarise

NAMES = scenario.names()


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    match value:
        case dict():
            for key, each in value.items():
                yield from leaves(each, (*path, key))
        case list():
            for number, each in enumerate(value):
                yield from leaves(each, (*path, number))
        case _:
            yield path


def changed(line: Json, path: tuple[Any, ...]) -> Json:
    """The line with another value at a path."""
    line = copy.deepcopy(line)
    inner: Any = line
    for step in path[:-1]:
        inner = inner[step]
    value = inner[path[-1]]
    inner[path[-1]] = not value if isinstance(value, bool) else {"was": value}
    return line


def told(name: str, transcript: list[Json]) -> list[str]:
    return [each.path for each in compare.differences(scenario.load(name), transcript)]


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_does_not_differ_from_itself(name: str) -> None:
    assert told(name, scenario.recording(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_that_is_missing_is_seen(name: str) -> None:
    lines = scenario.recording(name)
    for number, line in enumerate(lines):
        if line["dir"] == "s2c" and "method" not in line["msg"]:
            assert told(name, lines[:number] + lines[number + 1 :]), line


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_an_answer_counts_unless_it_says_nothing(name: str) -> None:
    """Which ones say nothing is spelled out here once more, in other words."""
    free = {"sessionId", "nextSeq", "seq", "chunk", "stream", "size", "name", "value", "message"}
    free |= {"prependPathDirs", "capabilities", "executorVersion", "providerId", "hostname"}
    free |= {"createdAtMs", "modifiedAtMs"}
    ignored = scenario.load(name).ignore
    lines = scenario.recording(name)
    for number, line in enumerate(lines):
        if line["dir"] != "s2c" or "method" in line["msg"]:
            continue
        if f"{line.get('conn', 'a')}.answers.{json.dumps(line['msg']['id'])}" in ignored:
            continue
        for path in leaves(line["msg"]):
            where = ".".join(map(str, path))
            if path == ("id",) or free.intersection(path) or any(where in each for each in ignored):
                continue
            other = [*lines[:number], changed(line, ("msg", *path)), *lines[number + 1 :]]
            assert told(name, other), (line, path)


def test_the_wording_of_an_error_counts() -> None:
    lines = scenario.recording("06-start-errors")
    number = next(n for n, line in enumerate(lines) if "error" in line.get("msg", {}))
    lines[number] = changed(lines[number], ("msg", "error", "message"))
    assert [path.endswith(".error.message.was") for path in told("06-start-errors", lines)]


def output(chunks: list[str], seqs: list[int]) -> list[Json]:
    """What a process of two chunks is told with."""
    lines: list[Json] = [
        {"method": "process/output", "params": {"seq": seq, "stream": "stdout", "chunk": chunk}}
        for chunk, seq in zip(chunks, seqs, strict=False)
    ]
    lines.append({"method": "process/exited", "params": {"seq": seqs[-2], "exitCode": 0}})
    lines.append({"method": "process/closed", "params": {"seq": seqs[-1]}})
    for line in lines:
        line["params"] |= {"processId": "p", "sandboxDenied": False}
    return [{"dir": "s2c", "msg": line} for line in lines]


@pytest.mark.parametrize(
    ("lines", "rules"),
    [
        (output(["YQ==", "Yg=="], [1, 2, 3, 4]), "closed"),
        (output(["Yg==", "YQ=="], [2, 1, 3, 4]), "closed"),
        (output(["YWI="], [1, 2, 3]), "closed"),
        (output(["YQ==", "Yg=="], [1, 2, 4, 5]), "a number is missing"),
        (output(["YQ==", "Yg=="], [1, 1, 2, 3]), "a number came twice"),
        (output(["YQ==", "Yg=="], [1, 4, 2, 3]), "closed more than once, or not with the highest"),
        (output(["YQ==", "Yg=="], [1, 2, 3, 4])[:-1], "not closed"),
    ],
)
def test_output_is_joined_and_its_numbers_are_checked(lines: list[Json], rules: str) -> None:
    summary = summarise(lines)
    assert summary["a.processes.p.stdout"] == "ab"
    assert summary["a.processes.p.rules"].startswith(rules)


def test_an_accepted_difference_that_is_gone_is_told() -> None:
    entry = Accepted(["one", "two"], ["a.answers.*", "http.0.status"], "why")
    found = [Difference("one", "a.answers.1", 1, 2), Difference("two", "http.0.status", 1, 2)]
    assert [entry.covers(each) for each in found] == [True, True]
    assert not entry.covers(Difference("one", "a.order", 1, 2))
    assert not entry.covers(Difference("three", "a.answers.1", 1, 2))
    assert entry.unused(found, {"one", "two"}) == []
    assert entry.unused(found[:1], {"one", "two"}) == ["two", "http.0.status"]
    assert entry.unused(found[1:], {"one", "two"}) == ["one", "a.answers.*"]
    assert entry.unused([], {"one"}) == []


def test_an_accepted_difference_may_say_what_is_found() -> None:
    entry = Accepted(["one"], ["a.answers.*"], "why", found=-32600)
    assert entry.covers(Difference("one", "a.answers.1.error.code", -32603, -32600))
    assert not entry.covers(Difference("one", "a.answers.1.error.code", -32603, -32602))
