"""Rules and a person, as an escalation policy."""

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from execnode.escalation import Action, Answer, Deny, Escalate, ExecPolicyEscalation, Run, Stopwatch
from execnode.policy.rules import ExecPolicy, Verdict, parse_rules
from tests.escalation.interception import interception

pytestmark = pytest.mark.trio

RULES = """
prefix_rule(pattern = ["git", "status"], decision = "prompt")
prefix_rule(pattern = ["git", "push"], decision = "forbidden", justification = "ask the owner")
prefix_rule(pattern = ["touch"], decision = "allow")
prefix_rule(pattern = ["make"], decision = "allow")
prefix_rule(pattern = ["bash"], decision = "allow")
host_executable(name = "make", paths = ["/opt/make"])
"""


@pytest.fixture(scope="module")
def rules() -> ExecPolicy:
    return parse_rules(RULES, "rules")


async def action(policy: ExecPolicyEscalation, *words: str, argv0: str | None = None) -> Action:
    argv = [os.fsencode(each) for each in (argv0 or words[0], *words[1:])]
    return await policy.determine_action(os.fsencode(words[0]), argv, b"/work")


class Person:
    """Gives one answer to everything."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[list[str], str]] = []

    async def __call__(self, words: list[str], workdir: str, verdict: Verdict) -> Answer:
        self.asked.append((words, workdir))
        return self.answer


async def test_what_no_rule_speaks_of_stays_inside(rules: ExecPolicy) -> None:
    policy = ExecPolicyEscalation(rules, Person("accept"))
    assert await action(policy, "/bin/ls", "-l") == Run()
    assert await action(policy, "/usr/bin/git", "log") == Run()


async def test_what_is_allowed_runs_outside(rules: ExecPolicy) -> None:
    policy = ExecPolicyEscalation(rules, Person("decline"))
    assert await action(policy, "/usr/bin/touch", "x") == Escalate()


async def test_what_is_forbidden_says_why(rules: ExecPolicy) -> None:
    policy = ExecPolicyEscalation(rules, Person("accept"))
    expected = Deny("the rules forbid it; ask the owner")
    assert await action(policy, "/usr/bin/git", "push") == expected


async def test_where_the_rules_prompt_somebody_is_asked(rules: ExecPolicy) -> None:
    person = Person("accept")
    policy = ExecPolicyEscalation(rules, person)
    assert await action(policy, "/usr/bin/git", "status", "-s") == Escalate()
    assert person.asked == [(["/usr/bin/git", "status", "-s"], "/work")]
    person.answer = "decline"
    assert await action(policy, "/usr/bin/git", "status") == Deny("declined")
    person.answer = "cancel"
    assert await action(policy, "/usr/bin/git", "status") == Deny("cancelled")
    refused = await action(ExecPolicyEscalation(rules), "/usr/bin/git", "status")
    assert isinstance(refused, Deny)
    assert "nobody can be asked" in refused.reason


async def test_argv0_deceives_nobody(rules: ExecPolicy) -> None:
    policy = ExecPolicyEscalation(rules, Person("accept"))
    assert await action(policy, "/bin/ls", "x", argv0="touch") == Run()
    assert await action(policy, "/usr/bin/touch", "x", argv0="touch") == Escalate()
    assert await action(policy, "/usr/bin/touch", "x", argv0="ls") == Run()
    assert await action(policy, "/bin/bash", "-c", "touch x", argv0="-bash") == Run()


async def test_a_name_that_does_something_else_is_told_to_whoever_is_asked(
    rules: ExecPolicy,
) -> None:
    person = Person("accept")
    policy = ExecPolicyEscalation(rules, person)
    assert await action(policy, "/usr/bin/git", "status", argv0="git-clone") == Escalate()
    assert person.asked[0][0] == ["exec", "-a", "git-clone", "/usr/bin/git", "status"]


async def test_a_forbidden_name_is_forbidden_for_every_program() -> None:
    rules = parse_rules('prefix_rule(pattern = ["rm"], decision = "forbidden")', "rules")
    policy = ExecPolicyEscalation(rules)
    for argv0 in ("rm", "/x/rm", "-rm"):
        assert isinstance(await action(policy, "/bin/busybox", "x", argv0=argv0), Deny)
    assert await action(policy, "/bin/busybox", "rm", "x") == Run()


async def test_a_program_of_the_same_name_elsewhere_is_another(rules: ExecPolicy) -> None:
    policy = ExecPolicyEscalation(rules, Person("accept"))
    assert await action(policy, "/srv/bin/touch", "x") == Run()
    assert await action(policy, "/usr/bin/make") == Run()
    assert await action(policy, "/opt/make") == Escalate()
    assert isinstance(await action(policy, "/srv/git", "push"), Deny)


async def test_a_script_may_be_stricter_than_its_shell(rules: ExecPolicy) -> None:
    policy = ExecPolicyEscalation(rules, Person("accept"))
    assert await action(policy, "/bin/bash", "-c", "touch x") == Escalate()
    assert isinstance(await action(policy, "/bin/bash", "-c", "ls; git push"), Deny)


async def test_the_stopwatch_stands_still_while_somebody_thinks(
    rules: ExecPolicy, autojump_clock: MockClock
) -> None:
    async def ask(words: list[str], workdir: str, verdict: Verdict) -> Answer:
        await trio.sleep(1000)
        return "accept"

    with Stopwatch(5) as stopwatch:
        policy = ExecPolicyEscalation(rules, ask, stopwatch)
        assert await action(policy, "/usr/bin/git", "status") == Escalate()
        await trio.sleep(3)
    assert not stopwatch.expired
    assert stopwatch.elapsed == pytest.approx(3)


async def test_the_environment_outside_may_be_fixed(rules: ExecPolicy) -> None:
    policy = ExecPolicyEscalation(rules, env={"PATH": "/bin"})
    assert await action(policy, "/usr/bin/touch") == Escalate(env={"PATH": "/bin"})


@pytest.mark.parametrize(("answer", "code"), [("accept", 0), ("decline", 1), ("cancel", 1)])
async def test_a_real_command_waits_for_its_answer(
    tmp_path: Path, answer: Answer, code: int
) -> None:
    rules = parse_rules('prefix_rule(pattern = ["touch"], decision = "prompt")', "rules")

    async def ask(words: list[str], workdir: str, verdict: Verdict) -> Answer:
        assert not (tmp_path / "ran").exists()
        return answer

    policy = ExecPolicyEscalation(rules, ask)
    async with interception(policy.determine_action) as inside:
        ended = await inside.shell(f'"$W" /usr/bin/touch touch {tmp_path}/ran')
    assert ended.code == code
    assert (tmp_path / "ran").exists() == (answer == "accept")
