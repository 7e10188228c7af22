"""What a policy may decide."""

import pytest
import trio

from execnode.escalation import Action, Escalate
from tests.escalation.interception import always, interception


@pytest.mark.parametrize("descriptors", [(2,), (-1,), (1 << 16,), tuple(range(3, 62))])
def test_descriptors_that_cannot_be_passed_are_refused(descriptors: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="descriptor"):
        Escalate(descriptors=descriptors)


@pytest.mark.trio
async def test_as_many_as_can_be_passed_are_passed() -> None:
    action = Escalate(descriptors=(*range(900, 957), 0xFFFF))
    async with interception(always(action)) as inside:
        ended = await inside.shell('"$W" /bin/echo echo ran')
    assert (ended.code, ended.out) == (0, "ran\n")


async def fail() -> Action:
    await trio.lowlevel.checkpoint()
    raise LookupError("the policy's mistake")


@pytest.mark.trio
@pytest.mark.parametrize(
    ("decide", "code", "reason"),
    [
        (lambda *_: fail(), 1, "the policy failed"),
        (lambda *_: None, 125, "does not answer"),
        (always(Escalate(options={"no_such_option": 1})), 126, "no_such_option"),
    ],
)
async def test_a_policy_that_fails_has_nothing_run_and_others_served(
    decide: object, code: int, reason: str
) -> None:
    async with interception(decide) as inside:  # type: ignore[arg-type]
        for _ in range(2):
            ended = await inside.shell('"$W" /bin/echo echo ran')
            assert (ended.code, ended.out) == (code, "")
            assert reason in ended.err
