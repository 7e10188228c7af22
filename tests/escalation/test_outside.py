"""What is decided about is what runs outside; and what the caller chooses does not run in it."""

import os
from pathlib import Path

import pytest

from execnode.escalation import Action, Escalate
from execnode.escalation.variables import outside
from tests.escalation.interception import interception

pytestmark = pytest.mark.trio


def program(path: Path, word: str) -> None:
    path.write_text(f"#!/bin/sh\necho {word}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("change", ["content", "replaced", "link", "folder"])
async def test_what_was_changed_while_it_was_decided_about_is_not_run(
    tmp_path: Path, change: str
) -> None:
    program(tmp_path / "good", "good")
    program(tmp_path / "evil", "evil")
    (tmp_path / "file").symlink_to("good")
    (tmp_path / "here").mkdir()

    async def decide() -> Action:
        if change == "content":
            program(tmp_path / "good", "evil")
        elif change == "replaced":
            (tmp_path / "evil").rename(tmp_path / "good")
        elif change == "link":
            (tmp_path / "file").unlink()
            (tmp_path / "file").symlink_to("evil")
        else:
            (tmp_path / "here").rename(tmp_path / "there")
            (tmp_path / "here").mkdir()
        return Escalate()

    async with interception(lambda *_: decide()) as inside:
        ended = await inside.shell(f'cd {tmp_path}/here; "$W" {tmp_path}/file file')
    assert (ended.code, ended.out) == (126, "")
    assert "was changed since it was asked about" in ended.err


async def test_a_file_that_is_another_to_everybody_is_not_run() -> None:
    async with interception(lambda *_: Escalate()) as inside:
        ended = await inside.shell('"$W" /proc/self/exe python -c "print(1)"')
    assert (ended.code, ended.out) == (126, "")


async def test_a_folder_that_was_removed_is_none_to_run_in(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    async with interception(lambda *_: Escalate()) as inside:
        ended = await inside.shell(f'cd {gone}; rmdir {gone}; "$W" /bin/echo echo ran')
        assert inside.policy.asked[0][2] == b""
    assert (ended.code, ended.out) == (126, "")


def names(*variables: str) -> set[str]:
    return set(outside(os.fsencode(each) for each in variables))


async def test_the_callers_variables_do_not_choose_code() -> None:
    assert names("HOME=/h", "PATH=/p", "FOO=1", "=x", "odd", "LANG=C") == {
        "HOME",
        "PATH",
        "FOO",
        "LANG",
    }
    assert not names("LD_PRELOAD=x", "LD_LIBRARY_PATH=x", "BASH_ENV=x", "BASH_FUNC_ls%%=() { :; }")
    assert not names("PYTHONSTARTUP=x", "PERL5OPT=x", "GIT_SSH_COMMAND=x", "GLIBC_TUNABLES=x")
    assert not names("EXECNODE_ESCALATE_FD=3", "EXEC_WRAPPER=w", "BASH_EXEC_WRAPPER=w", "EDITOR=x")
    assert names("MY_LD_PRELOAD=x", "ENVIRONMENT=x", "LESSONS=x") == {
        "MY_LD_PRELOAD", "ENVIRONMENT", "LESSONS",
    }  # fmt: skip
