"""Turns of requests that look at files or change them."""

import pytest
import trio
import trio.testing

from execnode.server.turns import Turn, Turns


class Story:
    """Requests that begin in turn and end when they are told to."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._turns = Turns()
        self._ends: dict[str, trio.Event] = {}
        self.begun: list[str] = []

    def request(self, name: str, turn: Turn) -> None:
        async def work() -> None:
            self.begun.append(name)
            await self._ends[name].wait()

        self._ends[name] = trio.Event()
        result = self._turns.take(turn, work())

        async def run() -> None:
            await result  # type: ignore[misc]

        self._nursery.start_soon(run)

    def end(self, name: str) -> None:
        self._ends[name].set()


@pytest.mark.trio
async def test_looks_run_together_and_changes_alone() -> None:
    async with trio.open_nursery() as nursery:
        story = Story(nursery)
        for name in "a", "b":
            story.request(name, Turn.LOOK)
        story.request("c", Turn.CHANGE)
        story.request("d", Turn.LOOK)
        story.request("e", Turn.CHANGE)
        story.request("free", Turn.NONE)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(story.begun) == ["a", "b", "free"]
        for end, begun in (("b", None), ("a", "c"), ("c", "d"), ("d", "e"), ("e", None)):
            before = list(story.begun)
            story.end(end)
            await trio.testing.wait_all_tasks_blocked()
            assert story.begun == before + [begun] * (begun is not None)
        story.end("free")


@pytest.mark.trio
async def test_one_that_fails_lets_the_next_go_on() -> None:
    turns = Turns()

    async def fail() -> None:
        raise OSError("broken")

    async def succeed() -> int:
        return 7

    first = turns.take(Turn.CHANGE, fail())
    second = turns.take(Turn.CHANGE, succeed())
    with pytest.raises(OSError, match="broken"):
        await first  # type: ignore[misc]
    assert await second == 7  # type: ignore[misc]


def test_what_is_no_awaitable_passes_through() -> None:
    assert Turns().take(Turn.CHANGE, "answer") == "answer"
