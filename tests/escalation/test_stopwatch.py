"""Time that counts, and time that does not; on a clock that jumps."""

import math

import pytest
import trio
from trio.testing import MockClock

from execnode.escalation import Stopwatch

pytestmark = pytest.mark.trio


async def test_it_cuts_off_at_its_limit(autojump_clock: MockClock) -> None:
    started = trio.current_time()
    with Stopwatch(5) as stopwatch:
        await trio.sleep(100)
    assert stopwatch.expired
    assert trio.current_time() - started == pytest.approx(5)
    assert stopwatch.elapsed == pytest.approx(5)


async def test_what_ends_in_time_is_left_alone(autojump_clock: MockClock) -> None:
    with Stopwatch(5) as stopwatch:
        await trio.sleep(4)
    assert not stopwatch.expired
    await trio.sleep(4)
    assert stopwatch.elapsed == pytest.approx(4)


async def test_pauses_do_not_count(autojump_clock: MockClock) -> None:
    started = trio.current_time()
    with Stopwatch(5) as stopwatch:
        await trio.sleep(3)
        with stopwatch.paused():
            await trio.sleep(1000)
            assert stopwatch.elapsed == pytest.approx(3)
        await trio.sleep(1)
        with stopwatch.paused():
            await trio.sleep(1000)
        await trio.sleep(100)
    assert stopwatch.expired
    assert trio.current_time() - started == pytest.approx(2005)


async def test_of_several_pauses_it_waits_for_the_last(autojump_clock: MockClock) -> None:
    async def question(begin: float, end: float) -> None:
        await trio.sleep(begin)
        with stopwatch.paused():
            await trio.sleep(end - begin)

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        with Stopwatch(5) as stopwatch:
            nursery.start_soon(question, 1, 50)
            nursery.start_soon(question, 2, 20)
            nursery.start_soon(question, 40, 70)
            await trio.sleep(1000)
    assert stopwatch.expired
    assert trio.current_time() - started == pytest.approx(1 + 69 + 4)


async def test_without_a_limit_it_only_counts(autojump_clock: MockClock) -> None:
    with Stopwatch() as stopwatch:
        await trio.sleep(80_000)
    assert not stopwatch.expired
    assert stopwatch.limit == math.inf
    assert stopwatch.elapsed == pytest.approx(80_000)


async def test_a_pause_that_outlasts_the_block_does_no_harm(autojump_clock: MockClock) -> None:
    with Stopwatch(5) as stopwatch:
        pause = stopwatch.paused()
        pause.__enter__()
    pause.__exit__(None, None, None)
    assert not stopwatch.expired
    assert stopwatch.elapsed == 0
