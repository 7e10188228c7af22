"""docs/unified.md: its example prints what is shown, and its numbers are those of the code."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from execnode.unified import ExecOutput, Limits
from tests.docs.markdown import blocks, tables
from tests.locate import ROOT

DOCUMENT = ROOT / "docs" / "unified.md"
TABLES = {table.heading: table for table in tables(DOCUMENT)}


def test_the_example_prints_what_is_shown(tmp_path: Path) -> None:
    program, output = blocks(DOCUMENT, "python", "text")
    done = subprocess.run(
        [sys.executable, "-c", program.text],
        env={**os.environ, "HOME": str(tmp_path)},  # a login shell must find no profile
        capture_output=True,
        text=True,
    )
    assert (done.stderr, done.stdout) == ("", output.text)


def test_every_member_of_an_answer_is_told() -> None:
    told = {name for row in TABLES["An answer"].rows for name in row[0].split(", ")}
    assert told == {field.name for field in fields(ExecOutput)} | {"text"}


def test_the_times_are_those_of_the_code() -> None:
    limits = Limits()
    bounds = (limits.shortest_ms, limits.longest_ms)
    times = [
        (limits.exec_ms, *bounds),
        (limits.write_ms, *bounds),
        (limits.poll_ms, limits.shortest_poll_ms, limits.longest_poll_ms),
    ]
    told = [
        [float(cell.removesuffix(" s")) * 1000 for cell in row[1:]] for row in TABLES["Times"].rows
    ]
    assert told == [list(row) for row in times]


def test_the_other_numbers_are_those_of_the_code() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    limits = Limits()
    assert f"At most {limits.processes} are held" in text
    assert f"warn from {limits.crowded} on" in text
    assert f"until {limits.remembered} others have ended" in text
    assert f"{limits.output_tokens:,} if not said" in text
    assert limits.protected == 8
    assert "the last eight that were used are safe" in text
    assert limits.kept_bytes == 1 << 20
    assert "up to 1 MiB of it is kept" in text
