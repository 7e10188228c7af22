"""Recorded scenarios: what to send to a server, step by step, and what came back from the real one.

A scenario is a JSON file in recordings/scenarios; the exchange that was recorded with it is in
recordings/transcripts under the same name. The real server is codex exec-server 0.169.0.

Members of a scenario: `about`; `steps` (see player.py); `setup`, file operations before the server
starts (disk.py); `vars`, values that `{"$var": "NAME"}` stands for; `server_args`, in which
`{secret_file}` stands for a file that holds the text `secret_file`; `server_env`; `transport`,
"stdio" or, when absent, WebSocket; `http_fixture`: a small HTTP server is there (website.py), its
address is `${http}`; `ignore`: paths of the summary (story.py) that differ from run to run.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

RECORDINGS = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Scenario:
    """What one file says; the module's text names the members."""

    name: str
    about: str
    steps: list[Json]
    setup: list[Json] = field(default_factory=list)
    vars: Json = field(default_factory=dict)
    server_args: list[str] = field(default_factory=list)
    server_env: dict[str, str] = field(default_factory=dict)
    transport: str = "ws"
    http_fixture: bool = False
    secret_file: str = ""
    ignore: list[str] = field(default_factory=list)


def names() -> list[str]:
    """All scenarios, in order."""
    return sorted(path.stem for path in (RECORDINGS / "scenarios").glob("*.json"))


def load(name: str) -> Scenario:
    """The scenario of a name. Raises FileNotFoundError."""
    text = (RECORDINGS / "scenarios" / f"{name}.json").read_text()
    return Scenario(name=name, **json.loads(text))


def recording(name: str) -> list[Json]:
    """What was recorded with a scenario, as lines of a transcript."""
    return [json.loads(line) for line in transcript_path(name).read_text().splitlines()]


def transcript_path(name: str) -> Path:
    """Where the recording of a scenario is."""
    return RECORDINGS / "transcripts" / f"{name}.jsonl"


def expand(value: Any, scenario_vars: Json, names: dict[str, str]) -> Any:
    """A value with its shorthands written out.

    `{"$var": "X"}` is the scenario's variable X, `{"$rep": ["x", 3]}` is "xxx", `{"$b64": "text"}`
    is the text in base64, and `${name}` inside a string is what the player knows by that name.
    """
    match value:
        case {"$var": str(name)}:
            return expand(scenario_vars[name], scenario_vars, names)
        case {"$rep": [piece, int(times)]}:
            return expand(piece, scenario_vars, names) * times
        case {"$b64": text}:
            return base64.b64encode(expand(text, scenario_vars, names).encode()).decode()
        case dict():
            return {key: expand(each, scenario_vars, names) for key, each in value.items()}
        case list():
            return [expand(each, scenario_vars, names) for each in value]
        case str():
            return re.sub(r"\$\{(\w+)\}", lambda found: names.get(found[1], found[0]), value)
    return value
