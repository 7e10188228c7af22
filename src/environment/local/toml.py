"""TOML written again: what tomllib has read, or a part of it, as text.

https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

__all__ = ["Table", "select", "to_toml"]

Table: TypeAlias = dict[str, Any]

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


def select(table: Table, paths: Iterable[Sequence[str]]) -> Table:
    """Return the values that `paths` lead to, in their places and order.

    A path that leads through something other than a table ends there. Absent ones are left out.
    """
    wanted = {path[0] for path in paths}
    chosen: Table = {}
    for key, value in table.items():
        if key not in wanted:
            continue
        further = [path[1:] for path in paths if path[0] == key]
        if all(further) and isinstance(value, dict):
            value = select(value, further)
            if not value:
                continue
        chosen[key] = value
    return chosen


def to_toml(table: Table) -> str:
    """Return the text of a table as tomllib gives it. It ends in a newline, unless it is empty."""
    return "\n".join(_sections("", table, "[{}]"))


def _sections(name: str, table: Table, header: str) -> Iterator[str]:
    """Give a section for the plain values of a table, then those of the tables in it."""
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    arrays = {key: value for key, value in table.items() if _is_array_of_tables(value)}
    lines = [
        f"{_key(key)} = {_value(value)}"
        for key, value in table.items()
        if key not in tables and key not in arrays
    ]
    # A table that only holds other tables needs no header of its own.
    if name and (lines or not table or header == "[[{}]]"):
        lines.insert(0, header.format(name))
    if lines:
        yield "".join(f"{line}\n" for line in lines)
    prefix = f"{name}." if name else ""
    for key, value in table.items():
        if key in tables:
            yield from _sections(prefix + _key(key), value, "[{}]")
        elif key in arrays:
            for item in value:
                yield from _sections(prefix + _key(key), item, "[[{}]]")


def _is_array_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.match(key) else _string(key)


def _string(text: str) -> str:
    # JSON escapes all that TOML wants escaped, but for one character, and in the same way.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        members = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
        return f"{{ {members} }}" if members else "{}"
    return repr(value)  # int, float
