"""What happened in a transcript, without what may differ from one run to the next.

`summarise` turns a transcript into a flat mapping from paths to values. Paths begin with the
connection (`a`), or with `disk` or `http`:

    a.answers.3.error.code          an answer, by the request's id; a second one is `3#2`
    a.order                         the ids in the order in which they were answered
    a.processes.p.stdout            all a process wrote to a stream; long output as size and digest
    a.processes.p.exited.exitCode   what was said of its exit
    a.processes.p.rules             whether its notifications kept the rules about their numbers
    a.told.METHOD.0.watchId         other notifications, in order
    a.asked.0.method                requests of the server
    a.bodies.r1.text                a streamed HTTP body
    a.end.by, a.missing.0           how the connection ended; what was waited for in vain

Left out or made equal: times, UUIDs and ports (numbered, masked), where output was cut into
chunks, sequence numbers (their rules are checked), sizes of folders, the identity of the server,
the order of a folder's entries, and what follows the fixed beginning of a complaint about JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from tests.interop.scenario import Json

Summary = dict[str, Any]

# Longer output is told by its size and digest, as the recordings do.
_LONG: Final = 2048
_IDENTITY: Final = {
    "providerId",
    "executorVersion",
    "prependPathDirs",
    "capabilities",
    "hostname",
    "createdAtMs",
    "modifiedAtMs",
}
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PORT: Final = re.compile(r"(127\.0\.0\.1|\[::1\]|localhost):\d+")
_REMARK: Final = re.compile(r"(failed to parse .*JSON-RPC message from [^:]*(:<port>)?): .*", re.S)


def summarise(lines: list[Json]) -> Summary:
    """The story of a transcript."""
    connections: dict[str, _Connection] = {}
    masks = _Masks()
    disk, http, exits = [], [], []
    for line in lines:
        connection = connections.setdefault(line.get("conn", "a"), _Connection(masks))
        match line:
            case {"dir": "c2s", "msg": {"id": request_id} as request}:
                connection.requests.setdefault(json.dumps(request_id), []).append(request)
            case {"dir": "s2c", "msg": message}:
                connection.take(message)
            case {"dir": "event", "event": "output-total"}:
                totals = connection.process(line["processId"]).totals
                totals[line["stream"]] = _digest(line["bytes"], line["sha256"])
            case {"dir": "event", "event": "server-exit"}:
                exits.append(line["code"])
            case {"dir": "event", "event": "closed"}:
                connection.end = {key: line[key] for key in ("by", "code") if key in line}
            case {"dir": "event"}:
                connection.missing.append(line["wait"])
            case {"dir": "host"}:
                disk.append(line["check"])
            case {"dir": "http"}:
                answer = {"status": line["status"], "body": masks.text(line["body"])}
                http.append({"request": line["request"]["path"], **answer})
    told = {name: connection.summary() for name, connection in connections.items()}
    return dict(_flat({**told, "disk": disk, "http": http, "exit": exits}))


class _Connection:
    """What came over one connection."""

    def __init__(self, masks: _Masks) -> None:
        self.requests: dict[str, list[Json]] = {}
        self.end: Json = {}
        self.missing: list[Json] = []
        self._masks = masks
        self._answers: Json = {}
        self._order: list[str] = []
        self._processes: dict[str, _Process] = {}
        self._bodies: dict[str, list[Json]] = {}
        self._told: dict[str, list[Any]] = {}
        self._asked: list[Any] = []

    def process(self, name: str) -> _Process:
        return self._processes.setdefault(name, _Process())

    def take(self, message: Json) -> None:
        """Sort in a message of the server's."""
        method = message.get("method")
        if method is None:
            self._answer(message)
        elif "id" in message:
            self._asked.append(self._masks.value({"method": method, "params": message["params"]}))
        elif method.startswith("process/"):
            self.process(message["params"]["processId"]).take(method, message["params"])
        elif method == "http/request/bodyDelta":
            self._bodies.setdefault(message["params"]["requestId"], []).append(message["params"])
        else:
            self._told.setdefault(method, []).append(self._masks.value(message.get("params")))

    def _answer(self, message: Json) -> None:
        key = json.dumps(message.get("id"))
        self._order.append(key)
        asked = self.requests.get(key, [])
        request = asked.pop(0) if len(asked) > 1 else asked[0] if asked else {}
        answer = {name: value for name, value in message.items() if name != "id"}
        if request.get("method") == "process/read" and "result" in answer:
            answer["result"] = _reading(answer["result"], request.get("params") or {})
        times = self._order.count(key)
        self._answers[key if times == 1 else f"{key}#{times}"] = self._masks.value(answer)

    def summary(self) -> Json:
        return {
            "answers": self._answers,
            "order": " ".join(self._order),
            "processes": {name: each.summary() for name, each in self._processes.items()},
            "bodies": {name: _body(parts) for name, parts in self._bodies.items()},
            "told": self._told,
            "asked": self._asked,
            "end": self.end,
            "missing": self.missing,
        }


class _Process:
    """What was told of one process."""

    def __init__(self) -> None:
        self.totals: dict[str, str] = {}
        self._chunks: dict[str, list[tuple[int, bytes]]] = {}
        self._exited: list[Json] = []
        self._closed: list[int] = []
        self._seqs: list[int] = []

    def take(self, method: str, params: Json) -> None:
        self._seqs.append(params["seq"])
        if method == "process/output":
            piece = (params["seq"], _bytes(params["chunk"]))
            self._chunks.setdefault(params["stream"], []).append(piece)
        elif method == "process/exited":
            told = {"exitCode": params["exitCode"], "sandboxDenied": params["sandboxDenied"]}
            self._exited.append(told)
        else:
            self._closed.append(params["seq"])

    def summary(self) -> Json:
        streams = {
            stream: self.totals.get(stream) or _shown(b"".join(data for _, data in sorted(pieces)))
            for stream, pieces in self._chunks.items()
        }
        return {**streams, "exited": self._exited, "rules": self._rules()}

    def _rules(self) -> str:
        """What is wrong with the numbers, or how far the process came."""
        if len(set(self._seqs)) < len(self._seqs):
            return "a number came twice"
        if not self._closed:
            return "not closed"
        if len(self._closed) > 1 or max(self._seqs) != self._closed[0]:
            return "closed more than once, or not with the highest number"
        if sorted(self._seqs) != list(range(min(self._seqs), self._closed[0] + 1)):
            return "a number is missing"
        return "closed"


class _Masks:
    """Makes equal what has no meaning."""

    def __init__(self) -> None:
        self._uuids: dict[str, str] = {}

    def text(self, text: str) -> str:
        text = _UUID.sub(self._number, text)
        text = _PORT.sub(r"\1:<port>", text)
        return _REMARK.sub(r"\1: <remark>", text)

    def _number(self, found: re.Match[str]) -> str:
        return self._uuids.setdefault(found[0], f"<uuid {len(self._uuids) + 1}>")

    def value(self, value: Any) -> Any:
        match value:
            case {"name": str(name), "value": _} if name.lower() in ("date", "server"):
                return {"name": name, "value": "<masked>"}
            case dict():
                masked = set(_IDENTITY)
                if value.get("isDirectory") is True:
                    masked.add("size")
                return {
                    key: "<masked>" if key in masked else self.value(each)
                    for key, each in value.items()
                }
            case [{"fileName": _}, *_]:
                return [
                    self.value(each) for each in sorted(value, key=lambda e: str(e["fileName"]))
                ]
            case list():
                return [self.value(each) for each in value]
            case str():
                return self.text(value)
        return value


def _reading(result: Json, params: Json) -> Json:
    """An answer to process/read: chunks are joined, numbers are held against the rules."""
    told = {key: value for key, value in result.items() if key not in ("chunks", "nextSeq")}
    chunks = result["chunks"]
    if not isinstance(chunks, list):
        return {**told, "chunks": "too long to be in the recording"}
    seqs = [each["seq"] for each in chunks]
    after = params.get("afterSeq") or 0
    told["rules"] = {
        "rising": seqs == sorted(set(seqs)),
        "beyond afterSeq": all(seq > after for seq in seqs),
        "nextSeq beyond all": not seqs or result["nextSeq"] > seqs[-1],
    }
    limit = params.get("maxBytes")
    if limit is not None:
        size = sum(len(_bytes(each["chunk"])) for each in chunks)
        told["something within maxBytes"] = bool(chunks) and (len(chunks) == 1 or size <= limit)
    elif not after:
        streams: dict[str, bytes] = {}
        for each in chunks:
            joined = streams.get(each["stream"], b"") + _bytes(each["chunk"])
            streams[each["stream"]] = joined
        told["streams"] = {stream: _shown(data) for stream, data in streams.items()}
    return told


def _body(parts: list[Json]) -> Json:
    """A streamed HTTP body, joined."""
    numbered = [part["seq"] for part in parts] == list(range(1, len(parts) + 1))
    return {
        "text": _shown(b"".join(_bytes(part["deltaBase64"]) for part in parts)),
        "numbered from 1": numbered,
        "done": [part.get("done") for part in parts].count(True),
        "done last": parts[-1].get("done"),
        "error": next((part["error"] for part in parts if part.get("error")), None),
    }


def _bytes(chunk: Any) -> bytes:
    """Decoded base64; a recording may hold only the digest of a long one."""
    if isinstance(chunk, dict):
        return str(chunk["$sha256"]).encode()
    return base64.b64decode(chunk)


def _shown(data: bytes) -> str:
    """Output as one reads it."""
    if len(data) > _LONG:
        return _digest(len(data), hashlib.sha256(data).hexdigest())
    return data.decode(errors="backslashreplace")


def _digest(size: int, sha256: str) -> str:
    return f"{size} bytes, SHA-256 {sha256}"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path; what is empty counts as a leaf."""
    match value:
        case dict() if value:
            inner = [(f"{path}.{key}" if path else key, each) for key, each in value.items()]
        case [_, *_]:
            inner = [(f"{path}.{number}", each) for number, each in enumerate(value)]
        case _:
            yield path, value
            return
    for below, each in inner:
        yield from _flat(each, below)
