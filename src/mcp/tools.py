"""The tools as a client sees them: their names, what they take, what they give."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from mcp.types import Tool, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "EXEC_COMMAND",
    "SHELL",
    "TOOLS",
    "WRITE_STDIN",
    "ExecArguments",
    "Report",
    "SessionResult",
    "ShellArguments",
    "ShellResult",
    "WriteArguments",
]

SHELL: Final = "shell"
EXEC_COMMAND: Final = "exec_command"
WRITE_STDIN: Final = "write_stdin"

_Workdir = Annotated[
    str | None,
    Field(description="Folder to run in, absolute or below the server's own, which is the default"),
]
_Login = Annotated[bool, Field(description="Run the shell as a login shell (-lc, else -c)")]
_Yield = Annotated[
    int | None,
    Field(ge=0, description="How long to wait for the end or for output before answering, in ms"),
]
_Tokens = Annotated[
    int | None,
    Field(ge=0, description="Output to return at most; a token counts as 4 bytes. Default 10000"),
]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ShellArguments(_Arguments):
    """What `shell` takes."""

    command: Annotated[str, Field(description="A script for the shell, such as `make test`")]
    workdir: _Workdir = None
    timeout_ms: Annotated[
        int | None,
        Field(
            ge=1,
            description="End the command after this time. While the user is being asked for "
            "approval the time stands still",
        ),
    ] = None
    login: _Login = True


class ExecArguments(_Arguments):
    """What `exec_command` takes."""

    cmd: Annotated[str, Field(description="A script for the shell")]
    workdir: _Workdir = None
    tty: Annotated[
        bool, Field(description="Run it on a terminal, so that it can be typed to (write_stdin)")
    ] = False
    login: _Login = True
    yield_time_ms: _Yield = None
    max_output_tokens: _Tokens = None


class WriteArguments(_Arguments):
    """What `write_stdin` takes."""

    session_id: Annotated[int, Field(description="From the answer of exec_command")]
    chars: Annotated[
        str,
        Field(
            description="What to type, with \\n at the end of a line; \\u0003 is Ctrl-C. "
            "Empty: only look for new output"
        ),
    ] = ""
    yield_time_ms: _Yield = None
    max_output_tokens: _Tokens = None


class Report(BaseModel):
    """What results have in common."""

    output: Annotated[str, Field(description="stdout and stderr in the order they were written")]
    omitted_bytes: Annotated[int, Field(description="Left out of the middle of the output")] = 0
    signal: Annotated[str | None, Field(description="The signal that ended it")] = None
    refusal: Annotated[
        Literal["forbidden", "declined", "cancelled"] | None,
        Field(description="Set if the rules or the user kept it, or a part of it, from running"),
    ] = None
    message: Annotated[
        str | None, Field(description="Anything that the output does not say by itself")
    ] = None


class ShellResult(Report):
    """What `shell` gives."""

    exit_code: Annotated[
        int,
        Field(
            description="128 + number for a signal; 124 if its time was over, 125 if it could not "
            "be started or its end is unknown, 1 if it was not run"
        ),
    ]
    duration_seconds: Annotated[float, Field(description="Without the time that the user took")]
    timed_out: bool = False


class SessionResult(Report):
    """What `exec_command` and `write_stdin` give."""

    session_id: Annotated[
        int | None, Field(description="For write_stdin; null when the command has ended")
    ]
    exit_code: Annotated[int | None, Field(description="null while it runs, or if not known")]
    wall_time_seconds: float


def _tool(
    name: str,
    title: str,
    description: str,
    arguments: type[BaseModel],
    result: type[BaseModel],
) -> Tool:
    return Tool(
        name=name,
        title=title,
        description=description,
        input_schema=arguments.model_json_schema(),
        output_schema=result.model_json_schema(mode="serialization"),
        annotations=ToolAnnotations(
            title=title, read_only_hint=False, destructive_hint=True, open_world_hint=True
        ),
    )


TOOLS: Final = (
    _tool(
        SHELL,
        "Run a command",
        "Run a shell command to its end and return its exit code and output. The beginning and the "
        "end of long output are kept. For servers, prompts and whatever else runs on, use "
        "exec_command. Some commands need the user's approval, which is asked for; one that was "
        "declined must not be tried in other words.",
        ShellArguments,
        ShellResult,
    ),
    _tool(
        EXEC_COMMAND,
        "Start a command",
        "Start a shell command and return its output so far; if it runs on, session_id is for "
        "write_stdin. Use tty for what wants a terminal. Some commands need the user's approval, "
        "which is asked for; one that was declined must not be tried in other words.",
        ExecArguments,
        SessionResult,
    ),
    _tool(
        WRITE_STDIN,
        "Type to a command",
        "Type to a command that exec_command has started, or look for its new output, and return "
        "what it has written since the last answer.",
        WriteArguments,
        SessionResult,
    ),
)
