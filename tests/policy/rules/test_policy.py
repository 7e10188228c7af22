"""What a policy says of commands, and of scripts."""

import itertools

import pytest

from execnode.policy.rules import Decision, ExecPolicy, PrefixRule, Verdict, parse_rules

ALLOW, PROMPT, FORBIDDEN = Decision

RULES = """
prefix_rule(["git", ["status", "log"]])
prefix_rule(["cat"])
prefix_rule(["make"], "prompt", justification="makefiles run anything")
prefix_rule(["rm"], "forbidden", justification="nothing is to be lost")
"""
POLICY = parse_rules(RULES, "my.rules")


def bash(script: str) -> list[str]:
    return ["bash", "-lc", script]


def test_decisions_are_ordered_from_the_mildest() -> None:
    assert sorted([FORBIDDEN, ALLOW, PROMPT]) == [ALLOW, PROMPT, FORBIDDEN]


def test_the_strictest_rule_wins_whatever_their_order() -> None:
    for order in itertools.permutations(Decision):
        policy = ExecPolicy(PrefixRule((("a",),), decision) for decision in order)
        assert policy.check(["a"]).decision is FORBIDDEN


def test_no_words_match_no_rule() -> None:
    assert POLICY.check([]) == Verdict((), ((),))


@pytest.mark.parametrize(
    ("script", "decision", "unmatched"),
    [
        ("git status && git log | cat", ALLOW, []),
        ("git status && make", PROMPT, []),
        ("git status; make; rm x", FORBIDDEN, []),
        ("git status && ls", None, [("ls",)]),
        ("make && ls", PROMPT, [("ls",)]),
        ("rm x | ls", FORBIDDEN, [("ls",)]),
        ("ls && pwd", None, [("ls",), ("pwd",)]),
        ("'rm' x", FORBIDDEN, []),
        (r"\rm x", FORBIDDEN, []),
        ("bash -c 'git log && rm x'", FORBIDDEN, []),
        ("bash -c 'git log && ls'", None, [("ls",)]),
    ],
)
def test_the_strictest_command_of_a_script_wins(
    script: str, decision: Decision | None, unmatched: list[tuple[str, ...]]
) -> None:
    verdict = POLICY.check_command(bash(script))
    assert (verdict.decision, verdict.unmatched) == (decision, tuple(unmatched))


@pytest.mark.parametrize(
    "script", ["git status $x", "git status > x", "git status & rm x", "", "("]
)
def test_an_opaque_script_is_one_command_of_which_no_rule_speaks(script: str) -> None:
    verdict = POLICY.check_command(bash(script))
    assert verdict.opaque
    assert verdict == Verdict((), (tuple(bash(script)),), opaque=verdict.opaque)


def test_an_opaque_script_within_a_script_is_told() -> None:
    verdict = POLICY.check_command(bash("git status && bash -c 'git status $x'"))
    assert (verdict.decision, verdict.opaque) == (None, "the script has an expansion")


def test_a_rule_for_a_shell_speaks_of_its_whole_script() -> None:
    policy = parse_rules(RULES + 'prefix_rule(["bash"])', "")
    assert policy.check_command(bash("ls $x")).decision is ALLOW
    assert policy.check_command(bash("ls")).decision is ALLOW
    assert policy.check_command(bash("ls && rm x")).decision is FORBIDDEN
    assert (
        parse_rules(RULES + 'prefix_rule(["bash"], "forbidden")', "")
        .check_command(bash("git log"))
        .decision
        is FORBIDDEN
    )


@pytest.mark.parametrize(
    "argv",
    [
        *([shell, "-c", "git log"] for shell in ("bash", "sh", "zsh", "dash", "/bin/bash")),
        ["bash", "-lc", "git log"],
        ["/usr/bin/zsh", "-l", "-c", "git log"],
    ],
    ids=" ".join,
)
def test_a_known_shell_is_taken_apart(argv: list[str]) -> None:
    assert POLICY.check_command(argv).commands == (("git", "log"),)


@pytest.mark.parametrize(
    "argv",
    [
        ["fish", "-c", "git log"],
        ["./bash", "-c", "git log"],
        ["/tmp/bash", "-c", "git log"],
        ["bash", "-xc", "git log"],
        ["bash", "-c", "git log", "git"],
        ["bash", "--rcfile", "x", "-c", "git log"],
        ["bash", "git log"],
        ["bash", "-c"],
        ["env", "bash", "-c", "git log"],
    ],
    ids=" ".join,
)
def test_anything_else_is_one_command(argv: list[str]) -> None:
    assert POLICY.check_command(argv) == Verdict((), (tuple(argv),))


def test_where_a_shell_is_can_be_said() -> None:
    policy = parse_rules(RULES + 'host_executable("bash", ["/opt/bash"])', "")
    assert policy.check_command(["/opt/bash", "-c", "git log"]).decision is ALLOW
    assert policy.check_command(["/bin/bash", "-c", "git log"]).decision is None


def test_a_relative_path_is_looked_up_from_the_folder() -> None:
    policy = parse_rules('host_executable("git", ["/opt/git"])\nprefix_rule(["git"])', "")
    assert policy.check(["./git"], cwd="/opt").matches[0].resolved == "/opt/git"
    assert policy.check(["../opt/git"], cwd="/usr").decision is ALLOW
    assert policy.check(["./git"], cwd="/usr").decision is None
    assert policy.check(["./git"]).decision is None


def test_a_rule_for_a_path_is_found_however_the_path_is_spelled() -> None:
    policy = parse_rules('prefix_rule(["/bin/rm"], "forbidden")', "")
    for path in ("/bin/rm", "//bin/rm", "/bin//rm", "/bin/./rm", "/usr/../bin/rm"):
        assert policy.check([path]).decision is FORBIDDEN
    assert policy.check(["bin/rm"], cwd="/").decision is FORBIDDEN


def test_within_a_script_programs_are_looked_up_too() -> None:
    assert POLICY.check_command(bash("/bin/rm x")).decision is FORBIDDEN
    assert POLICY.check_command(bash("/bin/rm x"), resolve=False).decision is None


@pytest.mark.parametrize(
    ("script", "default", "decision"),
    [
        ("git log", FORBIDDEN, ALLOW),
        ("git log && ls", ALLOW, ALLOW),
        ("git log && ls", PROMPT, PROMPT),
        ("make && ls", FORBIDDEN, FORBIDDEN),
        ("make && ls", ALLOW, PROMPT),
        ("rm x", ALLOW, FORBIDDEN),
        ("ls $x", PROMPT, PROMPT),
    ],
)
def test_a_default_is_for_what_no_rule_speaks_of(
    script: str, default: Decision, decision: Decision
) -> None:
    assert POLICY.check_command(bash(script)).with_default(default) is decision


def test_the_reasons_are_those_of_the_rules_that_decide() -> None:
    verdict = POLICY.check_command(bash("make && rm x && rm y && git log"))
    assert verdict.reasons == ("nothing is to be lost",)
    assert POLICY.check(["git", "log"]).reasons == ()
