"""The demo, which is also what `make run` shows."""

import os
import subprocess
import sys

from tests.locate import ROOT


def test_the_demo_finds_everything_as_expected() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo.py"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "not as expected" not in done.stdout
    for title in ("1  Output", "2  A shell", "6  A connection that breaks", "All as expected"):
        assert title in done.stdout
