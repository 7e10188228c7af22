import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execnode.policy.glob import Glob, PatternError, parse
from execnode.protocol.errors import RpcError
from tests.policy.worlds import READ_ALL, WRITE_PROJECT, World, pattern

# As in the tree with which the server of the dialect was asked.
FILES = [
    *("a.env", ".env", "k.ENV", "t.txt", "x1.env", "x[1].env", "x].env", "a,b.env", "{a}.env"),
    *("[", "sub/b.env", "sub/.hid/d.env", "sub/deep/c.env", "sub/env/e.env", "dir/t.txt"),
]
TOP_ENV = ["a.env", ".env", "x1.env", "x[1].env", "x].env", "a,b.env", "{a}.env"]


def matched(text: str, cwd: bytes = b"/w") -> list[str]:
    return [name for name in FILES if any(takes(each, name) for each in parse(text.encode(), cwd))]


def takes(glob: Glob, name: str) -> bool:
    base = glob.base.decode()
    path = f"/w/{name}"
    if not path.startswith(f"{base.rstrip('/')}/"):
        return False
    states, match = glob.start, False
    for part in path[len(base.rstrip("/")) + 1 :].split("/"):
        states, match = glob.step(states, part.encode())
    return match


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("*.env", TOP_ENV),
        ("**.env", TOP_ENV),
        ("/w/*.env", TOP_ENV),
        ("../w/./*.env", TOP_ENV),
        ("**/*.env", [name for name in FILES if name.endswith(".env")]),
        ("**/**/c.env", ["sub/deep/c.env"]),
        ("sub/*.env", ["sub/b.env"]),
        ("sub//b.env", ["sub/b.env"]),
        ("sub/**", [name for name in FILES if name.startswith("sub/")]),
        ("sub/**/", [name for name in FILES if name.startswith("sub/")]),
        ("s?b/b.env", ["sub/b.env"]),
        ("sub*/b.env", ["sub/b.env"]),
        ("sub**/b.env", ["sub/b.env"]),
        ("sub*deep/*", []),
        ("**/sub/**/c.env", ["sub/deep/c.env"]),
        ("**/.hid/**", ["sub/.hid/d.env"]),
        ("**/dee?/*", ["sub/deep/c.env"]),
        ("?.env", ["a.env"]),
        ("a.env", ["a.env"]),
        ("a.env/", ["a.env"]),
        ("A.env", []),
        ("*.ENV", ["k.ENV"]),
        ("*.env ", []),
        ("!a.env", []),
        ("**", FILES),
        ("x[1].env", ["x1.env"]),
        ("x[[]1].env", ["x[1].env"]),
        (r"x\[1].*", ["x[1].env"]),
        ("[x]1*", ["x1.env"]),
        ("x[]]*", ["x].env"]),
        ("x].*", ["x].env"]),
        ("[!x]*", [name for name in FILES if "/" not in name and name[0] != "x"]),
        ("[^x].env", ["a.env"]),
        ("[a-c].env", ["a.env"]),
        ("[c-a].env", []),
        ("[", ["["]),
        ("[*", ["["]),
        ("x[1.env*", []),
        ("x[].env*", []),
        ("{a,k}.*", ["a.env", "k.ENV"]),
        ("{,sub/}b.env", ["sub/b.env"]),
        ("{a,{s,t}ub/b}.env", ["a.env", "sub/b.env"]),
        ("{a.env}", ["a.env"]),
        (r"\{a\}.*", ["{a}.env"]),
        ("[{]a[}].env", ["{a}.env"]),
        ("a?b.env", ["a,b.env"]),
    ],
)
def test_what_a_pattern_matches(text: str, names: list[str]) -> None:
    assert sorted(matched(text)) == sorted(names)


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("", "names no files"),
        ("/", "names no files"),
        ("..", "names no files"),
        ("*/../x", "names no files"),
        ("{a", "brace"),
        ("*}*", "brace"),
        ("/**/*.env", "whole machine"),
        ("../../**", "whole machine"),
        ("{a,b}" * 9, "alternatives"),
    ],
)
def test_patterns_that_cannot_be_looked_up(world: World, text: str, remark: str) -> None:
    with pytest.raises(PatternError, match=remark):
        parse(text.encode(), b"/w")
    with pytest.raises(RpcError, match=remark) as caught:
        world.plan(pattern(text.replace("../..", "../" * 20)))
    assert caught.value.code == -32602


def test_names_that_are_not_utf8() -> None:
    [glob] = parse(b"?\xff[\xfe]*", b"/w")
    assert glob.step(glob.start, "é".encode() + b"\xff\xfe")[1]
    assert not glob.step(glob.start, b"e\xff\xff")[1]


names = st.text("ab.", min_size=1, max_size=6)
patterns = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "."]), min_size=1)


@given(patterns.map("".join).filter(lambda text: text not in (".", "..", "**")), names)
def test_names_agree_with_fnmatch(text: str, name: str) -> None:
    [glob] = parse(text.encode(), b"/w")
    assert glob.step(glob.start, name.encode())[1] is fnmatch.fnmatchcase(name, text)


def test_a_spiteful_pattern_takes_no_time() -> None:
    [glob] = parse(b"*a" * 60 + b"*b", b"/w")
    began = time.perf_counter()
    assert not glob.step(glob.start, b"a" * 255)[1]
    assert time.perf_counter() - began < 1


# --- looking for files ----------------------------------------------------------------------------


def test_what_matches_is_hidden(world: World) -> None:
    world.make("a.env", "sub/b.env", "sub/c.txt")
    plan = world.plan(READ_ALL, WRITE_PROJECT, pattern("**/*.env"))
    world.check(plan, "a.env:- sub/b.env:- sub/c.txt:rw new.env:rw")


@pytest.mark.parametrize(
    ("depth", "hidden"), [(1, "1.env"), (2, "1.env 2/2.env"), (None, "1.env 2/2.env 2/3/3.env")]
)
def test_folders_are_searched_as_deep_as_asked(
    world: World, depth: int | None, hidden: str
) -> None:
    world.make("1.env", "2/2.env", "2/3/3.env")
    plan = world.plan(READ_ALL, pattern("**/*.env"), depth=depth)
    names = ["1.env", "2/2.env", "2/3/3.env"]
    assert [name for name in names if world.rights(plan, name) == "-"] == hidden.split()


def test_the_depth_is_counted_from_the_first_folder_that_is_searched(world: World) -> None:
    world.make("sub/1.env", "sub/deep/2.env")
    plan = world.plan(READ_ALL, pattern("sub/**/*.env"), depth=1)
    world.check(plan, "sub/1.env:- sub/deep/2.env:r")


def test_a_folder_that_matches_is_hidden_with_all_in_it(world: World) -> None:
    world.make("secret.env/x")
    plan = world.plan(READ_ALL, pattern("*.env"))
    world.check(plan, "secret.env:- secret.env/x:-")


def test_a_match_is_a_path_like_any_other_to_the_longest_one(world: World) -> None:
    world.make("sub/deep/x", "a.env")
    plan = world.plan(
        READ_ALL,
        pattern("sub"),
        pattern("*.env"),
        world.entry("sub/deep", "write"),
        world.entry("a.env", "write"),
    )
    world.check(plan, "sub:- sub/deep:rw sub/deep/x:rw a.env:-")


def test_links_are_meant_themselves_and_not_entered(world: World) -> None:
    world.make("plain/f.env", "plain/x", "f.env->plain/x", "way->plain")
    told = world.told(world.plan(READ_ALL, pattern("*.env"), pattern("*/f.env")))
    assert told == {"/": "READ", "f.env": "DENY->", "plain/f.env": "DENY"}


def test_a_pattern_that_begins_at_a_link_looks_where_it_leads(world: World) -> None:
    world.make("plain/f.env", "way->plain")
    told = world.told(world.plan(READ_ALL, WRITE_PROJECT, pattern("way/*.env")))
    assert (told["plain/f.env"], told["way"]) == ("DENY", "READ->")


def test_a_pattern_only_takes_away(world: World) -> None:
    world.make("a.env", "b.txt")
    assert world.plan(pattern("*", "read"), pattern("*", "write")).rules == ()
    assert world.plan(READ_ALL, pattern("*", "write")) == world.plan(READ_ALL)
    plan = world.plan(READ_ALL, WRITE_PROJECT, pattern("*.env", "read"))
    world.check(plan, "a.env:r b.txt:rw")


def test_a_pattern_below_nothing_matches_nothing(world: World) -> None:
    world.make("f")
    plan = world.plan(READ_ALL, pattern("no/*"), pattern("f/*"))
    assert plan == world.plan(READ_ALL)


def test_more_matches_than_a_sandbox_can_have_are_refused(world: World) -> None:
    for number in range(4097):
        (world.folder / str(number)).touch()
    with pytest.raises(RpcError, match="more than 4096 files") as caught:
        world.plan(READ_ALL, pattern("*"))
    assert caught.value.code == -32602


def test_a_folder_that_cannot_be_searched_is_hidden(unprivileged_world: World) -> None:
    world = unprivileged_world
    world.make("shut/secret.env", "open/x")
    (world.folder / "shut").chmod(0o300)
    plan = world.plan(READ_ALL, pattern("**/*.env"))
    world.check(plan, "shut/secret.env:- open/x:r")
