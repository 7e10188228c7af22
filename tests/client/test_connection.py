"""One connection: what belongs to which request, and what is no answer at all."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from execnode.client.connection import Connection
from execnode.client.dialing import Line
from execnode.client.errors import LinkLost, ProtocolError, RpcError
from execnode.client.framing import LengthFraming
from execnode.client.transport import Transport
from execnode.protocol import methods
from execnode.protocol.codec import CborCodec
from execnode.protocol.errors import unknown_process
from execnode.protocol.messages import Answer, EmptyResponse, Message, Notification, Request
from execnode.protocol.processes import (
    ListParams,
    ListResponse,
    ResizeParams,
    TerminalSize,
    WriteParams,
    WriteResponse,
)
from tests.client.peer import encoded

pytestmark = pytest.mark.anyio

RESIZE = ResizeParams("1", TerminalSize(1, 1))


class Ends:
    """A connection, the node's end of its socket, and what was notified."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.node = Transport(theirs)
        self.notified: list[tuple[str, Any]] = []
        self.connection = Connection(
            Line(Transport(ours), LengthFraming()),
            CborCodec(),
            lambda method, params: self.notified.append((method, params)),
        )

    async def tell(self, *messages: Message) -> None:
        await self.node.send(b"".join(map(encoded, messages)))

    async def resize(self) -> EmptyResponse:
        return await self.connection.request(methods.PROCESS_RESIZE, RESIZE, EmptyResponse)


@asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    ends = Ends()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ends.connection.run)
            try:
                yield ends
            finally:
                ends.connection.close()
                ends.node.close()


async def test_answers_find_their_requests_in_any_order() -> None:
    async with connected() as ends:
        results = {}

        async def ask(text: str) -> None:
            params = WriteParams(text, b"")
            await ends.connection.request(methods.PROCESS_WRITE, params, WriteResponse)
            results[text] = True

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(ask, str(number))
            await anyio.wait_all_tasks_blocked()
            answers = [Answer(i, WriteResponse("accepted")) for i in (3, 1, 2)]
            await ends.tell(*answers, Notification("news", {"n": 1}))
        assert len(results) == 3
        assert ends.notified == [("news", {"n": 1})]


async def test_a_result_is_noticed_before_what_follows_it_also_when_nobody_waits() -> None:
    async with connected() as ends:

        async def ask() -> None:
            await ends.connection.request(
                methods.PROCESS_RESIZE,
                RESIZE,
                EmptyResponse,
                lambda: ends.notified.append(("result", None)),
            )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await ends.tell(Notification("before"), Answer(1, {}), Notification("after"))
        ends.node.close()
        await ends.connection.ended.wait()
        assert [method for method, _ in ends.notified] == ["before", "result", "after"]


async def test_an_error_answer_is_raised_with_its_data() -> None:
    async with connected() as ends:
        error = RpcError(-32603, "no", {"stage": "execve", "errno": 2})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ends.tell, error.to_answer(1))
            with pytest.raises(RpcError) as caught:
                await ends.resize()
        told = caught.value
        assert (told.code, told.message, told.data) == (error.code, "no", error.data)


@pytest.mark.parametrize(
    ("message", "remark"),
    [
        (Answer(99, {}), "answer to no request"),
        (unknown_process("1").to_answer(-1), "unknown process id 1"),
        (Request(1, "network/policyRequest"), "which no node does"),
    ],
)
async def test_what_no_node_says_ends_the_connection(message: Message, remark: str) -> None:
    async with connected() as ends:
        await ends.tell(message)
        await ends.connection.ended.wait()
        assert isinstance(ends.connection.failure, ProtocolError)
        assert remark in str(ends.connection.failure)
        with pytest.raises(LinkLost):
            await ends.resize()


async def test_a_result_of_a_wrong_shape_is_told() -> None:
    async with connected() as ends, anyio.create_task_group() as tasks:
        tasks.start_soon(ends.tell, Answer(1, {"processes": 7}))
        with pytest.raises(ProtocolError, match="not a ListResponse"):
            await ends.connection.request(methods.PROCESS_LIST, ListParams(), ListResponse)


async def test_a_message_that_is_too_large_is_not_sent() -> None:
    async with connected() as ends:
        params = WriteParams("1", bytes(17 << 20))
        with pytest.raises(ProtocolError, match="larger than the limit"):
            await ends.connection.request(methods.PROCESS_WRITE, params, WriteResponse)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ends.tell, Answer(2, {}))
            assert await ends.resize() == EmptyResponse()


async def test_half_a_message_and_then_silence_ends_with_the_link() -> None:
    async with connected() as ends, anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(LinkLost, match="reset by peer"):
                await ends.resize()

        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        await ends.node.send(encoded(Answer(1, {}))[:-1])
        await anyio.wait_all_tasks_blocked()
        ends.node.close()
