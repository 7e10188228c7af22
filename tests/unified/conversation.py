"""A manager of unified exec, and a caller who waits for something in the output of a session."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from execnode.environment.services import Environment
from execnode.unified import PLAIN_VARIABLES, ExecOutput, Limits, UnifiedExec
from tests.environment.everywhere.places import Open

__all__ = ["PROMPT", "all_of", "manager", "running", "unified_exec", "until"]

# The usual rules, with times that a test can wait for.
PROMPT = Limits(shortest_ms=0, shortest_poll_ms=0, exec_ms=20_000, write_ms=20, poll_ms=20_000)


# Nothing here may depend on a person's profile, or leave its work half done when it is ended.
_VARIABLES = {**PLAIN_VARIABLES, "HOME": "/nonexistent"}


def manager(environment: Environment, limits: Limits = PROMPT) -> UnifiedExec:
    """A manager whose login shells find no profile of a user."""
    return UnifiedExec(environment, limits, variables=_VARIABLES)


@asynccontextmanager
async def unified_exec(place: Open, limits: Limits = PROMPT) -> AsyncIterator[UnifiedExec]:
    """A manager in an environment, for as long as a test may take."""
    with anyio.fail_after(40):
        async with place() as here, manager(here, limits) as unified:
            yield unified


def all_of(answer: ExecOutput) -> bytes:
    """Its output, of which nothing may be left out."""
    assert (answer.omitted_bytes, answer.tail) == (0, b"")
    return answer.head


def running(answer: ExecOutput) -> int:
    """The session of an answer whose process still runs."""
    assert not answer.state.has_exited, answer
    assert answer.session_id is not None
    return answer.session_id


async def until(unified: UnifiedExec, session_id: int, wanted: str, chars: str = "") -> bytes:
    """Write, and look again until what was told matches; all that was told."""
    answer = await unified.write_stdin(session_id, chars, yield_time_ms=20)
    assert answer.input_failure is None
    seen = all_of(answer)
    while not re.search(wanted.encode(), seen):
        assert answer.session_id is not None, (seen, answer)
        answer = await unified.write_stdin(session_id, yield_time_ms=20)
        seen += all_of(answer)
    return seen
