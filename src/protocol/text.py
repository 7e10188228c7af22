"""Text that the kernel sees as bytes: arguments, environment names and values.

Linux gives no encoding to these; they are any bytes without NUL. On the wire they are text, so that
a program in any language can send them without thinking; in Python they are `bytes`, which is what
execve(2) takes. What is not UTF-8 travels as a CBOR byte string. JSON has no form for it and
refuses.

The three classes are wrappers, not subclasses of `bytes`, `list` or `dict`, for two reasons:
msgspec offers a value to its encoding hook only when it does not know the type, and the values
inside stay plain `bytes`, so nobody downstream meets a surprising subclass. One hook call converts
a whole list or map, which keeps decoding cheap.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Self, overload

__all__ = ["OsMap", "OsText", "OsTexts", "text_to_bytes"]


def text_to_bytes(value: object) -> bytes:
    """Return the bytes of one decoded wire value: text as UTF-8, a CBOR byte string as it is.

    Raises TypeError for anything else, which msgspec reports as a validation error of that member.
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")


class OsText:
    """One such string; `value` is its bytes."""

    __slots__ = ("value",)

    def __init__(self, value: str | bytes) -> None:
        self.value = value.encode() if isinstance(value, str) else value

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Return the value of a decoded member; TypeError or ValueError when it is none."""
        return cls(text_to_bytes(value))

    def __bytes__(self) -> bytes:
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OsText) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"OsText({self.value!r})"


class OsTexts(Sequence[bytes]):
    """An immutable sequence of such strings, as plain `bytes`; `items` is the tuple itself."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[str | bytes] = ()) -> None:
        self.items = tuple([text_to_bytes(item) for item in items])

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Return the value of a decoded member; TypeError or ValueError when it is none."""
        if type(value) is not list:
            raise TypeError(f"Expected `array`, got `{type(value).__name__}`")
        made = cls.__new__(cls)
        try:
            made.items = tuple([item.encode() for item in value])
        except AttributeError:  # a byte string among them, or a wrong type
            made.items = tuple([text_to_bytes(item) for item in value])
        return made

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[bytes, ...]: ...
    def __getitem__(self, index: int | slice) -> bytes | tuple[bytes, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OsTexts) and self.items == other.items

    def __hash__(self) -> int:
        return hash(self.items)

    def __repr__(self) -> str:
        return f"OsTexts({list(self.items)!r})"


class OsMap(Mapping[bytes, bytes]):
    """An environment: a read-only map of plain `bytes`; `entries` is the dict itself."""

    __slots__ = ("entries",)

    def __init__(self, entries: Mapping[str, str] | Mapping[bytes, bytes] | None = None) -> None:
        pairs = entries.items() if entries is not None else ()
        self.entries = {text_to_bytes(name): text_to_bytes(value) for name, value in pairs}

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Return the value of a decoded member; TypeError or ValueError when it is none."""
        if type(value) is not dict:
            raise TypeError(f"Expected `object`, got `{type(value).__name__}`")
        made = cls.__new__(cls)
        try:
            made.entries = {name.encode(): text.encode() for name, text in value.items()}
        except AttributeError:  # a byte string among them, or a wrong type
            made.entries = {
                text_to_bytes(name): text_to_bytes(text) for name, text in value.items()
            }
        if len(made.entries) != len(value):
            raise ValueError("a name is given both as text and as bytes")
        return made

    def __getitem__(self, name: bytes) -> bytes:
        return self.entries[name]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.entries)

    def keys(self) -> KeysView[bytes]:
        """The names."""
        return self.entries.keys()

    def values(self) -> ValuesView[bytes]:
        """The values, in the order of the names."""
        return self.entries.values()

    def items(self) -> ItemsView[bytes, bytes]:
        """Pairs of name and value."""
        return self.entries.items()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OsMap) and self.entries == other.entries

    __hash__ = None  # type: ignore[assignment]  # a map that compares by content and holds a dict

    def __repr__(self) -> str:
        return f"OsMap({self.entries!r})"
