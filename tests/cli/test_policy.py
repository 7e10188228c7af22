"""`execnode policy`."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.programs import execnode

RULES = """\
prefix_rule(["git", ["status", "log"]], match=["git status -s"])
prefix_rule(["rm"], "forbidden", justification="nothing is to be lost")
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    file = tmp_path / "my.rules"
    file.write_text(RULES)
    return str(file)


def check(*args: str) -> subprocess.CompletedProcess[bytes]:
    return execnode("policy", "check", *args)


def test_a_decision_is_one_line_of_json(rules: str) -> None:
    done = check("--rules", rules, "--", "git", "status", "-s")
    assert done.stdout == (
        b'{"matchedRules":[{"prefixRuleMatch":{"matchedPrefix":["git","status"],'
        b'"decision":"allow"}}],"decision":"allow"}\n'
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_command_needs_no_dashes_before_it(rules: str) -> None:
    assert check("-r", rules, "rm", "--rules").stdout == check("-r", rules, "--", "rm", "-r").stdout


def test_without_a_rule_there_is_no_decision(rules: str) -> None:
    done = check("--rules", rules, "ls")
    assert (done.returncode, done.stdout) == (0, b'{"matchedRules":[]}\n')


def test_a_script_is_taken_apart(rules: str) -> None:
    done = check("--rules", rules, "--pretty", "--", "bash", "-lc", "git log | ls; /bin/rm x")
    assert done.returncode == 0
    assert done.stdout.startswith(b'{\n  "matchedRules": [\n')
    told = json.loads(done.stdout)
    assert told.pop("matchedRules")[1] == {
        "prefixRuleMatch": {
            "matchedPrefix": ["rm"],
            "decision": "forbidden",
            "resolvedProgram": "/bin/rm",
            "justification": "nothing is to be lost",
        }
    }
    assert told == {
        "decision": "forbidden",
        "commands": [["git", "log"], ["ls"], ["/bin/rm", "x"]],
        "unmatched": [["ls"]],
    }


def test_an_opaque_script_says_why(rules: str) -> None:
    done = check("--rules", rules, "--", "bash", "-c", "git log $x")
    assert json.loads(done.stdout) == {"matchedRules": [], "opaque": "the script has an expansion"}


def test_paths_are_looked_up_unless_they_are_not_to_be(rules: str) -> None:
    assert b"forbidden" in check("--rules", rules, "bin/../rm").stdout
    done = check("--rules", rules, "--no-resolve-host-executables", "/bin/rm")
    assert done.stdout == b'{"matchedRules":[]}\n'


def test_words_need_not_be_utf8(rules: str) -> None:
    word = os.fsdecode(b"\xff")
    done = check("--rules", rules, "--", "bash", "-c", word, word)
    assert (done.returncode, done.stdout) == (0, b'{"matchedRules":[]}\n')


def test_a_mistake_is_told_with_its_place(rules: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.rules"
    bad.write_text('x = 1\nprefix_rule(["a"], match=["b"])')
    done = check("--rules", rules, "--rules", str(bad), "a")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        f"error: {bad}:2:1: prefix_rule: the rule does not match its example `b`\n"
    )


def test_a_file_that_cannot_be_read_is_told() -> None:
    done = check("--rules", "/no/such.rules", "a")
    assert done.returncode == 1
    assert done.stderr == b"error: cannot read /no/such.rules: No such file or directory\n"


@pytest.mark.parametrize("args", [[], ["check"], ["check", "a"], ["check", "-r", "x"], ["chek"]])
def test_wrong_usage_shows_help_or_a_hint(args: list[str]) -> None:
    done = execnode("policy", *args)
    assert done.returncode == 2
    assert b"hint: see execnode policy" in done.stderr or b"Usage:" in done.stderr
