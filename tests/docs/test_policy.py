"""docs/policy.md: its commands answer as shown."""

import shlex
import subprocess
from pathlib import Path

from tests.docs.markdown import blocks
from tests.locate import ROOT, execnode

DOCUMENT = ROOT / "docs" / "policy.md"


def test_the_commands_answer_as_shown(tmp_path: Path) -> None:
    [rules] = blocks(DOCUMENT, "python")
    (tmp_path / "my.rules").write_text(rules.text)
    [session] = blocks(DOCUMENT, "console")
    lines = session.text.splitlines()
    for command, answer in zip(lines[::2], lines[1::2], strict=True):
        _, _, *words = shlex.split(command)
        done = subprocess.run(execnode(*words), cwd=tmp_path, capture_output=True, text=True)
        assert (done.stderr, done.stdout) == ("", answer + "\n")
