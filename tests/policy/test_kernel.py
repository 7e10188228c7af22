import pytest

from execnode.policy.kernel import Kernel, fast_path, losses, refusal
from execnode.policy.plan import UNRESTRICTED, Access, Network, Plan, Protection, Rule

EVERYTHING = Kernel(7)
ROOT = Rule(b"/", Access.READ)
READ_ONLY = Plan((ROOT,))
WORK = Rule(b"/w", Access.WRITE)
CARVED = Plan((ROOT, WORK, Rule(b"/w/.git", Access.READ)), missing=(b"/w/.aws",))
LINKED = Plan((ROOT, WORK, Rule(b"/w/l", Access.READ, link=True)))
PORTS = Plan((ROOT,), network=Network(False, (443,)))


@pytest.mark.parametrize(
    ("plan", "fast"),
    [
        (UNRESTRICTED, True),
        (READ_ONLY, True),
        (PORTS, True),
        (Plan((ROOT, WORK)), True),
        (Plan((WORK,)), False),
        (CARVED, False),
        (LINKED, False),
        (Plan((ROOT, Rule(b"/d", Access.DENY))), False),
    ],
)
def test_what_landlock_can_say(plan: Plan, fast: bool) -> None:
    assert fast_path(plan, EVERYTHING) is fast
    assert refusal(plan, EVERYTHING) == ()


@pytest.mark.parametrize(
    ("plan", "abi"),
    [(UNRESTRICTED, 0), (Plan(UNRESTRICTED.rules), 6), (READ_ONLY, 6), (PORTS, 6)],
)
def test_the_landlock_that_the_fast_path_takes(plan: Plan, abi: int) -> None:
    assert [fast_path(plan, Kernel(each)) for each in range(8)] == [
        each >= abi for each in range(8)
    ]


@pytest.mark.parametrize(
    ("kernel", "plan", "lost"),
    [
        (Kernel(0), READ_ONLY, set()),
        (Kernel(0), CARVED, set()),
        (Kernel(0), PORTS, {"network-ports"}),
        (Kernel(0, namespaces=False), READ_ONLY, {"files", "outside-processes"}),
        (Kernel(2, namespaces=False), READ_ONLY, {"files", "outside-processes"}),
        (Kernel(3, namespaces=False), READ_ONLY, {"outside-processes"}),
        (Kernel(7, namespaces=False), READ_ONLY, set()),
        (Kernel(7, namespaces=False), CARVED, {"carve-outs", "missing-names"}),
        (Kernel(7, namespaces=False), Plan((WORK,)), {"invisible-paths"}),
        (Kernel(7, link_mounts=False), LINKED, {"fixed-links"}),
        (Kernel(7, namespaces=False), LINKED, {"carve-outs", "fixed-links"}),
        (Kernel(7, seccomp=False), READ_ONLY, {"network"}),
        (Kernel(0, False, False, False), UNRESTRICTED, set()),
    ],
)
def test_what_is_lost_is_refused_by_name(kernel: Kernel, plan: Plan, lost: set[str]) -> None:
    assert {each.value for each in losses(plan, kernel)} == lost
    sentences = refusal(plan, kernel)
    assert [sentence.rsplit(" ", 1)[1] for sentence in sentences] == sorted(lost)
    assert refusal(plan, kernel, lost) == ()


def test_accepting_one_loss_accepts_no_other() -> None:
    kernel = Kernel(7, namespaces=False)
    [sentence] = refusal(CARVED, kernel, {"carve-outs", "network"})
    assert sentence.startswith("this sandbox needs keeping names from being created, for which")
    assert "user namespaces" in sentence
    assert sentence.endswith("or accept the loss with --accept-missing missing-names")


@pytest.mark.parametrize("protection", Protection)
def test_every_protection_has_its_sentence(protection: Protection) -> None:
    rules = (WORK, Rule(b"/w/d", Access.DENY), Rule(b"/w/l", Access.READ, link=True))
    plan = Plan(rules, missing=(b"/w/m",), network=Network(False, (1,)))
    others = {each.value for each in Protection} - {protection.value}
    [sentence] = refusal(plan, Kernel(0, False, False, False), others)
    assert sentence.endswith(f"--accept-missing {protection.value}")
