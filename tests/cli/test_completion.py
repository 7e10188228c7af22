"""Shell completion: the script, and bash itself with it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.programs import execnode
from tests.locate import SHELL_WORDS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shells_script_asks_the_command(shell: str) -> None:
    done = execnode("completion", shell)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"_EXECNODE_COMPLETE={shell}_complete".encode() in done.stdout


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ("execnode ", {"run", "serve", "ps", "doctor"}),
        ("execnode r", {"run"}),
        ("execnode run --t", {"--tty", "--timeout", "--token-file"}),
        ("execnode completion ", {"bash", "zsh", "fish"}),
        ("execnode serve --log-level ", {"debug", "info", "warning", "error"}),
    ],
)
def test_bash_completes_verbs_options_and_choices(
    tmp_path: Path, words: str, some: set[str]
) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    command = tmp_path / "execnode"
    command.write_text(f'#!/bin/sh\nexec {SHELL_WORDS} "$@"\n')
    command.chmod(0o755)
    script = f"""
        eval "$(execnode completion bash)"
        COMP_LINE={words!r}
        read -ra COMP_WORDS <<<"$COMP_LINE"
        [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _execnode_completion execnode
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert some <= set(done.stdout.split())
    assert done.stderr == ""
