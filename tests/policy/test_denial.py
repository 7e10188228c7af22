import os
import time

import pytest

from execnode.policy.denial import Denial, denial_in, denial_of, sandbox_denied
from execnode.policy.plan import Access, Plan, Rule
from tests.policy.worlds import World

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


# --- what a program may write on purpose ----------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "path"),
    [
        (b"cat: ~/hidden/link: Permission denied", "hidden/link"),
        (b"cat: ~/way/link: Permission denied", "hidden/link"),
        (b"cat: ~/elsewhere/link: Permission denied", "elsewhere/link"),
        (b"cat: ~/hidden/../other/link: Permission denied", None),
    ],
)
def test_where_a_hidden_link_leads_is_not_told(world: World, said: bytes, path: str | None) -> None:
    world.make("shown/file", "hidden/link->~/secret", "way->hidden", "elsewhere/link->~/secret")
    rules = [Rule(world.path("."), READ), Rule(world.path("hidden"), DENY)]
    rules += [Rule(world.path("elsewhere"), DENY)]
    told = denial_in(Plan(tuple(rules)), b"/", [said.replace(b"~", world.path("."))])
    assert (told and told.path) == (path and world.path(path))


def test_whether_something_hidden_is_there_is_not_told(world: World) -> None:
    world.make("shown/file", "hidden/there")
    plan = Plan((Rule(world.path("shown"), READ), Rule(world.path("hidden"), DENY)))
    hidden = world.path("hidden")
    for name in ("there", "missing"):
        told = denial_in(plan, hidden, [b"%b/%b: Permission denied" % (hidden, name.encode())])
        assert told is not None
        assert told.path == world.path(f"hidden/{name}")
        assert denial_in(plan, hidden, [b"sh: %b: Permission denied" % name.encode()]) is None
    told = denial_in(plan, world.path("."), [b"cat: hidden: Permission denied"])
    assert told is not None, "the plan itself names it"
    assert told.path == hidden


def test_no_remark_keeps_the_reader_busy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bytes] = []
    lstat = os.lstat

    def counting(path: bytes) -> os.stat_result:
        looks.append(path)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", counting)
    world.make("a/" * 400)
    long = world.path("a/" * 400)
    names = b"; ".join([b"'%b/%d'" % (long, number) for number in range(8)])
    plan = Plan((Rule(b"/", WRITE),))
    said = b"\n".join([names + b": permission denied"] * 64)
    assert denial_in(plan, b"/", [said]) is None
    assert 400 < len(looks) <= 1000


@pytest.mark.parametrize(
    "piece", [b"\xe2\x80\x98", b"`a", b"'", b": a", b"cannot open ", b" /", b"a", b"'a`b\""]
)
def test_no_remark_takes_long_to_read(piece: bytes) -> None:
    said = piece * ((1 << 20) // len(piece)) + b": permission denied"
    begin = time.process_time()
    denial_in(Plan((Rule(b"/", READ),)), b"/", [said])
    assert time.process_time() - begin < 3
