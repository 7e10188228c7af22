"""What a plan says of itself."""

import pytest

from execnode.policy.normal_form import Claim, Scope, rules_of
from execnode.policy.plan import (
    FULL_NETWORK,
    NO_NETWORK,
    UNRESTRICTED,
    Access,
    Network,
    Plan,
    Protection,
    Rule,
    allows,
)

READ, WRITE, DENY = Access


def rules(**accesses: Access) -> tuple[Rule, ...]:
    """Rules by path, `_` for the slash."""
    named = {name.replace("_", "/").encode(): access for name, access in accesses.items()}
    return tuple(Rule(path, access) for path, access in sorted(named.items()))


def normal(*claims: Claim, minimal: bool = False) -> tuple[Rule, ...]:
    return rules_of(claims, minimal=minimal)


# --- normal form ----------------------------------------------------------------------------------


def test_what_is_already_so_needs_no_rule() -> None:
    claims = [
        *(Claim(b"/", READ), Claim(b"/a", READ), Claim(b"/w", WRITE), Claim(b"/w/a", WRITE)),
        *(
            Claim(b"/w/d", DENY),
            Claim(b"/w/d/d", DENY),
            Claim(b"/w/d/r", READ),
            Claim(b"/wx", READ),
        ),
    ]
    expected = rules(_=READ, _w=WRITE, _w_d=DENY, _w_d_r=READ)
    assert normal(*claims) == normal(*claims[::-1]) == expected


def test_a_denial_of_what_is_invisible_needs_no_rule() -> None:
    assert normal(Claim(b"/", DENY), Claim(b"/a", DENY), Claim(b"/b", READ)) == rules(_b=READ)


def test_names_that_sort_before_the_slash_are_beside_a_folder() -> None:
    claims = [Claim(b"/a", WRITE), Claim(b"/a-b", WRITE), Claim(b"/a/b", READ), Claim(b"/a!", READ)]
    assert {rule.path for rule in normal(*claims)} == {b"/a", b"/a-b", b"/a/b", b"/a!"}


def test_a_claim_that_only_takes_away() -> None:
    claim = Claim(b"/w/x", READ, Scope.WRITABLE)
    assert normal(claim) == ()
    assert normal(claim, Claim(b"/w", READ)) == rules(_w=READ)
    assert normal(claim, Claim(b"/w", WRITE)) == rules(_w=WRITE, _w_x=READ)
    assert normal(claim, Claim(b"/w", DENY), Claim(b"/", READ)) == rules(_=READ, _w=DENY)


def test_a_claim_that_only_shows() -> None:
    claim = Claim(b"/w/x", READ, Scope.UNCOVERED, link=True)
    assert normal(claim) == (Rule(b"/w/x", READ, link=True),)
    assert normal(claim, Claim(b"/w", WRITE)) == rules(_w=WRITE)
    assert normal(claim, Claim(b"/w", DENY), Claim(b"/", READ)) == (
        *rules(_=READ, _w=DENY),
        Rule(b"/w/x", READ, link=True),
    )


def test_minimal_is_as_good_as_rules() -> None:
    claims = [Claim(b"/usr", READ), Claim(b"/usr/lib", READ), Claim(b"/etc/x", DENY)]
    assert normal(*claims, minimal=True) == rules(_etc_x=DENY)
    assert normal(Claim(b"/usr", DENY), minimal=True) == rules(_usr=DENY)
    assert normal(Claim(b"/usr", DENY), Claim(b"/usr/lib", DENY), minimal=True) == rules(_usr=DENY)
    assert normal(Claim(b"/usr", WRITE), minimal=True) == rules(_usr=WRITE)


# --- meaning --------------------------------------------------------------------------------------


def test_the_longest_path_decides() -> None:
    plan = Plan(rules(_=READ, _w=WRITE, _w_d=DENY, _w_d_r=READ), missing=(b"/w/m",))
    expected = {
        b"/": (True, False),
        b"/wx": (True, False),
        b"/w": (True, True),
        b"/w/x": (True, True),
        b"/w/d": (False, False),
        b"/w/d/x": (False, False),
        b"/w/d/r/x": (True, False),
        b"/w/m": (False, False),
        b"/w/m/x": (False, False),
        b"/w/mm": (True, True),
    }
    assert {path: (allows(plan, path, READ), allows(plan, path, WRITE)) for path in expected} == (
        expected
    )


def test_nothing_covered_is_nothing_allowed() -> None:
    assert not allows(Plan(()), b"/", READ)
    assert not allows(Plan((), minimal=True), b"/var", READ)
    assert allows(Plan((), minimal=True), b"/usr/bin/env", READ)
    assert not allows(Plan((), minimal=True), b"/usr/bin/env", WRITE)


# --- needs ----------------------------------------------------------------------------------------

ALWAYS = {Protection.FILES, Protection.OUTSIDE, Protection.NETWORK}


@pytest.mark.parametrize(
    ("plan", "needs"),
    [
        (UNRESTRICTED, set()),
        (Plan(UNRESTRICTED.rules), {Protection.NETWORK, Protection.OUTSIDE}),
        (Plan(rules(_=READ)), ALWAYS),
        (Plan(rules(_=READ, _w=WRITE)), ALWAYS),
        (Plan(rules(_=READ), network=FULL_NETWORK), ALWAYS - {Protection.NETWORK}),
        (Plan(rules(_=READ), network=Network(False, (443,))), ALWAYS | {Protection.PORTS}),
        (Plan(rules(_w=WRITE)), ALWAYS | {Protection.INVISIBLE}),
        (Plan((), minimal=True), ALWAYS | {Protection.INVISIBLE}),
        (Plan(rules(_=READ, _w=WRITE, _w_r=READ)), ALWAYS | {Protection.CARVE_OUTS}),
        (Plan(rules(_=READ, _d=DENY)), ALWAYS | {Protection.HIDDEN}),
        (Plan(rules(_=READ, _d=DENY, _d_r=READ)), ALWAYS | {Protection.HIDDEN}),
        (Plan(rules(_=READ, _w=WRITE), missing=(b"/w/m",)), ALWAYS | {Protection.MISSING}),
        (
            Plan((*rules(_=READ, _w=WRITE), Rule(b"/w/l", READ, link=True))),
            ALWAYS | {Protection.CARVE_OUTS, Protection.LINKS},
        ),
        (Plan((Rule(b"/l", READ, link=True),)), ALWAYS | {Protection.INVISIBLE}),
    ],
)
def test_needs(plan: Plan, needs: set[Protection]) -> None:
    assert plan.needs() == needs


def test_folders_above_something_protected_keep_their_names() -> None:
    plan = Plan(
        rules(_=READ, _w=WRITE, _w_a_b_r=READ, _w_a_b_r_w=WRITE, _w_a_b_r_w_x_d=DENY),
        missing=(b"/w/c/m", b"/w/top"),
    )
    assert plan.pins() == (b"/w/a", b"/w/a/b", b"/w/a/b/r/w/x", b"/w/c")
    assert Plan(rules(_=READ, _d_e=DENY)).pins() == ()
    assert Plan(rules(_=WRITE, _a_b=READ)).pins() == (b"/a",)


# --- options --------------------------------------------------------------------------------------


def test_the_options_of_the_helper() -> None:
    plan = Plan(
        rules(_=READ, _w=WRITE, _w_a_r=READ, _w_d=DENY, _w_d_r=READ),
        missing=(b"/w/.aws",),
        cwd=b"/w",
    )
    assert b" ".join(plan.helper_options()) == (
        b"--literal --read / --write /w --missing /w/.aws --write /w/a --read-only /w/a/r "
        b"--deny /w/d --read /w/d/r --network none --cwd /w"
    )


def test_the_options_of_the_helper_for_a_minimal_world_with_ports() -> None:
    plan = Plan((), minimal=True, network=Network(False, (53, 443), (8080,)))
    assert b" ".join(plan.helper_options()) == (
        b"--literal --minimal --network none --connect-port 53 --connect-port 443 --bind-port 8080"
    )
    assert UNRESTRICTED.helper_options() == b"--literal --write / --network full".split()


def test_equal_plans_are_one_key() -> None:
    one, other = (
        Plan(rules_of([Claim(b"/w", WRITE), *extra], minimal=False), network=NO_NETWORK)
        for extra in ([Claim(b"/w/x", WRITE)], [])
    )
    assert one == other
    assert {one: 1}[other] == 1
    assert allows(one, b"/w/x", WRITE)
    assert one == other  # what was looked up is not part of it
