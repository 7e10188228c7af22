import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execnode.policy.environment import child_environment
from execnode.protocol.processes import EnvironmentPolicy
from execnode.protocol.text import OsMap, OsTexts

# The variables of the node that the recorded exchanges of the dialect were made with.
NODE = {
    b"Api_Key": b"k",
    b"HOME": b"/home-dir",
    b"KEEP": b"1",
    b"KEYBOARD": b"z",
    b"LANG": b"C.UTF-8",
    b"LC_CTYPE": b"C.UTF-8",
    b"LOGNAME": b"someone",
    b"MYSECRET": b"s",
    b"MY_TOKEN": b"t",
    b"SHELL": b"/bin/bash",
    b"TMPDIR": b"/temp-dir",
    b"path": b"lower",
}


def policy(
    inherit: str = "all",
    ignore_default_excludes: bool = True,
    exclude: list[str] | None = None,
    set_: dict[str, str] | None = None,
    include_only: list[str] | None = None,
) -> EnvironmentPolicy:
    return EnvironmentPolicy(
        inherit=inherit,  # type: ignore[arg-type]
        ignore_default_excludes=ignore_default_excludes,
        exclude=OsTexts(exclude or []),
        set=OsMap(set_ or {}),
        include_only=OsTexts(include_only or []),
    )


def child(
    policy: EnvironmentPolicy | None,
    env: dict[bytes, bytes] | None = None,
    base: dict[bytes, bytes] = NODE,
    tty: bool = False,
) -> dict[bytes, bytes]:
    return child_environment(policy, env or {}, base, tty=tty, shell=b"/bin/sh")


def test_without_a_policy_it_is_what_the_client_sent() -> None:
    assert child(None, {b"A": b"1"}) == {b"A": b"1"}
    assert child(None) == {}


def test_inherit() -> None:
    assert child(policy("none")) == {}
    assert child(policy("all")) == NODE
    assert sorted(child(policy("core"))) == [
        b"HOME",
        b"LANG",
        b"LC_CTYPE",
        b"LOGNAME",
        b"SHELL",
        b"TMPDIR",
        b"path",
    ]


def test_names_that_look_like_secrets_are_removed_by_default() -> None:
    kept = child(policy("all", ignore_default_excludes=False))
    assert sorted(NODE.keys() - kept.keys()) == [b"Api_Key", b"KEYBOARD", b"MYSECRET", b"MY_TOKEN"]


def test_exclude() -> None:
    kept = child(policy("core", exclude=["lc_*", "?ANG", "LOG*"]))
    assert sorted(kept) == [b"HOME", b"SHELL", b"TMPDIR", b"path"]


def test_set_comes_after_the_excludes() -> None:
    made = policy("none", False, exclude=["Q"], set_={"Q": "1", "A_KEY": "2"})
    assert child(made) == {b"Q": b"1", b"A_KEY": b"2"}
    assert child(policy(set_={"HOME": "/x"}))[b"HOME"] == b"/x"


def test_include_only_filters_what_set_added() -> None:
    made = policy("core", set_={"ZZ": "1", "YY": "2"}, include_only=["l*", "ZZ"])
    assert sorted(child(made)) == [b"LANG", b"LC_CTYPE", b"LOGNAME", b"ZZ"]


def test_env_comes_last_and_is_not_filtered() -> None:
    made = policy("core", include_only=["LANG"])
    env = {b"LANG": b"over", b"X_TOKEN": b"kept"}
    assert child(made, env) == env


def test_settings_of_the_server_never_reach_a_child() -> None:
    private = {
        b"CODEX_EXEC_SERVER_EXIT_ON_STDIN_CLOSE": b"1",
        b"CODEX_EXEC_SERVER_NOISE_AUTH_TOKEN": b"1",
    }
    assert child(policy("all"), base=private) == {}
    texts = {name.decode(): "1" for name in private}
    assert child(policy("none", set_=texts), private) == {}
    assert child(None, private | {b"A": b"1"}) == {b"A": b"1"}


@pytest.mark.parametrize("made", [None, policy("none")], ids=["no policy", "policy"])
def test_a_child_on_a_terminal_has_a_shell(made: EnvironmentPolicy | None) -> None:
    assert child(made, tty=True) == {b"SHELL": b"/bin/sh"}
    assert child(made, {b"SHELL": b"/x"}, tty=True) == {b"SHELL": b"/x"}


def test_variables_that_are_not_utf8_pass_through() -> None:
    odd = {b"N\xff": b"\xfe\xff", b"LANG": b"\xff"}
    assert child(policy("all", False), base=odd) == odd
    assert child(policy("core"), base=odd) == {b"LANG": b"\xff"}
    assert child(policy(exclude=["n?"]), base=odd) == {b"LANG": b"\xff"}


def test_the_arguments_are_left_alone() -> None:
    env, base = {b"A": b"1"}, {b"B": b"2", b"A": b"0"}
    assert child(policy(), env, base, tty=True) == {b"A": b"1", b"B": b"2", b"SHELL": b"/bin/sh"}
    assert (env, base) == ({b"A": b"1"}, {b"B": b"2", b"A": b"0"})
    child(None, env)[b"C"] = b""
    assert env == {b"A": b"1"}


def excluded(pattern: str, name: str) -> bool:
    return not child(policy(exclude=[pattern]), base={name.encode(): b""})


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("A", "a", True),
        ("A", "AB", False),
        ("A", "BA", False),
        ("a?c", "ABC", True),
        ("a?c", "AC", False),
        ("?", "É", True),
        ("é", "É", True),
        ("??", "É", False),
        ("*", "x", True),
        ("**a**", "bab", True),
        ("A*B*C", "A_B_C", True),
        ("A*B*C", "A_C_B", False),
        ("A*A", "A", False),
        ("*AB*B", "AB", False),
        ("*AB*B", "xABxB", True),
        ("*AAB", "AAAB", True),
        ("[AB]", "A", False),
        ("[AB]", "[ab]", True),
        ("{A,B}", "A", False),
        ("A.B", "AXB", False),
        ("A|B", "A", False),
        ("A\\?", "A\\X", True),
        ("A\\*", "A", False),
        ("a*", "A\nB", True),
        ("A", "A\n", False),
        ("(?i", "(?I", True),
    ],
)
def test_patterns(pattern: str, name: str, matches: bool) -> None:
    assert excluded(pattern, name) is matches


names = st.text("aAbB*?.", min_size=1, max_size=10)


@given(names, names)
def test_patterns_agree_with_fnmatch(pattern: str, name: str) -> None:
    assert excluded(pattern, name) is fnmatch.fnmatchcase(name.lower(), pattern.lower())


def test_a_spiteful_pattern_takes_no_time() -> None:
    base = {b"a" * 50_000: b""}
    began = time.perf_counter()
    assert child(policy(exclude=["*a" * 30 + "*b"]), base=base) == base
    assert time.perf_counter() - began < 5
