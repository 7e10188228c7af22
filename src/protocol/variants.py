"""The words that a member may say, for the error that names them.

msgspec tells which word was wrong and where, not which would have been right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

__all__ = ["expected_variants"]

_STEP: Final = re.compile(r"([^.\[\]]+)|\[[^\]]*\]")


def expected_variants(type_: type[msgspec.Struct], where: str) -> str:
    """Return ", expected `a` or `b`" for the member at `where`, as `a.b[0].c`.

    The order is that of the declaration. The result is empty where any text would do.
    """
    found: list[Any] = [type_]
    steps = list(_STEP.finditer(where))
    for step in steps:
        found = [each for kind in found for each in _inside(kind, step[1])]
    words = list(dict.fromkeys(word for kind in found for word in _words(kind)))
    quoted = [f"`{word}`" for word in words]
    match quoted:
        case []:
            return ""
        case [_] | [_, _]:
            return f", expected {' or '.join(quoted)}"
    return f", expected one of {', '.join(quoted)}"


def _inside(kind: Any, name: str | None) -> Iterator[Any]:
    """The types of a member, or of an item where `name` is None; a tag is a Literal of its own."""
    for each in _alternatives(kind):
        if not (isinstance(each, type) and issubclass(each, msgspec.Struct)):
            if name is None:
                yield from get_args(each)
            continue
        config = each.__struct_config__
        if name is not None and name == config.tag_field:
            yield Literal[config.tag]
        elif name in each.__struct_encode_fields__:
            attribute = each.__struct_fields__[each.__struct_encode_fields__.index(name)]
            yield _hints(each)[attribute]


def _words(kind: Any) -> Iterator[str]:
    for each in _alternatives(kind):
        if get_origin(each) is Literal:
            yield from get_args(each)


def _alternatives(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        for each in get_args(kind):
            yield from _alternatives(each)
    elif origin is Annotated:
        yield from _alternatives(get_args(kind)[0])
    else:
        yield kind


@lru_cache(maxsize=64)
def _hints(struct: type) -> dict[str, Any]:
    return get_type_hints(struct)
