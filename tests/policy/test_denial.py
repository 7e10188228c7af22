import pytest

from execnode.policy.denial import Denial, denial_in, denial_of, sandbox_denied
from execnode.policy.plan import Access, Plan, Rule

READ, WRITE, DENY = Access


@pytest.mark.parametrize(
    ("exit_code", "outputs", "denied"),
    [
        # The recorded ones.
        (1, [b"Permission Denied\n"], True),
        (0, [b"permission denied\n"], False),
        (1, [b"failed\n"], False),
        (5, [b"", b"x: read-only file system\n"], True),
        (2, [b"operation not permitted\n"], True),
        (159, [], True),
        (1, [], False),
        # The rest of the list.
        (1, [b"SECCOMP"], True),
        (1, [b"a sandboxed thing"], True),
        (1, [b"Landlock"], True),
        (1, [b"Failed to write file"], True),
        (-1, [b"landlock"], True),
        (1, [b"permission", b" denied"], True),
        (1, [b"permission\ndenied"], False),
        (137, [b"Killed"], False),
    ],
)
def test_the_guess_of_the_dialect(exit_code: int, outputs: list[bytes], denied: bool) -> None:
    assert sandbox_denied(exit_code, outputs) is denied


PLAN = Plan((Rule(b"/", READ), Rule(b"/w", WRITE), Rule(b"/w/d", DENY)), missing=(b"/w/.git",))


@pytest.mark.parametrize(
    ("path", "right", "denial"),
    [
        (b"/x", READ, None),
        (b"/w/x", WRITE, None),
        (b"/x", WRITE, Denial("write", b"/x", by=Rule(b"/", READ), allow=Rule(b"/x", WRITE))),
        (
            b"/w/d/x",
            READ,
            Denial("read", b"/w/d/x", None, Rule(b"/w/d", DENY), Rule(b"/w/d/x", READ)),
        ),
        (
            b"/w/.git",
            WRITE,
            Denial("write", b"/w/.git", None, Rule(b"/w/.git", DENY), Rule(b"/w/.git", WRITE)),
        ),
    ],
)
def test_a_denial_names_the_rule_and_the_way_out(
    path: bytes, right: Access, denial: Denial | None
) -> None:
    assert denial_of(PLAN, path, right) == denial


def test_where_nothing_covers_there_is_no_rule() -> None:
    denial = denial_of(Plan(()), b"/x", READ)
    assert denial == Denial("read", b"/x", by=None, allow=Rule(b"/x", READ))


@pytest.mark.parametrize(
    ("said", "path", "right"),
    [
        (b"touch: cannot touch '/r/x': Read-only file system\n", b"/r/x", "write"),
        (b"sh: 1: cannot create /r/x: Permission denied\n", b"/r/x", "write"),
        (b"PermissionError: [Errno 13] Permission denied: '/d/x'\n", b"/d/x", "read"),
        (b"cat: /d: Permission denied\n", b"/d", "read"),
        (b"touch: cannot touch '/d/x': Read-only file system\n", b"/d/x", "write"),
        (b"bash: line 1: a/x: Permission denied\n", b"/w/n/a/x", "write"),
        (b"sh: 1: cannot create x: Permission denied\n", b"/w/n/x", "write"),
        ("rm: \u2018x\u2019: Operation not permitted\n".encode(), b"/w/n/x", "write"),
        (b"first\nfailed: /w/a: permission denied\ncp: /r/b: permission denied", b"/r/b", "write"),
    ],
)
def test_a_denial_in_the_words_of_programs(said: bytes, path: bytes, right: str) -> None:
    rules = [(b"/", READ), (b"/d", DENY), (b"/w", WRITE), (b"/w/n", READ)]
    plan = Plan(tuple(Rule(folder, access) for folder, access in rules))
    denial = denial_in(plan, b"/w/n", [b"", said])
    assert denial is not None
    assert (denial.path, denial.right) == (path, right)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"/r/x: no such file",
        b"permission denied",
        b"touch: '/w/x': Permission denied",
        b"make: fatal: Permission denied",
        b"bash: line 1: /dev/tcp/127.0.0.1/22: Operation not permitted",
        b"bash: connect: Operation not permitted\nbash: line 1: /dev/udp/::1/9: Permission denied",
        b"a remark on a sandbox: permission denied",
        b"x" * 100_000 + b": permission denied",
    ],
)
def test_what_the_plan_allows_is_no_denial_of_it(said: bytes) -> None:
    plan = Plan((Rule(b"/", READ), Rule(b"/w", WRITE)))
    assert denial_in(plan, b"/", [said]) is None
