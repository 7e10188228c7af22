"""Two encodings of the same messages: CBOR (RFC 8949) and JSON (RFC 8259).

A codec turns one whole message into bytes and back. Decoding has two steps: `decode` reads the
envelope and leaves `params` and `result` as plain values; `decode_params` and `decode_result` then
make the message type that belongs to the method. So a handler table can be consulted in between,
and a parameter error is answered with the id of its request.

What a peer sends is hostile until proven otherwise. Both codecs refuse a repeated member name, deep
nesting, more values than any message needs, text that is no text, and anything after the message.
CBOR also refuses tags (no big numbers, dates, shared references or patterns are wanted here),
indefinite lengths, and map keys that are neither text nor bytes. Work and memory are then bounded
by the size of the message, whatever lengths it declares.
"""

from __future__ import annotations

import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Final, Never, TypeVar

import cbor2
import msgspec

from .errors import MalformedMessageError, RpcError, invalid_params
from .messages import Answer, ErrorAnswer, ErrorBody, Message, Notification, Request, RequestId
from .text import OsMap, OsText, OsTexts
from .variants import expected_variants

__all__ = ["MAX_DEPTH", "MAX_VALUES", "CborCodec", "Codec", "JsonCodec"]

# Levels of nesting, the message itself included, and values in one message.
MAX_DEPTH: Final = 127
MAX_VALUES: Final = 262_144

_T = TypeVar("_T", bound=msgspec.Struct)
_INT64: Final = range(-(2**63), 2**63)


class Codec(ABC):
    """One encoding. Codecs keep no state: one object serves any number of connections."""

    name: str

    @abstractmethod
    def encode(self, message: Message) -> bytes:
        """Return the message as bytes, without framing.

        Raises ValueError for what the encoding cannot carry: in JSON, text that is not UTF-8.
        """

    @abstractmethod
    def around(self, message: Message, size: int) -> tuple[bytes, bytes]:
        """Return what comes before and after `size` bytes that are sent apart from the message.

        They belong into its last member, an empty byte string: as they are in CBOR, as base64 in
        JSON.
        """

    @abstractmethod
    def _load(self, data: bytes) -> object:
        """Return the plain value of one message; MalformedMessageError when it is none."""

    @abstractmethod
    def _convert(self, raw: object, type_: type[_T]) -> _T:
        """Return a plain value as a message type; msgspec.ValidationError when it does not fit."""

    def decode(self, data: bytes) -> Message:
        """Return the envelope of one message, with `params` or `result` still plain values.

        Raises MalformedMessageError.
        """
        value = self._load(data)
        if type(value) is not dict:
            raise MalformedMessageError("expected a JSON-RPC object")
        if "method" in value:
            method = value["method"]
            if type(method) is not str:
                raise MalformedMessageError("`method` must be a string")
            if "id" in value:
                return Request(_request_id(value["id"]), method, value.get("params"))
            return Notification(method, value.get("params"))
        if "id" not in value:
            raise MalformedMessageError("missing field `method`")
        if "result" in value:
            return Answer(_request_id(value["id"]), value["result"])
        if "error" not in value:
            raise MalformedMessageError("missing field `error`")
        try:
            body = self._convert(value["error"], ErrorBody)
        except msgspec.ValidationError as error:
            raise MalformedMessageError(f"`error`: {error}") from None
        return ErrorAnswer(_request_id(value["id"]), body)

    def decode_params(self, type_: type[_T], raw: object) -> _T:
        """Return the parameters of a received request or notification.

        Absent and null are the same, and right only for a type without required members. Raises
        RpcError -32602; its data says at which member, {"at": "size.rows"}.
        """
        if raw is None and len(type_.__struct_defaults__) == len(type_.__struct_fields__):
            raw = {}
        elif type(raw) is list and type_.__struct_fields__:
            # Servers of the dialect take the members in declaration order, too.
            raw = dict(zip(type_.__struct_encode_fields__, raw, strict=False))
        try:
            return self._convert(raw, type_)
        except msgspec.ValidationError as error:
            raise _params_error(str(error), type_, raw) from None

    def decode_result(self, type_: type[_T], raw: object) -> _T:
        """Return the result of an answer, or the parameters of a notification, from a node.

        Raises MalformedMessageError: it is the node that is at fault.
        """
        try:
            return self._convert(raw, type_)
        except msgspec.ValidationError as error:
            raise MalformedMessageError(f"not a {type_.__name__}: {error}") from None


def _request_id(value: object) -> RequestId:
    if type(value) is str or (type(value) is int and value in _INT64):
        return value
    raise MalformedMessageError("data did not match any variant of untagged enum RequestId")


def _from_wire(type_: Any, value: object) -> object:
    """Make a value of a type that msgspec does not know: those are the types of text.py."""
    return type_.from_wire(value)


def _hook(wire: Callable[[bytes], str | bytes]) -> Callable[[object], object]:
    """Return an encoding hook for the types of text.py; `wire` gives the form of one string."""

    def to_wire(value: object) -> object:
        if isinstance(value, OsMap):
            return {wire(name): wire(text) for name, text in value.items()}
        if isinstance(value, OsTexts):
            return [wire(item) for item in value]
        if isinstance(value, OsText):
            return wire(value.value)
        raise NotImplementedError(f"{type(value).__name__} has no form on the wire")

    return to_wire


# --- CBOR ----------------------------------------------------------------------------------------


class CborCodec(Codec):
    """The encoding of the length-prefixed transports and of binary WebSocket messages."""

    name = "cbor"

    def encode(self, message: Message) -> bytes:
        """Return one CBOR item."""
        plain = msgspec.to_builtins(message, builtin_types=_CBOR_BYTES, enc_hook=_CBOR_HOOK)
        return cbor2.dumps(plain)

    def around(self, message: Message, size: int) -> tuple[bytes, bytes]:
        """As in Codec."""
        body = self.encode(message)
        # The head of an empty byte string is one byte, the last; RFC 8949, section 3.
        return body[:-1] + b"\x5a" + size.to_bytes(4, "big"), b""

    def _load(self, data: bytes) -> object:
        if len(data) > MAX_VALUES:
            _limit_cbor_items(data)
        stream = io.BytesIO(data)
        try:
            value: object = cbor2.CBORDecoder(
                stream,
                tag_hook=_refuse_tag,
                semantic_decoders=_NO_TAGS,
                max_depth=MAX_DEPTH,
                allow_indefinite=False,
                allow_duplicate_keys=False,
                strict_hashable_types=True,
            ).decode()
        except (cbor2.CBORError, ValueError) as error:
            raise MalformedMessageError(str(error)) from None
        if stream.tell() != len(data):
            raise MalformedMessageError(f"{len(data) - stream.tell()} bytes after the message")
        return value

    def _convert(self, raw: object, type_: type[_T]) -> _T:
        return msgspec.convert(raw, type_, builtin_types=(bytes,), dec_hook=_from_wire)


def _cbor_text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


_CBOR_HOOK: Final = _hook(_cbor_text)
_CBOR_BYTES: Final = (bytes, bytearray)


def _refuse_tag(_tag: object, _immutable: bool) -> Never:
    raise ValueError("tags are not allowed")


class _EveryTag(dict[int, Callable[[Any, bool], Any]]):
    """Semantic decoders that refuse every tag, those with a decoder of their own included."""

    def __missing__(self, _number: int) -> Callable[[Any, bool], Any]:
        return _refuse_tag


_NO_TAGS: Final = _EveryTag({0: _refuse_tag})  # not empty: an empty map means no override

# Bytes of the number that follows the initial byte of an item, by its low five bits.
_ARGUMENT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}


def _limit_cbor_items(data: bytes) -> None:
    """Refuse data of more than MAX_VALUES items, before memory is spent on them.

    An empty array costs one byte on the wire and fifty in memory. The walk takes the items one
    after another whatever their nesting, and skips over strings. Data that it cannot follow is left
    to the decoder.
    """
    position, items, end = 0, 0, len(data)
    while position < end:
        items += 1
        if items > MAX_VALUES:
            raise MalformedMessageError(f"more than {MAX_VALUES} values in one message")
        first = data[position]
        position += 1
        low = first & 31
        length = low
        if low > 23:
            width = _ARGUMENT_BYTES.get(low, 0)
            length = int.from_bytes(data[position : position + width], "big")
            position += width
        if first >> 5 in (2, 3):
            position += length


# --- JSON ----------------------------------------------------------------------------------------


class JsonCodec(Codec):
    """The encoding of the Codex exec-server: text WebSocket messages, lines on stdio.

    lossy: names that are not UTF-8 are sent with U+FFFD in place of what JSON cannot carry.
    """

    name = "json"

    def __init__(self, *, lossy: bool = False) -> None:
        self._hook = _hook(_lossy_text if lossy else _json_text)

    def encode(self, message: Message) -> bytes:
        """Return one JSON object, UTF-8, without line breaks."""
        return msgspec.json.encode(message, enc_hook=self._hook)

    def around(self, message: Message, size: int) -> tuple[bytes, bytes]:
        """As in Codec."""
        before, quote, after = self.encode(message).rpartition(b'"')
        return before, quote + after

    def _load(self, data: bytes) -> object:
        try:
            text = data.decode()
            _limit_json(text)
            value: object = _JSON.decode(text)
            if _SURROGATE.search(text):
                msgspec.json.encode(value)  # raises for one that has no other half
        except json.JSONDecodeError as error:
            remark = f"{error.msg} at line {error.lineno} column {error.colno}"
            raise MalformedMessageError(remark) from None
        except UnicodeDecodeError:
            raise MalformedMessageError("not UTF-8") from None
        except UnicodeEncodeError:
            raise MalformedMessageError("lone surrogate in a string") from None
        except ValueError as error:  # a number of thousands of digits
            raise MalformedMessageError(str(error)) from None
        return value

    def _convert(self, raw: object, type_: type[_T]) -> _T:
        return msgspec.convert(raw, type_, dec_hook=_from_wire)


def _json_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"JSON cannot carry text that is not UTF-8: {value!r}") from None


def _lossy_text(value: bytes) -> str:
    return value.decode(errors="replace")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedMessageError(f"duplicate JSON object key `{twice}`")
    return members


def _refuse_constant(name: str) -> Never:
    raise MalformedMessageError(f"`{name}` is not JSON")


_JSON: Final = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_refuse_constant)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
# A string to its closing quote, or to the end of a text that lacks it. Possessive: no second try.
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_NO_BRACKET: Final = re.compile(r"[^\[\]{}]++")
_EMPTY: Final = re.compile(r"\[\s*+\]|\{\s*+\}")
_LEVEL: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def _limit_json(text: str) -> None:
    """Refuse too deep and too many values before memory is spent on them.

    Brackets and commas, inside strings or not, bound both from above, and for nearly every message
    that settles it.
    """
    openings = text.count("[") + text.count("{")
    if openings <= MAX_DEPTH and openings + text.count(",") < MAX_VALUES:
        return
    bare = _STRING.sub("0", text)
    depth = max(accumulate(map(_LEVEL.__getitem__, _NO_BRACKET.sub("", bare))), default=0)
    if depth > MAX_DEPTH:
        raise MalformedMessageError(f"nesting deeper than {MAX_DEPTH} levels")
    # Every value but the outermost follows a comma or opens a container that is not empty.
    openings = bare.count("[") + bare.count("{")
    values = 1 + bare.count(",") + openings - len(_EMPTY.findall(bare))
    if values > MAX_VALUES:
        raise MalformedMessageError(f"more than {MAX_VALUES} values in one message")


# --- remarks on parameters -----------------------------------------------------------------------

_AT: Final = re.compile(r" - at (.*)\Z", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field (`.*`)")
_WRONG_TYPE: Final = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_UNKNOWN: Final = re.compile(r"Invalid (?:enum )?value '(.*)'", re.DOTALL)
_BAD_BASE64: Final = "Invalid base64 encoded string"
_NO_BASE64: Final = re.compile(r"[^A-Za-z0-9+/]")
_EXPECTED: Final = {
    "str": "a string",
    "str | null": "a string",
    "bool": "a boolean",
    "bytes": "bytes",
    "array": "a sequence",
    "object": "a map",
}
_GOT: Final = {
    "int": "number",
    "float": "number",
    "str": "string",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
    "NoneType": "null",
}


def _params_error(text: str, type_: type[msgspec.Struct], raw: object) -> RpcError:
    """Return -32602 for a remark of msgspec, in the words of the dialect where it has any.

    A type with `bad_base64` answers for bytes that are none in its own way.
    """
    at = _AT.search(text)
    where = at[1].strip("`").removeprefix("$").removeprefix(".") if at else ""
    remark = text[: at.start()] if at else text
    if remark == _BAD_BASE64 and (refuse := getattr(type_, "bad_base64", None)) is not None:
        error = refuse(_base64_remark(raw[where] if isinstance(raw, dict) else ""))
        assert isinstance(error, RpcError)
        return error
    if missing := _MISSING.fullmatch(remark):
        remark = f"missing field {missing[1]}"
    elif remark.startswith("Expected `int` "):  # a bound
        remark = "invalid number"
    elif wrong := _WRONG_TYPE.fullmatch(remark):
        remark = _wrong_type(wrong[1], wrong[2], type_.__name__ if not where else None)
    elif unknown := _UNKNOWN.fullmatch(remark):
        remark = f"unknown variant `{unknown[1]}`{expected_variants(type_, where)}"
    return invalid_params(remark, {"at": where} if where else None)


def _base64_remark(text: str) -> str:
    """What is wrong with a text that is not base64 (RFC 4648, section 4)."""
    if symbol := _NO_BASE64.search(text.rstrip("=")):
        return f"Invalid symbol {ord(symbol[0])}, offset {symbol.start()}."
    return "Invalid padding"


def _wrong_type(expected: str, got: str, struct: str | None) -> str:
    if expected.startswith("int") and got == "float":
        return "invalid number"
    wanted = f"struct {struct}" if struct else _EXPECTED.get(expected, expected)
    return f"invalid type: {_GOT.get(got, got)}, expected {wanted}"
