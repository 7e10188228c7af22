"""Calls as bytes: values of the types that a function's annotations name, and descriptors beside.

Descriptors are handed over as copies; where they come from, the owner has still to close them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec

from execnode.environment.local.files.descriptor import Descriptor, Temporary
from execnode.environment.local.files.work import Stop

__all__ = ["Call", "Halt", "Packed", "Refused", "Returned", "find", "name_of", "pack", "unpack"]
__all__ += ["parameters_of", "result_of", "takes_stop"]

_PACKAGE: Final = "execnode."


class _Message(msgspec.Struct, array_like=True, tag=True):
    id: int


class Call(_Message):
    """To the worker: call a function. The arguments are a list, without `stop`."""

    function: str
    arguments: msgspec.Raw


class Halt(_Message):
    """To the worker: nobody waits for this call any more."""


class Returned(_Message):
    """To the node: what the function returned."""

    result: msgspec.Raw


class Refused(_Message):
    """To the node: the RpcError that the function raised. failure: it is a Failure."""

    code: int
    message: str
    failure: bool


# --- functions ------------------------------------------------------------------------------------


def name_of(function: Callable[..., Any]) -> str:
    """The name by which `find` finds it."""
    return f"{function.__module__}:{function.__qualname__}"


def find(name: str) -> Callable[..., Any]:
    """A function of a module of ours that was imported. Raises LookupError."""
    module, _, function = name.partition(":")
    if not module.startswith(_PACKAGE):
        raise LookupError(name)
    found: Callable[..., Any] = vars(sys.modules[module])[function]
    return found


@cache
def _types(function: Callable[..., Any]) -> tuple[tuple[Any, ...], Any]:
    hints = get_type_hints(function)
    result = hints.pop("return")
    return tuple(hints.values()), result


def takes_stop(function: Callable[..., Any]) -> bool:
    """Whether its first argument is a Stop."""
    return _types(function)[0][:1] == (Stop,)


@cache
def parameters_of(function: Callable[..., Any]) -> Any:
    """The type of its arguments, without the Stop."""
    types = _types(function)[0]
    return tuple[types[1:] if takes_stop(function) else types]  # type: ignore[misc]  # made here


def result_of(function: Callable[..., Any]) -> Any:
    """The type of what it returns."""
    return _types(function)[1]


# --- values ---------------------------------------------------------------------------------------


class Packed(NamedTuple):
    """A value as MessagePack, copies of its descriptors, and what it has of temporary names."""

    data: bytes
    descriptors: list[Descriptor]
    temporaries: list[Temporary]


def pack(value: object) -> Packed:
    """Encode. Raises OSError when a descriptor is closed or there are no more."""
    packed = Packed(b"", [], [])

    def encoded(item: object) -> object:
        if isinstance(item, Descriptor):
            with item.borrow() as number:
                packed.descriptors.append(Descriptor(os.dup(number)))
            return len(packed.descriptors) - 1
        if isinstance(item, Temporary):
            packed.temporaries.append(item)
            return (item.folder, item.name)
        raise NotImplementedError(f"{type(item).__name__} cannot be handed over")

    return packed._replace(data=msgspec.msgpack.encode(value, enc_hook=encoded))


def unpack(data: bytes | msgspec.Raw, type_: Any, descriptors: list[Descriptor]) -> Any:
    """Decode. Raises msgspec.ValidationError for what is not of this type."""

    def decoded(wanted: type, item: Any) -> object:
        match item:
            case int() if wanted is Descriptor and 0 <= item < len(descriptors):
                return descriptors[item]
            case [int() as index, bytes() as name] if wanted is Temporary:
                return Temporary(decoded(Descriptor, index), name)  # type: ignore[arg-type]
        raise ValueError(f"this is no {wanted.__name__}")

    return msgspec.msgpack.decode(data, type=type_, dec_hook=decoded)
