"""The worked example of docs/escalation.md does what it shows."""

import re
import subprocess
import sys
from pathlib import Path

from execnode.escalation import protocol
from tests.locate import ROOT

TEXT = (ROOT / "docs/escalation.md").read_text()


def test_the_example_prints_what_it_shows(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    shown = TEXT[TEXT.index("anyio.run(") :]
    expected = re.findall(r"```text\n(.*?)```", shown, re.DOTALL)[0]
    there = tmp_path / "example"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code.replace("/tmp/execnode-example", str(there))],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
    )
    assert done.stderr == ""
    # stdout and stderr of a command are two streams.
    assert sorted(done.stdout.replace(str(there), "/tmp/execnode-example").splitlines()) == sorted(
        expected.splitlines()
    )
    assert there.exists()


def test_every_kind_of_frame_is_told() -> None:
    frames = [
        protocol.run_frame(),
        protocol.deny_frame(""),
        protocol.escalate_frame(()),
        protocol.signal_frame(1),
        protocol.exited_frame(0),
        protocol.killed_frame(9),
    ]
    kinds = {frame[:1].decode() for frame in frames}
    kinds |= {protocol.REQUEST.decode(), protocol.DESCRIPTORS.decode()}
    told = set(re.findall(r"^\| `(.)` \| (?:wrapper|server)", TEXT, re.MULTILINE))
    assert told == kinds
