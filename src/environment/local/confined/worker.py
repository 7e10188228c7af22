"""In the sandbox: a process that calls functions for the node, each in a thread."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from execnode.environment.local.confined.frames import Outgoing, Parser, receive
from execnode.environment.local.confined.values import (
    Call,
    Halt,
    Refused,
    Returned,
    find,
    pack,
    parameters_of,
    takes_stop,
    unpack,
)
from execnode.environment.local.files.descriptor import Descriptor
from execnode.environment.local.files.work import Failure, Stop, Stopped, answered
from execnode.protocol.errors import INTERNAL_ERROR, RpcError

__all__ = ["work"]

# The node sees to it that they are few; those of archives wait for clients.
_THREADS: Final = 4096


def work(link: socket.socket) -> None:
    """Serve the node until it closes its end; whatever is under way then is given up."""
    _Service(link).run()


class _Service:
    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._parser = Parser()
        self._sending = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, "call")
        self._stops: dict[int, Stop] = {}

    def run(self) -> None:
        while self._receive():
            pass

    def _receive(self) -> bool:
        data, descriptors = receive(self._link)
        for message, handed in self._parser.feed(data, descriptors):
            self._take(msgspec.msgpack.decode(message, type=Call | Halt), handed)
        return bool(data)

    def _take(self, message: Call | Halt, descriptors: list[Descriptor]) -> None:
        match message:
            case Halt(id):
                if stop := self._stops.get(id):
                    stop.ask()
            case Call(id):
                self._stops[id] = Stop()
                self._threads.submit(self._answer, message, descriptors)

    def _answer(self, call: Call, descriptors: list[Descriptor]) -> None:
        try:
            outgoing = self._result(call, descriptors)
        except Stopped:
            outgoing = _refusal(call.id, RpcError(INTERNAL_ERROR, "stopped"))
        except RpcError as error:
            outgoing = _refusal(call.id, error)
        except BaseException as error:
            outgoing = _refusal(
                call.id, Failure(INTERNAL_ERROR, f"{type(error).__name__}: {error}")
            )
        finally:
            self._stops.pop(call.id, None)
            for descriptor in descriptors:
                descriptor.close()
        try:
            with self._sending:
                outgoing.send(self._link)
        except OSError:
            os._exit(0)  # the node is gone

    def _result(self, call: Call, descriptors: list[Descriptor]) -> Outgoing:
        function = find(call.function)
        arguments = unpack(call.arguments, parameters_of(function), descriptors)
        if takes_stop(function):
            arguments = (self._stops[call.id], *arguments)
        with answered():
            result = pack(function(*arguments))
        for temporary in result.temporaries:
            temporary.keep()  # the node has it now
        returned = Returned(call.id, msgspec.Raw(result.data))
        return Outgoing(msgspec.msgpack.encode(returned), result.descriptors)


def _refusal(call_id: int, error: RpcError) -> Outgoing:
    failure = isinstance(error, Failure)
    refused = Refused(call_id, error.code, error.message, failure)
    return Outgoing(msgspec.msgpack.encode(refused), [])
