"""Play a scenario against a server and keep a transcript of what happened.

A transcript is a list of lines: `{"dir": "c2s" | "s2c", "msg"}` for messages, with "raw" instead of
"msg" for a text that is no message, "conn" when the connection is not "a"; `{"dir": "event"}` for a
connection's end, waiting in vain and a server's exit; `{"dir": "host"}` for what was on the disk;
`{"dir": "http"}` for plain HTTP. Steps, each with "conn" when it is not about connection "a":

    {"init": true | {more params}}      initialize, wait for the answer, initialized
    {"send": {...}} {"call": {...}}     a message; `call` waits for its answer
    {"raw": "text"}                     a text that is sent as it is
    {"wait": {...}}                     until there is an answer with this "id"; a process is
                                        "closed" or "exited"; its "output" "contains" a text; a
                                        "method" came "count" times; the connection is at its "end"
    {"sleep_ms": n}
    {"close": true} {"abort": true}     end the connection, drop it
    {"open": {"headers": {...}}}        open a connection explicitly; otherwise the first use does
    {"fs": [...]} {"check": {...}}      change files, look at files (disk.py)
    {"http": {"method", "path", "headers"}}
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from tests.interop import disk
from tests.interop.link import Link, StdioWire, WebSocketWire, Wire
from tests.interop.programs import address, bound, end, launch, server_command
from tests.interop.scenario import Json, Scenario, expand
from tests.interop.scratch import Scratch, scratch
from tests.interop.website import website

# Seconds that an answer, and anything else that a scenario waits for, may take.
_PATIENCE: Final = 10.0
# Seconds after the last step in which a server may say what it should not.
_AFTERMATH: Final = 0.15
# What can be waited for of a process.
_OF_PROCESS: Final = ("closed", "exited", "output")


async def play(scenario: Scenario, server: str) -> list[Json]:
    """Start a server (see programs.py), play a scenario against it, and return the transcript."""
    async with AsyncExitStack() as stack:
        folders = stack.enter_context(scratch())
        player = Player(scenario, folders)
        disk.change(folders, scenario.setup)
        if scenario.http_fixture:
            player.names["http"] = await stack.enter_async_context(website())
        await player.start(server, stack)
        stack.push_async_callback(player.aclose)
        for step in scenario.steps:
            await player.step(step)
        await asyncio.sleep(_AFTERMATH)
        await player.finish()
        return player.transcript


class Player:
    """A scenario being played."""

    def __init__(self, scenario: Scenario, folders: Scratch) -> None:
        self.transcript: list[Json] = []
        self.names: dict[str, str] = {}
        self._scenario = scenario
        self._scratch = folders
        self._links: dict[str, Link] = {}
        self._listeners: list[asyncio.Task[None]] = []
        self._url = ""
        self._stdio: StdioWire | None = None

    async def start(self, server: str, stack: AsyncExitStack) -> None:
        """Start the server, which ends with the stack."""
        over_stdio = self._scenario.transport == "stdio"
        secret = self._scratch.root / "secret"
        secret.write_text(self._scenario.secret_file)
        secret.chmod(0o600)
        command = server_command(server, "stdio" if over_stdio else "ws://127.0.0.1:0")
        for each in self._scenario.server_args:
            command.append(each.replace("{secret_file}", str(secret)))
        env = self._scratch.environment(self._scenario.server_env)
        log = self._scratch.root / "log"
        if not over_stdio:
            process = launch(command, self._scratch.work, env, log)
            stack.push_async_callback(asyncio.to_thread, end, process)
            self._url = await asyncio.to_thread(address, process, log)
            return
        with log.open("wb") as stderr:
            place = {"cwd": self._scratch.work, "env": env, "stderr": stderr}
            self._stdio = await StdioWire.to(bound(command), **place)

    async def finish(self) -> None:
        """After the last step: a server on standard streams ends with its input."""
        if self._stdio is not None:
            code = await self._stdio.exit_code(within=8)
            self._note("a", {"dir": "event", "event": "server-exit", "code": code})

    async def aclose(self) -> None:
        """Drop what is still open."""
        for link in self._links.values():
            link.ended = True
            link.wire.abort()
        await asyncio.gather(*self._listeners)

    async def step(self, step: Json) -> None:
        """Do one step."""
        kind = next(key for key in step if key != "conn")
        wanted = expand(step[kind], self._scenario.vars, self.names)
        connection = step.get("conn", "a")
        match kind:
            case "sleep_ms":
                await asyncio.sleep(wanted / 1000)
            case "fs":
                disk.change(self._scratch, wanted)
            case "check":
                seen = disk.look(self._scratch, wanted)
                self._note("a", {"dir": "host", "check": seen})
            case "http":
                self._note("a", {"dir": "http", "request": wanted, **await self._http(wanted)})
            case "open":
                await self._open(connection, wanted.get("headers", {}))
            case _:
                await self._on_link(kind, wanted, connection)

    async def _on_link(self, kind: str, wanted: Any, connection: str) -> None:
        link = self._links.get(connection) or await self._open(connection, {})
        match kind:
            case "init":
                await self._initialize(link, wanted, connection)
            case "send":
                await self._send(link, wanted, connection)
            case "call":
                await self._call(link, wanted, connection)
            case "raw":
                self._note(connection, {"dir": "c2s", "raw": wanted})
                await link.wire.send(wanted)
            case "wait":
                process = next((wanted[k] for k in _OF_PROCESS if k in wanted), "")
                patience = 0 if link.refused(process) else _PATIENCE
                await link.until(_condition(link, wanted), patience, wanted)
            case "close" | "abort":
                link.ended = True
                end = {"event": "closed", "by": "client", "how": kind}
                self._note(connection, {"dir": "event", **end})
                if kind == "close":
                    await link.wire.close()
                else:
                    link.wire.abort()
            case _:
                raise ValueError(f"no such step: {kind}")

    async def _open(self, connection: str, headers: dict[str, str]) -> Link:
        wire: Wire = self._stdio or await WebSocketWire.to(self._url, headers)
        link = Link(wire, lambda line: self._note(connection, line), self._scratch.inwards)
        self._links[connection] = link
        self._listeners.append(asyncio.create_task(link.listen()))
        return link

    async def _initialize(self, link: Link, more: Any, connection: str) -> None:
        params = {"clientName": "recorder", **(more if isinstance(more, dict) else {})}
        request = {"id": 1, "method": "initialize", "params": params}
        await self._call(link, request, connection)
        if (answers := link.answers(1)) and "result" in answers[-1]:
            self.names[f"sid_{connection}"] = answers[-1]["result"]["sessionId"]
            await self._send(link, {"method": "initialized", "params": {}}, connection)

    async def _call(self, link: Link, request: Json, connection: str) -> None:
        request_id = request["id"]
        before = len(link.answers(request_id))
        await self._send(link, request, connection)
        answered = lambda: len(link.answers(request_id)) > before  # noqa: E731
        await link.until(answered, _PATIENCE, {"id": request_id})
        if request["method"] == "process/start":
            for answer in link.answers(request_id)[before:]:
                link.started(request["params"]["processId"], answer)

    async def _send(self, link: Link, message: Json, connection: str) -> None:
        self._note(connection, {"dir": "c2s", "msg": message})
        await link.wire.send(json.dumps(self._scratch.outwards(message), ensure_ascii=False))

    async def _http(self, request: Json) -> Json:
        host, _, port = self._url.removeprefix("ws://").strip("/").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            headers = {"Host": f"{host}:{port}", **request["headers"]}
            lines = [f"{request['method']} {request['path']} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            return await asyncio.wait_for(_response(reader, request["method"]), _PATIENCE)
        finally:
            writer.close()

    def _note(self, connection: str, line: Json) -> None:
        self.transcript.append(line if connection == "a" else {**line, "conn": connection})


def _condition(link: Link, wanted: Json) -> Callable[[], object]:
    """What a `wait` step waits for."""
    match wanted:
        case {"id": request_id}:
            return lambda: link.answers(request_id)
        case {"closed": str(process)}:
            return lambda: link.told("process/closed", process)
        case {"exited": str(process)}:
            return lambda: link.told("process/exited", process)
        case {"output": str(process), "contains": str(text)}:
            return lambda: text.encode() in link.output(process)
        case {"method": str(method), "count": int(count)}:
            return lambda: len(link.told(method)) >= count
        case {"end": True}:
            return lambda: link.ended
    raise ValueError(f"nothing to wait for: {wanted}")


async def _response(reader: asyncio.StreamReader, method: str) -> Json:
    """Status and body of an answer; a connection that is upgraded has none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status = int(head.split()[1])
    length = re.search(r"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
    has_body = length and method != "HEAD" and status != 101
    body = await reader.readexactly(int(length[1])) if has_body and length else b""
    return {"status": status, "body": body.decode()}


def save(transcript: list[Json], path: Path) -> None:
    """Write a transcript, a line of JSON each."""
    path.write_text("".join(f"{json.dumps(line)}\n" for line in transcript))
