"""The MCP server: its tools, from a request to the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from pydantic import ValidationError

from execnode import __version__
from execnode.mcp import tools
from execnode.mcp.calls import NOTHING_TO_FILL_IN, Call, failed, way_of
from execnode.mcp.commands import Commands
from execnode.mcp.questions import Answer, Desk
from execnode.mcp.rooms import Room, Rooms
from execnode.mcp.tools import (
    TOOLS,
    ExecArguments,
    SessionResult,
    ShellArguments,
    ShellResult,
    WriteArguments,
)
from execnode.unified import UnknownSession

__all__ = ["Context", "make_server"]

Context = ServerRequestContext[Any, Any]

_INSTRUCTIONS: Final = (
    "Runs commands on a Linux machine: `shell` to their end, `exec_command` and `write_stdin` for "
    "those that run on or want to be typed to."
)


def make_server(rooms: Rooms) -> Server[Any]:
    """The server, for any transport."""

    async def list_tools(
        _context: Context, _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=list(TOOLS))

    async def call_tool(
        context: Context, params: CallToolRequestParams
    ) -> CallToolResult | InputRequiredResult:
        return await _call(rooms, context, params)

    return Server(
        "execnode",
        version=__version__,
        title="execnode",
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _wrong(error: ValidationError) -> str:
    """What is wrong, without the types and addresses that mean nothing to a client."""
    parts = ((".".join(map(str, each["loc"])), each["msg"]) for each in error.errors())
    return "; ".join(f"{place}: {said}" if place else said for place, said in parts)


async def _call(
    rooms: Rooms, context: Context, params: CallToolRequestParams
) -> CallToolResult | InputRequiredResult:
    room = await rooms.of(context.session)
    if params.request_state is not None:
        call = _resumed(room, params)
    else:
        try:
            desk, work = _order(room.commands, params)
        except ValidationError as error:
            return failed(f"Wrong arguments for {params.name}: {_wrong(error)}")
        call = room.begin(desk, work)
    session = context.session
    nobody = rooms.settings.without_elicitation
    result = await call.attend(session, context.request_id, way_of(session), nobody)
    if result is not None:
        return result
    requests = {
        key: ElicitRequest(
            params=ElicitRequestFormParams(message=text, requested_schema=dict(NOTHING_TO_FILL_IN))
        )
        for key, text in call.desk.questions.items()
    }
    return InputRequiredResult(input_requests=dict(requests), request_state=room.put_off(call))


def _resumed(room: Room, params: CallToolRequestParams) -> Call:
    """The call that a client goes on with, which has got its answers."""
    call = room.resume(params.request_state or "")
    if call is None:
        raise MCPError(INVALID_PARAMS, "there is no call (any more) that waits for this")
    for key, reply in (params.input_responses or {}).items():
        if isinstance(reply, ElicitResult):
            call.desk.answer(key, Answer(reply.action))
    return call


def _order(
    commands: Commands, params: CallToolRequestParams
) -> tuple[Desk, Callable[[], Awaitable[CallToolResult]]]:
    """What is to be done. Raises ValidationError for wrong arguments, MCPError."""
    given = params.arguments or {}
    match params.name:
        case tools.SHELL:
            shell = ShellArguments.model_validate(given)
            desk = commands.shell_desk(shell)
            return desk, partial(_shell, commands, shell, desk)
        case tools.EXEC_COMMAND:
            start = ExecArguments.model_validate(given)
            desk = Desk()
            return desk, partial(_exec_command, commands, start, desk)
        case tools.WRITE_STDIN:
            write = WriteArguments.model_validate(given)
            desk = commands.session_desk(write.session_id)
            return desk, partial(_write_stdin, commands, write, desk)
    raise MCPError(INVALID_PARAMS, f"there is no tool {params.name}")


async def _shell(commands: Commands, arguments: ShellArguments, desk: Desk) -> CallToolResult:
    result = await commands.shell(arguments, desk)
    timed_out = "time over, " if result.timed_out else ""
    return _told(result, f"{timed_out}exit code {result.exit_code}, {result.duration_seconds} s")


async def _exec_command(commands: Commands, arguments: ExecArguments, desk: Desk) -> CallToolResult:
    return _session_told(await commands.exec_command(arguments, desk))


async def _write_stdin(commands: Commands, arguments: WriteArguments, desk: Desk) -> CallToolResult:
    try:
        return _session_told(await commands.write_stdin(arguments, desk))
    except UnknownSession as error:
        return failed(f"{error}: it has ended, or never was.")


def _session_told(result: SessionResult) -> CallToolResult:
    if result.session_id is not None:
        return _told(result, f"running, session_id {result.session_id}")
    known = "not known" if result.exit_code is None else result.exit_code
    return _told(result, f"exit code {known}")


def _told(result: ShellResult | SessionResult, end: str) -> CallToolResult:
    """A result in words, and in its own form."""
    output = result.output
    if output and not output.endswith("\n"):
        output += "\n"
    remark = f"{result.message}\n" if result.message else ""
    return CallToolResult(
        content=[TextContent(text=f"{output}{remark}[{end}]")],
        structured_content=result.model_dump(mode="json"),
        is_error=result.refusal is not None and result.exit_code not in (None, 0),
    )
