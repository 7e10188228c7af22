"""`execnode doctor`."""

import json
import re

import pytest

from execnode.engine._pty import PROTECTIONS
from tests.cli.programs import Person, execnode


def test_a_node_is_tried_and_everything_told_in_columns() -> None:
    done = execnode("doctor")
    assert done.returncode == 0, done.stderr
    header, *rows = done.stdout.decode().splitlines()
    assert header.split() == ["TRIED", "GOOD", "FOR", "FOUND"]
    verdicts = {" ".join(row[4:].split("  ")[0].split()): row.split()[0] for row in rows}
    assert verdicts["node"] == "ok"
    assert {
        "kernel",
        "clone3",
        "landlock",
        "seccomp",
        "terminals",
        "spill",
        "sandbox-fast",
        "sandbox-namespaces",
        "protection namespaces",
    } <= set(verdicts)
    assert set(verdicts.values()) <= {"ok", "no"}
    assert done.stderr.startswith(b"a node can run here")


def test_every_protection_of_the_sandbox_is_told_by_name() -> None:
    probes = {each["name"]: each for each in json.loads(execnode("doctor", "--json").stdout)}
    listed = [name.split()[1] for name in probes if name.startswith("protection ")]
    assert listed == list(PROTECTIONS)
    for name, remedy in PROTECTIONS.items():
        found = probes[f"protection {name}"]
        assert found["detail"] == ("is here" if found["ok"] else remedy)
        assert found["use"] == "sandbox: --accept-missing"
    assert probes["sandbox-fast"]["detail"].startswith("19 of 19 attempts refused")


def test_in_json_it_is_one_array() -> None:
    done = execnode("doctor", "--json")
    probes = json.loads(done.stdout)
    assert done.returncode == 0
    assert all(set(each) == {"name", "ok", "detail", "use"} for each in probes)
    assert probes[-1]["name"] == "node"
    assert done.stderr == b""


def test_what_does_not_work_is_named_with_the_reason() -> None:
    done = execnode("doctor", "--spill-dir", "/no/such/folder")
    assert done.returncode == 0
    [row] = [row for row in done.stdout.decode().splitlines() if " spill " in row]
    assert row.startswith("no ")
    assert row.endswith("/no/such/folder: No such file or directory")
    assert "spill" in done.stderr.decode()


@pytest.mark.parametrize("columns", [80, 40])
def test_at_a_narrow_terminal_nothing_is_cut(person: type[Person], columns: int) -> None:
    someone = person("doctor", size=(50, columns), env={"COLUMNS": ""})
    assert someone.ends() == 0
    text = someone.text()
    assert max(map(len, text.splitlines())) <= columns
    assert "…" not in text
    assert re.search(r"^(ok|no)  network-namespace", text, re.MULTILINE)
