"""How the documents of the wire spell the types of the messages."""

from typing import Any, get_args

import msgspec
from msgspec import inspect

from execnode.protocol.processes import EndReason, Stream
from execnode.protocol.text import OsMap, OsText, OsTexts

_NAMED = {
    frozenset(get_args(EndReason)): "EndReason",
    frozenset(get_args(Stream)): "Stream",
}
_SIMPLE: dict[type[inspect.Type], str] = {
    inspect.AnyType: "any",
    inspect.BoolType: "bool",
    inspect.BytesType: "bytes",
    inspect.NoneType: "null",
    inspect.StrType: "text",
}
_CUSTOM: dict[type, str] = {
    OsText: "os-text",
    OsTexts: "list of os-text",
    OsMap: "map os-text → os-text",
}


def members(struct: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """Name and type of each member, `?` behind the name of one that may be absent."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return [
        (field.encode_name + ("" if field.required else "?"), _spell(field.type))
        for field in info.fields
    ]


def _spell(kind: Any) -> str:
    match kind:
        case inspect.CustomType(cls=cls):
            return _CUSTOM[cls]
        case inspect.StructType(cls=cls):
            return cls.__name__
        case inspect.LiteralType(values=values):
            spelled = " or ".join(f'"{value}"' for value in sorted(values, key=str))
            return _NAMED.get(frozenset(values), spelled)
        case inspect.ListType(item_type=item, min_length=least):
            return "pair of uint" if least == 2 else f"list of {_spell(item)}"
        case inspect.DictType(key_type=key, value_type=value):
            return f"map {_spell(key)} → {_spell(value)}"
        case inspect.UnionType(types=types):
            words = [_spell(each) for each in types]
            return " or ".join(sorted(words, key=lambda word: (word == "null", word)))
        case inspect.FloatType():
            return "number"
        case inspect.IntType(ge=0):
            return "uint"
        case inspect.IntType(ge=1):
            return "1 to 65535"
        case inspect.IntType():
            return "int"
    return _SIMPLE[type(kind)]
