"""What scenarios do to files, and what they look at."""

from __future__ import annotations

import os

from tests.interop.scenario import Json
from tests.interop.scratch import Scratch


def change(scratch: Scratch, operations: list[Json]) -> None:
    """Carry out file operations: write, mkdir, symlink, fifo."""
    for each in operations:
        path = scratch.path(each["path"])
        match each["op"]:
            case "write":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(each["text"])
            case "mkdir":
                path.mkdir(parents=True, exist_ok=True)
            case "symlink":
                path.symlink_to(each["to"])
            case "fifo":
                os.mkfifo(path)
            case other:
                raise ValueError(f"no such file operation: {other}")


def look(scratch: Scratch, wanted: Json) -> Json:
    """Which of the named files are there, and the texts of some."""
    seen: Json = {}
    named = [*wanted.get("exists", []), *wanted.get("missing", [])]
    if named:
        seen["exists"] = {name: os.path.lexists(scratch.path(name)) for name in named}
    if "text" in wanted:
        seen["text"] = {name: scratch.path(name).read_text() for name in wanted["text"]}
    return seen
