"""`execnode sandbox`: its options are the helper's, and a profile becomes such options."""

import json
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pytest

from execnode.cli.verbs.sandbox import command
from execnode.engine.programs import HELPER
from tests.cli.programs import execnode, from_removed_folder

pytestmark = pytest.mark.usefixtures("outside_tmp")


@pytest.fixture
def outside_tmp(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A workspace that is not in /tmp, which is writable anyway."""
    with TemporaryDirectory(dir="/var/tmp") as folder:
        monkeypatch.chdir(folder)
        yield Path(folder)


def sandbox(*words: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    return execnode("sandbox", *words, **options)


def names(folder: str = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def entry(path: dict[str, Any], access: str) -> dict[str, Any]:
    return {"path": path, "access": access}


def managed(*entries: dict[str, Any]) -> dict[str, Any]:
    files = {"type": "restricted", "entries": list(entries)}
    return {"type": "managed", "file_system": files, "network": "restricted"}


ROOT = {"type": "special", "value": {"kind": "root"}}
PROJECT = {"type": "special", "value": {"kind": "project_roots"}}
WORKSPACE = managed(entry(ROOT, "read"), entry(PROJECT, "write"))


def test_its_options_are_those_of_the_helper() -> None:
    usage = subprocess.run(
        ["execnode-linux-sandbox"], executable=HELPER, capture_output=True, text=True, check=False
    )
    theirs = set(re.findall(r"^  (--[a-z0-9-]+)", usage.stderr, re.MULTILINE))
    options = [each for each in command.params if isinstance(each, click.Option)]
    ours = {name for each in options for name in each.opts}
    assert ours - theirs == {"--profile-file", "--explain"}
    assert theirs - ours == set()


@pytest.mark.parametrize(
    "profile", ["workspace-write", json.dumps(WORKSPACE)], ids=["name", "json"]
)
def test_a_profile_lets_work_be_done_in_the_workspace(profile: str) -> None:
    done = sandbox(
        "--profile", profile, "--",
        "sh", "-c", "echo x >made; echo x >/etc/made; mkdir .git; cat made; exit 7",
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert done.stdout == b"x\n"
    assert done.stderr.count(b"cannot create") == 2
    assert names() == ["made"]


def test_a_profile_comes_from_a_file_or_stdin(outside_tmp: Path) -> None:
    profile = managed(entry(ROOT, "read"), entry({"type": "path", "path": "/etc/passwd"}, "deny"))
    text = json.dumps(profile)
    Path("profile.json").write_text(text)
    for name, data in (("profile.json", b""), ("-", text.encode())):
        done = sandbox("--profile-file", name, "--", "cat", "/etc/passwd", input=data)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"Permission denied" in done.stderr


def test_a_whole_sandbox_object_is_taken(outside_tmp: Path) -> None:
    Path("a").mkdir()
    whole = {"permissions": WORKSPACE, "workspaceRoots": [str(outside_tmp / "a")]}
    done = sandbox("--profile", json.dumps(whole), "--", "sh", "-c", "echo >a/x; echo >x")
    assert done.returncode == 2
    assert names("a") == ["x"]
    assert names() == ["a"]


def test_options_are_read_by_the_helper() -> None:
    Path("secret").write_text("x")
    done = sandbox("--profile", "read-only", "--deny", "secret", "--arg0", "me", "--", "sh", "-c",
                   "echo $0; cat secret", "name")  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"name\n")
    listed = sandbox("--minimal", "--read", "secret", "--", "cat", "secret", "/proc/self/comm")
    assert (listed.returncode, listed.stdout) == (0, b"xcat\n")
    assert sandbox("--minimal", "--", "ls", "/home").returncode == 2


def test_the_name_of_the_command_is_passed_with_a_profile_too() -> None:
    done = sandbox("--profile", '{"type": "read-only"}', "--arg0", "-me", "--", "sh", "-c",
                   "cat /proc/$$/cmdline")  # fmt: skip
    assert done.stdout.startswith(b"-me\0"), done.stderr


def test_a_plan_is_explained_and_nothing_run(outside_tmp: Path) -> None:
    Path(".git").mkdir()
    done = sandbox("--profile", json.dumps(WORKSPACE), "--explain", "--", "touch", "made")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    here = str(outside_tmp)
    assert plan == {
        "unrestricted": False,
        "rules": [
            {"path": "/", "access": "read"},
            {"path": here, "access": "write"},
            {"path": f"{here}/.git", "access": "read"},
        ],
        "minimal": False,
        "missing": [f"{here}/{name}" for name in (".agents", ".aws", ".codex")],
        "network": "none",
        "cwd": here,
        "options": plan["options"],
    }
    assert names() == [".git"]
    # The options are such that they can be given by hand.
    again = sandbox(*plan["options"], "--", "sh", "-c", "touch made .git/made")
    assert again.returncode == 1
    assert names() == [".git", "made"]
    assert names(".git") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no command"),
        (["ls"], "a command comes after --"),
        (["--read"], "--read"),
        (["--profile", "none-such", "--", "ls"], "there is no profile none-such"),
        (["--profile", "{", "--", "ls"], "no JSON"),
        (["--profile", "{}", "--", "ls"], "the profile"),
        (["--profile", '{"type":"read-only"}', "--write", "/", "--", "ls"], "--write has no place"),
        (["--profile", "read-only", "--explain", "--deny", "/etc"], "--deny has no place"),
        (["--profile", "read-only", "--profile-file", "-", "--", "ls"], "two profiles"),
        (["--explain", "--", "ls"], "no profile to explain"),
        (["--profile", "read-only"], "there is no command"),
        (["--bad", "--", "ls"], "--bad"),
    ],
)
def test_wrong_usage_is_told(words: list[str], said: str) -> None:
    done = sandbox(*words)
    assert done.returncode == 2
    assert said in done.stderr.decode()


@pytest.mark.parametrize("cwd", ["none", "file", "file/below"])
@pytest.mark.parametrize("profile", ["workspace-write", '{"type": "read-only"}'])
def test_a_folder_that_is_none_is_an_error(tmp_path: Path, profile: str, cwd: str) -> None:
    (tmp_path / "file").touch()
    done = sandbox("--profile", profile, "--cwd", str(tmp_path / cwd), "--", "pwd")
    error, hint = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (125, b"")
    assert error.startswith(f"error: {tmp_path / cwd}: No")
    assert hint == "hint: name another with --cwd"


def test_a_folder_that_was_removed_is_an_error() -> None:
    done = from_removed_folder("sandbox", "--profile", "workspace-write", "--", "pwd")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr.startswith(b"error: the working folder: No such file or directory\n")


def test_what_cannot_be_run_has_the_usual_codes() -> None:
    Path("data").write_text("x")
    for words in (["--profile", "read-only"], ["--minimal", "--read", "."]):
        assert sandbox(*words, "--", "./none").returncode == 127
        assert sandbox(*words, "--", "./data").returncode == 126
