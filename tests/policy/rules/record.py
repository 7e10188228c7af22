"""Record what the Codex CLI says of the cases in recorded.json, in place.

`python -m tests.policy.rules.record` does it again for all of them, `make peers` having fetched the
program. A case is rule files, a command, and whether programs are looked up by their base names.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bench import peers

RECORDED = Path(__file__).with_name("recorded.json")

_PLACE = re.compile(r"^ +--> (\w+\.rules):(\d+):(\d+)$", re.MULTILINE)


def recorded() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads(RECORDED.read_text())
    return cases


def _answer(codex: Path, case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The program's JSON, or the place where it says a file is wrong; null when it names none."""
    command = [str(codex), "execpolicy", "check"]
    for index, text in enumerate(case["files"]):
        file = folder / f"f{index}.rules"
        file.write_text(text)
        command += ["--rules", file.name]
    if case["resolve"]:
        command.append("--resolve-host-executables")
    done = subprocess.run(
        [*command, "--", *case["argv"]],
        cwd=folder,
        env=os.environ | {"CODEX_HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    place = _PLACE.search(done.stderr)
    return {"refused": place and [place[1], int(place[2]), int(place[3])]}


def main() -> None:
    codex = peers.codex()
    if codex is None:
        raise FileNotFoundError("Codex is not here: `make peers` fetches it")
    cases = recorded()
    for case in cases:
        with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
            case["answer"] = _answer(codex, case, Path(folder))
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    RECORDED.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
