"""Those who ask may be hostile: the server neither blocks nor leaks, and serves the others."""

import array
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from execnode.escalation import Action, Escalate, EscalationLimits, Run
from tests.escalation.interception import (
    Decide,
    Interception,
    escalated,
    interception,
    run,
)

pytestmark = pytest.mark.trio


# What attackers have run outside; by its argument it is known.
SLEEP = ("sleep", str(1_000_000 + os.getpid()))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def sleeping() -> int:
    """How many commands of attackers there are."""
    wanted = "\0".join(SLEEP).encode() + b"\0"
    count = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            count += entry.name.isdigit() and (entry / "cmdline").read_bytes() == wanted
    return count


async def nothing_is_left(before: int) -> None:
    """Wait until there are no more descriptors than before, and no command; nobody tells of it."""
    while descriptors() > before or sleeping():  # noqa: ASYNC110
        await trio.sleep(0.01)


class Attacker:
    """Somebody inside, who has the inherited socket and speaks as it likes."""

    def __init__(self, inside: Interception) -> None:
        self.socket = socket.socket(fileno=os.dup(inside.server.fd))

    async def wish(self, message: bytes, *attached: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", attached))]
        while True:
            try:
                self.socket.sendmsg([message], rights if attached else [], socket.MSG_DONTWAIT)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.socket)
            else:
                break

    async def connect(self) -> trio.SocketStream:
        """A conversation's own stream."""
        ours, theirs = socket.socketpair()
        await self.wish(b"E", theirs.fileno())
        theirs.close()
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours))


def frame(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


def request(*strings: str, file: str = "/bin/true") -> bytes:
    payload = len(strings).to_bytes(4, "big") + bytes(4) + (0o22).to_bytes(4, "big")
    payload += b"".join(os.fsencode(each) + b"\0" for each in ("/", file, *strings))
    return frame(b"Q", payload)


WINCH = frame(b"S", bytes([signal.SIGWINCH]))


async def serves_others(inside: Interception) -> None:
    ended = await inside.shell('"$W" /bin/echo echo served')
    assert ended.out == "served\n", ended.err


async def serves_others_at_last(inside: Interception) -> None:
    """Where patience is short, whoever is slower than that is turned away, on a busy machine."""
    while (await inside.shell('"$W" /bin/echo echo served')).out != "served\n":
        pass


async def read_to_the_end(stream: trio.SocketStream) -> bytes:
    data = b""
    try:
        while piece := await stream.receive_some():
            data += piece
    except trio.BrokenResourceError:
        pass
    await stream.aclose()
    return data


async def escalated_sleep(attacker: Attacker) -> trio.SocketStream | None:
    """The conversation about a command that runs outside, unless it is to run in place."""
    stream = await attacker.connect()
    await stream.send_all(request(*SLEEP, file="/bin/sleep"))
    answer = await stream.receive_some()
    if answer[:1] != b"E":
        await stream.aclose()
        return None
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 3))]
    await stream.socket.sendmsg([frame(b"F", b"\1\1\1")], rights)
    return stream


Attack = Callable[[Attacker], Awaitable[None]]


async def no_stream(attacker: Attacker) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    read, write = os.pipe()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for each in (null, read, listener.fileno()):
        await attacker.wish(b"E", each)
    await attacker.wish(b"E", null, null, null)
    await attacker.wish(b"E")
    await attacker.wish(b"")
    await attacker.wish(b"?", null)
    await attacker.wish(b"EE", null)
    await attacker.wish(b"E" * 5000, null)
    listener.close()
    for each in (null, read, write):
        os.close(each)


async def garbage(attacker: Attacker) -> None:
    for data in (
        b"?",
        b"\0" * 100,
        b"Q" + b"\xff" * 4,
        b"Q\0\0\0\1x",
        b"F\0\0\0\0",
        b"S\0\0\0\1\x09",
        request("a") + b"more",
        request("a")[:-1] + b"x",
    ):
        stream = await attacker.connect()
        await stream.send_all(data)
        await stream.send_eof()
        answer = await read_to_the_end(stream)
        assert answer[:1] in (b"", b"R", b"E")


async def many_descriptors(attacker: Attacker) -> None:
    """More than were asked for, and at every other moment than when they were asked for."""
    null = os.open("/dev/null", os.O_RDWR)
    for first in (b"", request("a")):
        stream = await attacker.connect()
        await stream.send_all(first)
        for _ in range(4):
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 250))]
            try:
                await stream.socket.sendmsg([b"F"], rights)
            except OSError:
                break
        await read_to_the_end(stream)
    os.close(null)


async def not_what_was_asked_for(attacker: Attacker) -> None:
    for payload, attached in ((b"\1\1\1", 0), (b"\0\0\0", 3), (b"\1\1", 2), (b"\1\1\1\1", 4)):
        stream = await attacker.connect()
        await stream.send_all(request("a"))
        answer = await stream.receive_some()
        if answer[:1] == b"E":
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * attached))]
            await stream.socket.sendmsg([frame(b"F", payload)], rights if attached else [])
            assert await read_to_the_end(stream) == b""
        else:
            await stream.aclose()


async def a_socket_that_blocks(attacker: Attacker) -> None:
    """Whoever kept a copy of the socket may set its mode: the server must not rely on that."""
    ours, theirs = socket.socketpair()
    await attacker.wish(b"E", theirs.fileno())
    theirs.setblocking(True)
    ours.close()
    theirs.close()


async def leaves_before_its_signal_is_answered(attacker: Attacker) -> None:
    if stream := await escalated_sleep(attacker):
        await stream.send_all(WINCH)
        await stream.aclose()


async def never_reads(attacker: Attacker) -> None:
    if stream := await escalated_sleep(attacker):
        await signals_unanswered(stream)
        await stream.aclose()


async def signals_unanswered(stream: trio.SocketStream) -> None:
    """Signals until no more are taken, since the answers to them are not."""
    taken = 1
    while taken:
        await trio.testing.wait_all_tasks_blocked()
        taken = 0
        with suppress(BlockingIOError):
            while True:
                taken += os.write(stream.socket.fileno(), WINCH)


ATTACKS = [
    no_stream,
    garbage,
    many_descriptors,
    not_what_was_asked_for,
    a_socket_that_blocks,
    leaves_before_its_signal_is_answered,
    never_reads,
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("action", [Run(), Escalate()])
async def test_others_are_served_and_nothing_leaks(attack: Attack, action: Action) -> None:
    async with interception(lambda *_: action) as inside:
        attacker = Attacker(inside)
        await serves_others(inside)
        before = descriptors()
        for _ in range(3):
            await attack(attacker)
            await serves_others(inside)
        await nothing_is_left(before)
        attacker.socket.close()


@pytest.mark.parametrize("action", [Run(), Escalate()])
async def test_all_of_these_at_once_disturb_nobody(action: Action) -> None:
    async def attacked(attack: Attack) -> None:
        attacker = Attacker(inside)
        await attack(attacker)
        attacker.socket.close()

    async with interception(lambda *_: action) as inside:
        await serves_others(inside)
        before = descriptors()
        async with trio.open_nursery() as nursery:
            for attack in ATTACKS * 8:
                nursery.start_soon(attacked, attack)
            for _ in range(10):
                await serves_others(inside)
        await nothing_is_left(before)


async def test_who_shuts_the_socket_down_shuts_out_itself() -> None:
    async with interception(run) as inside:
        attacker = Attacker(inside)
        attacker.socket.shutdown(socket.SHUT_RDWR)
        ended = await inside.shell('"$W" /bin/echo echo ran')
        assert (ended.code, ended.out) == (125, "")
        attacker.socket.close()


async def test_requests_that_never_come_give_their_places_back() -> None:
    limits = EscalationLimits(open=4, patience=0.2)
    async with interception(run, limits=limits) as inside:
        attacker = Attacker(inside)
        silent = [await attacker.connect() for _ in range(20)]
        slow = await attacker.connect()
        await slow.send_all(request("a")[:-1])
        await serves_others_at_last(inside)
        assert await read_to_the_end(slow) == b""
        for stream in silent:
            await stream.aclose()
        attacker.socket.close()


async def test_descriptors_that_never_come_give_their_place_back() -> None:
    limits = EscalationLimits(open=1, patience=0.2)
    async with interception(escalated, limits=limits) as inside:
        attacker = Attacker(inside)
        stream = await attacker.connect()
        await stream.send_all(request("true"))
        assert (await stream.receive_some())[:1] == b"E"
        await serves_others_at_last(inside)
        assert await read_to_the_end(stream) == b""
        attacker.socket.close()


async def test_who_takes_no_answers_gives_the_place_back() -> None:
    limits = EscalationLimits(open=1, patience=0.2)
    async with interception(escalated, limits=limits) as inside:
        attacker = Attacker(inside)
        stream = await escalated_sleep(attacker)
        assert stream
        await signals_unanswered(stream)
        await serves_others_at_last(inside)
        await stream.aclose()
        attacker.socket.close()


async def test_descriptors_that_were_not_asked_for_are_never_held() -> None:
    async with interception(run) as inside:
        attacker = Attacker(inside)
        null = os.open("/dev/null", os.O_RDWR)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 60))]
        before = descriptors()
        for data in (request("a")[:3], request("a")[:-1], request("a")):
            stream = await attacker.connect()
            await stream.socket.sendmsg([data], rights)
            await trio.testing.wait_all_tasks_blocked()
            assert descriptors() <= before + 1  # ours
            assert await read_to_the_end(stream) == b""
        os.close(null)
        attacker.socket.close()


@pytest.mark.parametrize("strings", [("x" * 6000,), ("",) * 200], ids=["long", "many"])
async def test_requests_of_too_many_bytes_together_are_refused(strings: tuple[str, ...]) -> None:
    limits = EscalationLimits(request_bytes=5000)
    async with interception(run, limits=limits) as inside:
        attacker = Attacker(inside)
        stream = await attacker.connect()
        await stream.send_all(request(*strings))
        answer = await read_to_the_end(stream)
        assert answer[:1] == b"D"
        assert b"too much is being asked at once" in answer
        attacker.socket.close()


async def test_a_caller_who_leaves_ends_the_question() -> None:
    left = trio.Event()

    async def think() -> Action:
        try:
            await trio.Event().wait()
        finally:
            left.set()
        return Run()

    async with interception(lambda *_: think()) as inside:
        process = await inside.wrapped("/bin/true", "true")
        while not inside.policy.asked:  # noqa: ASYNC110
            await trio.sleep(0.001)
        await process.signal("KILL")
        await left.wait()
        await process.wait()


@pytest.mark.parametrize(
    ("decide", "times"), [(run, 300), (escalated, 100)], ids=["run", "escalate"]
)
async def test_hundreds_of_execs_leave_no_descriptor_behind(decide: Decide, times: int) -> None:
    script = f'i=0; while [ $i -lt {times} ]; do "$W" /bin/true true; i=$((i+1)); done'
    async with interception(decide) as inside:
        await inside.shell('"$W" /bin/true true')
        before = descriptors()
        assert (await inside.shell(script)).code == 0
        assert descriptors() <= before
