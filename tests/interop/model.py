"""A model that follows a script: as much of the OpenAI Responses API as the Codex CLI asks for.

The script is a generator. What it yields are tool calls of one turn, which the CLI carries out;
what it gets back are their results, in the same order. When it returns, the model says that it is
done, and the CLI ends. So a test reads as a conversation:

    def talk() -> Talk:
        (result,) = yield [command("echo hello; exit 3")]
        assert result.exit_code == 3
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

from tests.interop.scenario import Json

# Milliseconds for which the CLI waits for a command before it lets the model speak again: far more
# than any command takes that is meant to end.
_YIELD_MS: Final = 30_000


@dataclass(frozen=True)
class Result:
    """What the CLI sent back for a call: a text, or a list of content items."""

    content: str | list[Json]

    @property
    def text(self) -> str:
        """The text; only pictures have none."""
        assert isinstance(self.content, str), self.content
        return self.content

    @property
    def exit_code(self) -> int | None:
        """How a command ended; None while it runs."""
        found = re.search(r"^Process exited with code (-?\d+)$", self.text, re.MULTILINE)
        return int(found[1]) if found else None

    @property
    def session(self) -> int | None:
        """The number of a command that still runs."""
        found = re.search(r"^Process running with session ID (\d+)$", self.text, re.MULTILINE)
        return int(found[1]) if found else None

    @property
    def tokens(self) -> int:
        """The size of a command's output before the CLI shortened it, in units of four bytes."""
        found = re.search(r"^Original token count: (\d+)$", self.text, re.MULTILINE)
        assert found, self.text
        return int(found[1])

    @property
    def output(self) -> str:
        """What a command wrote since it was last looked at."""
        _, heading, output = self.text.partition("Output:\n")
        assert heading, self.text
        return output


Talk = Generator[list[Json], list[Result], None]


def command(cmd: str, *, wait_ms: int = _YIELD_MS, **options: object) -> Json:
    """Have a command run; the turn ends with it, or after `wait_ms`."""
    return _function("exec_command", cmd=cmd, yield_time_ms=wait_ms, **options)


def keys(session: int | None, text: str = "", *, wait_ms: int = _YIELD_MS) -> Json:
    """Type into a running command; with no text, look at it."""
    assert session is not None, "the command does not run"
    return _function("write_stdin", session_id=session, chars=text, yield_time_ms=wait_ms)


def picture(path: str) -> Json:
    """Look at a picture."""
    return _function("view_image", path=path)


def patch(text: str) -> Json:
    """Change files."""
    return {"type": "custom_tool_call", "name": "apply_patch", "input": text}


def _function(name: str, **arguments: object) -> Json:
    return {"type": "function_call", "name": name, "arguments": json.dumps(arguments)}


class Model:
    """What the CLI has asked of the model, and what the script made of it.

    Attributes:
        requests: the bodies of all requests, oldest first.
        failure: what the script raised, to be raised again where the test can see it.
        finished: whether the script came to its end.
    """

    def __init__(self, script: Talk) -> None:
        self.requests: list[Json] = []
        self.failure: BaseException | None = None
        self.finished = False
        self._script = script
        self._calls: list[str] = []

    def texts(self) -> str:
        """All texts of the first request: instructions, the project's rules, the prompt."""
        contents = [part for item in self.requests[0]["input"] for part in item["content"]]
        return "\n".join(part["text"] for part in contents if "text" in part)

    def respond(self, request: Json) -> list[Json]:
        """The items that the model says to a request."""
        self.requests.append(request)
        try:
            calls = self._script.send(self._results(request)) if self._calls else next(self._script)
        except StopIteration:
            self.finished = True
        except BaseException as failure:  # it belongs to the test, not to this thread
            self.failure = failure
        else:
            first = sum(len(each["input"]) for each in self.requests)
            self._calls = [f"call-{first + number}" for number in range(len(calls))]
            return [
                {**call, "call_id": name} for call, name in zip(calls, self._calls, strict=True)
            ]
        text = {"type": "output_text", "text": "done"}
        return [{"type": "message", "role": "assistant", "content": [text]}]

    def _results(self, request: Json) -> list[Result]:
        outputs = {
            item["call_id"]: item["output"]
            for item in request["input"]
            if item["type"] in ("function_call_output", "custom_tool_call_output")
        }
        return [Result(outputs[name]) for name in self._calls]


@contextmanager
def listening(model: Model) -> Iterator[str]:
    """Run the API for one model; gives its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path != "/v1/responses":
                self.send_error(404)
                return
            reply = "".join(_events(model.respond(json.loads(body)))).encode()
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its given name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def _events(items: list[Json]) -> Iterator[str]:
    """A response as server-sent events."""
    yield _event("response.created", response={"id": "response"})
    for item in items:
        yield _event("response.output_item.done", item=item)
    counts = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    usage = {**counts, "input_tokens_details": None, "output_tokens_details": None}
    yield _event("response.completed", response={"id": "response", "usage": usage})


def _event(kind: str, **members: object) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n"
